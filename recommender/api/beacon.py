"""Records pages that a CDN serves: a script sends the page's address, and `track_pages` says which event that is."""

from __future__ import annotations

import copy
import json
from urllib.parse import urlsplit

from django.http import HttpRequest, HttpResponse, QueryDict
from django.utils import translation
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from recommender import capture, tracking
from recommender.api import throttling
from recommender.api.bodies import has_length

MAX_BYTES = 4_096
NOTHING = 204


@csrf_exempt  # a beacon sends no header, and a page of a CDN holds no token: the origin is asked instead
@require_POST
def beacon(request: HttpRequest) -> HttpResponse:
    """Record the page at `{"path": "/p/mug/?rid=…"}` as declared with `beacon=True`. Answers 204 whatever it was."""
    response = HttpResponse(status=NOTHING)
    if not _is_own_page(request):
        response.status_code = 403
        return response
    if (refused := throttling.refusal(request)) is not None:
        return refused
    seen = _page_at(request, _path_in(request))
    source = tracking.beacon_source(seen) if seen is not None else None
    if source is not None:
        capture.record_later(request, source)
    return response


def _is_own_page(request: HttpRequest) -> bool:
    """Was it sent by a page of this host? Browsers set both headers themselves. Source: Fetch Metadata, W3C, 2.2."""
    site = request.META.get("HTTP_SEC_FETCH_SITE")
    if site is not None:
        return bool(site == "same-origin")
    return urlsplit(request.META.get("HTTP_ORIGIN", "")).netloc == request.get_host()


def _path_in(request: HttpRequest) -> str:
    has_length(request, limit=MAX_BYTES)
    declared = request.META.get("CONTENT_LENGTH") or "0"
    if not declared.isdigit() or int(declared) > MAX_BYTES:
        return ""
    try:
        sent = json.loads(request.body)
    except (ValueError, RecursionError):
        return ""
    path = sent.get("path") if isinstance(sent, dict) else None
    return path if isinstance(path, str) and path.startswith("/") else ""


def _page_at(request: HttpRequest, path: str) -> HttpRequest | None:
    """The request as it would have been for the page: same person and headers, the address of the page."""
    if not path:
        return None
    parts = urlsplit(path)
    seen = copy.copy(request)
    seen.method = "GET"
    script = request.META.get("SCRIPT_NAME", "").rstrip("/")
    seen.path_info = parts.path.removeprefix(script) if script else parts.path
    seen.path = parts.path
    seen.GET = QueryDict(parts.query)
    seen.LANGUAGE_CODE = translation.get_language_from_path(seen.path_info) or translation.get_language()
    return seen
