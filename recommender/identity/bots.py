"""Flags bot traffic: crawlers by their user agent, and pages that a browser fetches before anybody asked for them."""

from __future__ import annotations

import re
from functools import lru_cache

from django.http import HttpRequest

CRAWLERS = re.compile(
    r"(?<!cu)bot\b|crawl|spider|slurp|preview|lighthouse|facebookexternalhit|pingdom|uptime|"
    r"^(?:curl|wget|python-|go-http|java/|scrapy|libwww|httpie|apache-httpclient)",
    re.IGNORECASE,
)
"""User agents of crawlers, link previews and monitors. Cubot is a brand of phones; no user agent is no crawler."""

PURPOSE_HEADERS = ("HTTP_SEC_PURPOSE", "HTTP_PURPOSE", "HTTP_X_PURPOSE", "HTTP_X_MOZ")


@lru_cache(maxsize=4096)
def is_crawler(user_agent: str) -> bool:
    """Cached, because few user agents make most requests, and the search takes as long as the rest of the work for a
    page that is not tracked."""
    return bool(CRAWLERS.search(user_agent))


def is_prefetch(request: HttpRequest) -> bool:
    """Does a browser fetch the page without a click, to have it ready?"""
    purpose = " ".join(request.META.get(header, "") for header in PURPOSE_HEADERS).lower()
    return any(word in purpose for word in ("prefetch", "prerender", "preview"))
