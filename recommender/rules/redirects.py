"""Follows redirects from search to search: a chain that comes back would lead a shopper round in circles."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import parse_qsl, urlsplit

from recommender.models import Rule
from recommender.rules.meeting import matches, may_hold_for_one
from recommender.text.query import normal_query
from recommender.tracking import tracked_pages
from recommender.types import EventType

PARAMETER = "q"
"""What `{% search %}` reads the query from unless it is handed in."""


def query_led_to(url: str) -> str:
    """The query that the page of a redirect searches for, by the parameters from which the shop's search pages read it;
    "" for a page that is no search."""
    names = {PARAMETER, *_declared_parameters()}
    queries = (value for name, value in parse_qsl(urlsplit(url).query) if name in names)
    return normal_query(next(queries, ""))


def loop_through(rule: Rule, others: Sequence[Rule]) -> tuple[Rule, ...]:
    """The redirects among `others` through which who is led by `rule` would come back to it; none where nobody would.

    The shortest of them. A search that a redirect leads to its own address stays there and is no loop.
    """
    ways: list[tuple[Rule, ...]] = [()]
    seen: set[int | None] = set()
    while ways:
        way = ways.pop(0)
        query = query_led_to((way[-1] if way else rule).url)
        if not query:
            continue
        if way and matches(rule, query):
            return way
        for other in others:
            if (
                other.pk not in seen
                and matches(other, query)
                and all(may_hold_for_one(other, one) for one in (rule, *way))
            ):
                seen.add(other.pk)
                ways.append((*way, other))
    return ()


def _declared_parameters() -> set[str]:
    queries = [page.query for page in tracked_pages() if page.event == EventType.SEARCH]
    return {query.removeprefix("GET.") for query in queries if isinstance(query, str) and query.startswith("GET.")}
