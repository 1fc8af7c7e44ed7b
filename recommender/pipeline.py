"""The way in for pages and the API: a query or a slot and a shopper give a `Ranking` with reasons and live prices."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar, Unpack

from django.utils import timezone

from recommender import conf, metrics, serving
from recommender.catalog.limits import limits_for
from recommender.deadlines import Stage, Stopwatch, timed_by
from recommender.exceptions import ConfigurationError
from recommender.models.connections import apart_once
from recommender.models.corrections import Corrections
from recommender.serving import ladder
from recommender.serving.answers import answer
from recommender.serving.filters import facet_names, filter_names
from recommender.serving.live_entries import LiveReads, ReadsOfOneList
from recommender.serving.ranking import rank
from recommender.text.letters import fold
from recommender.text.query import normal_query
from recommender.types import Arrangement, Context, Filters, Narrowing, PastEvent, Ranking, Request, Slot, Sort

__all__ = [
    "MAX_FROZEN",
    "MAX_LIMIT",
    "MAX_OFFSET",
    "Asker",
    "Suggestion",
    "of_shopper",
    "rank",
    "recommend",
    "search",
    "search_request",
    "search_whole",
    "slot_named",
    "slot_request",
    "suggest",
    "within",
]

Named = TypeVar("Named", Slot, Sort)

MAX_LIMIT = 100
MAX_OFFSET = 1_000
MAX_FROZEN = 300
"""Items of a search that is paged through by a cursor."""

_seconds: ContextVar[float | None] = ContextVar("recommender_seconds", default=None)


class Asker(LiveReads, Protocol):
    """What the pipeline needs of a shopper; `identity.Shopper` is one. `segment_id`, `entered` and `corrections` are
    read with the history."""

    segment_id: int | None
    entered: frozenset[int]

    @property
    def corrections(self) -> Corrections: ...

    @property
    def person_key(self) -> str: ...

    def history(self) -> tuple[PastEvent, ...]: ...

    def context(self, at: dt.datetime | None = None) -> Context: ...


@dataclass(frozen=True, slots=True)
class Suggestion:
    """One completion of what is being typed; `kind` is "query", "item" or "category"."""

    text: str
    kind: str
    item_id: str = ""
    url: str = ""


def search(
    query: str,
    *,
    shopper: Asker | None = None,
    limit: int = 24,
    offset: int = 0,
    cart_item_ids: Sequence[str] = (),
    at: dt.datetime | None = None,
    **arrangement: Unpack[Arrangement],
) -> Ranking:
    """Items for a query, personal to the shopper. At most one query for the history and one per catalogue model for
    live prices; an empty query lists nothing.

    `filters`, `sort`, `facets` and `personal` narrow, order and count it, see `Arrangement`. Raises
    `ConfigurationError` for a filter, an order or a facet that does not exist.
    """
    with apart_once():
        request = search_request(query, shopper=shopper, limit=limit, cart_item_ids=cart_item_ids, at=at, **arrangement)
        return _answer(replace(request, offset=max(0, min(offset, MAX_OFFSET))), shopper)


def search_request(
    query: str,
    *,
    shopper: Asker | None = None,
    limit: int = 24,
    cart_item_ids: Sequence[str] = (),
    at: dt.datetime | None = None,
    **arrangement: Unpack[Arrangement],
) -> Request:
    """What `search` asks, but for the shopper's past. No query. Raises `ConfigurationError` as it does."""
    request = Request(
        Slot.SEARCH,
        _context(shopper, at),
        query=normal_query(query),
        limit=_clamped(limit, MAX_LIMIT),
        cart_item_ids=tuple(cart_item_ids),
    )
    return _arranged(request, **arrangement)


def search_whole(query: str, *, shopper: Asker | None = None, **arrangement: Unpack[Arrangement]) -> Ranking:
    """The first `MAX_FROZEN` items for a query, to be kept and paged through. Queries as in `search`."""
    with apart_once():
        request = Request(Slot.SEARCH, _context(shopper, None), query=normal_query(query), limit=MAX_FROZEN)
        return _answer(_arranged(request, **arrangement), shopper)


def recommend(
    slot: Slot | str,
    *,
    shopper: Asker | None = None,
    item_id: str = "",
    cart_item_ids: Sequence[str] = (),
    limit: int = 8,
    at: dt.datetime | None = None,
    **narrowing: Unpack[Narrowing],
) -> Ranking:
    """The list of one slot. Queries as in `search`, and two more where many items were hidden since.

    `new_only`, `exclude`, `shown` and `at_most` narrow it, see `Narrowing`. Raises `ConfigurationError` for a slot or
    an attribute that does not exist.
    """
    with apart_once():
        request = slot_request(
            slot, shopper=shopper, item_id=item_id, cart_item_ids=cart_item_ids, limit=limit, at=at, **narrowing
        )
        return _answer(request, shopper)


def slot_request(
    slot: Slot | str,
    *,
    shopper: Asker | None = None,
    item_id: str = "",
    cart_item_ids: Sequence[str] = (),
    limit: int = 8,
    at: dt.datetime | None = None,
    **narrowing: Unpack[Narrowing],
) -> Request:
    """What `recommend` asks, but for the shopper's past. No query. Raises `ConfigurationError` as it does."""
    request = Request(
        slot_named(slot),
        _context(shopper, at),
        item_id=item_id,
        limit=_clamped(limit, MAX_LIMIT),
        cart_item_ids=tuple(cart_item_ids),
    )
    return _narrowed(request, **narrowing)


def suggest(prefix: str, *, limit: int = 8) -> list[Suggestion]:
    """Completions of a prefix, then the items and categories that it names. No query."""
    shelf = serving.current().shelf
    prefix = normal_query(prefix)
    limit = _clamped(limit, 20)
    if not prefix:
        return []
    texts = [Suggestion(text, "query") for text in shelf.suggest(prefix, limit)]
    categories = [
        Suggestion(name, "category")
        for name in shelf.items.category_names
        if any(word.startswith(fold(prefix)) for word in fold(name).split())
    ][:2]
    hits = shelf.lexical.search(prefix, 10).rows
    items = [
        Suggestion(shelf.titles[row], "item", shelf.items.ids[row], shelf.urls[row])
        for row in hits.tolist()
        if shelf.items.active[row]
    ][:3]
    n_texts = max(1, limit - len(categories) - len(items))
    return [*texts[:n_texts], *categories, *items][:limit]


def slot_named(slot: Slot | str) -> Slot:
    """The slot with this name. Raises `ConfigurationError` with the closest known name."""
    return _named(Slot, "slot", slot)


def _named(kind: type[Named], noun: str, name: str) -> Named:
    """The member of an enumeration with this value. Raises `ConfigurationError` with the closest one."""
    try:
        return kind(name)
    except ValueError:
        names = [member.value for member in kind]
        raise ConfigurationError(
            f"There is no {noun} {str(name)[:40]!r}. {conf.closest(str(name)[:40], names)} Known: {', '.join(names)}."
        ) from None


def _context(shopper: Asker | None, at: dt.datetime | None) -> Context:
    return shopper.context(at) if shopper is not None else Context(at or timezone.now())


def _arranged(
    request: Request,
    *,
    filters: Filters | None = None,
    sort: Sort | str = Sort.RELEVANCE,
    facets: Collection[str] | str = (),
    personal: bool = True,
) -> Request:
    filters = dict(filters or {})
    _require_known("filter", filters, filter_names())
    names = facet_names() if facets == "all" else tuple(_names_in(facets))
    _require_known("facet", names, facet_names())
    return replace(
        request,
        filters=filters,
        sort=_named(Sort, "order", sort),
        facets=tuple(dict.fromkeys(names)),
        personal_weight=float(conf.get("PERSONAL_SEARCH")) if personal else 0.0,
    )


def _names_in(names: Collection[str] | str) -> Iterator[str]:
    """Give each name, also of text in which they are joined by commas."""
    parts = names.split(",") if isinstance(names, str) else names
    return filter(None, (str(part).strip() for part in parts))


def _require_known(noun: str, names: Iterable[str], existing: Sequence[str]) -> None:
    """Raise `ConfigurationError` for a name that does not exist, with the closest one."""
    for name in names:
        if name not in existing:
            raise ConfigurationError(
                f"There is no {noun} {name[:40]!r}. {conf.closest(name[:40], existing)} Known: {', '.join(existing)}."
            )


def _narrowed(
    request: Request,
    *,
    new_only: bool = False,
    exclude: Collection[str] = (),
    shown: Collection[str] = (),
    at_most: Mapping[str, int] | str | None = None,
) -> Request:
    return replace(
        request,
        is_composed=True,
        exclude_history=new_only,
        exclude_item_ids=frozenset(exclude),
        shown_item_ids=frozenset(shown),
        at_most=limits_for(request.slot, at_most),
    )


def of_shopper(request: Request, shopper: Asker | None) -> Request:
    """The request with what is known of the shopper. At most one query, for the history."""
    if shopper is None:
        return request
    history = shopper.history() if request.personal_weight else ()
    return replace(
        request,
        history=history,
        person_key=shopper.person_key,
        segment_id=shopper.segment_id,
        entered=shopper.entered,
        pinned=shopper.corrections.pinned,
        muted=shopper.corrections.muted,
    )


def _answer(request: Request, shopper: Asker | None) -> Ranking:
    """Answer this shopper, as well as this process can at the moment and in time."""
    started, served = time.perf_counter(), serving.current()
    seconds = _seconds.get() or conf.deadline_seconds("PAGE_DEADLINE_SECONDS")
    with timed_by(Stopwatch(time.monotonic() + seconds, stops=False)):
        if ladder.permits(Stage.HISTORY):
            request = of_shopper(request, shopper)
            ladder.judge(Stage.HISTORY, time.perf_counter() - started, most_seconds=seconds)
        ranking = answer(request, shopper or ReadsOfOneList(), served=served)
    metrics.observe_list(ranking.slot.value, ranking.rung.value, time.perf_counter() - started)
    return ranking


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Let each list in the block take so many seconds, in place of `PAGE_DEADLINE_SECONDS`; `math.inf`: no deadline."""
    token = _seconds.set(seconds)
    try:
        yield
    finally:
        _seconds.reset(token)


def _clamped(limit: int, most: int) -> int:
    return max(1, min(limit, most))
