"""Describe a visitor from past events and the catalogue. Without queries or the clock, so that it is tested easily."""

from __future__ import annotations

import datetime as dt
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import numpy as np

from recommender.models.corrections import UNCORRECTED, Corrections
from recommender.packed import Texts
from recommender.personas import wording
from recommender.personas.corrections import corrected
from recommender.personas.interests import (
    N_INTERESTS,
    Trace,
    category_interests,
    traces_of,
    word_interests,
)
from recommender.personas.parts import Interest, PersonaDescription, Rhythm
from recommender.tables import ItemTable
from recommender.text.vocabulary import vocabulary_of
from recommender.types import EventType, PastEvent


class TitledItems(Protocol):
    """The part of `serving.shelf.Shelf` that a description reads; row i of `items` has the title `titles[i]`."""

    @property
    def items(self) -> ItemTable: ...
    @property
    def index(self) -> Mapping[str, int]: ...
    @property
    def titles(self) -> Texts: ...


def describe(
    events: Iterable[PastEvent],
    catalogue: TitledItems,
    *,
    now: dt.datetime,
    device: str = "",
    currency: str = "",
    timezone: dt.tzinfo = dt.UTC,
    corrections: Corrections = UNCORRECTED,
) -> PersonaDescription:
    """Describe the visitor who did `events` (any order) as of `now`; later events are ignored.

    corrections: what staff pinned or muted of the interests.
    """
    past = sorted((event for event in events if event.at <= now), key=lambda event: event.at)
    if not past:
        return PersonaDescription(wording.headline((), n_events=0, last_at=now, now=now), device=device)
    traces = traces_of(past, catalogue.index, catalogue.titles, now=now)
    plain_words = word_interests(traces, vocabulary_of(catalogue.titles))
    categories = category_interests(traces, catalogue.items)
    words = plain_words if categories else corrected(plain_words, corrections, at=now, most=N_INTERESTS)
    interests = corrected(categories, corrections, at=now, most=N_INTERESTS) if categories else words
    orders, repeated = _orders(past, traces, now)
    return PersonaDescription(
        headline=wording.headline(interests, n_events=len(past), last_at=past[-1].at, now=now),
        n_events=len(past),
        interests=interests,
        words=words,
        prices=_prices(traces, catalogue.items, currency),
        rhythm=_rhythm(past, timezone),
        orders=orders,
        repeated=repeated,
        device=device,
    )


def interests_of(
    events: Sequence[PastEvent],
    catalogue: TitledItems,
    *,
    now: dt.datetime,
    corrections: Corrections = UNCORRECTED,
) -> tuple[Interest, ...]:
    """What a visitor is interested in by these events, oldest first: categories, otherwise words; as corrected."""
    traces = traces_of(events, catalogue.index, catalogue.titles, now=now)
    interests = category_interests(traces, catalogue.items) or word_interests(traces, vocabulary_of(catalogue.titles))
    return corrected(interests, corrections, at=now, most=N_INTERESTS)


def _prices(traces: Sequence[Trace], items: ItemTable, currency: str) -> str:
    """Describe the quartiles of the unit prices of what was bought, or of what was looked at if nothing was."""
    rows = [trace.row for trace in traces if trace.row >= 0 and trace.bought > 0]
    is_bought = bool(rows)
    prices = items.price[rows or [trace.row for trace in traces if trace.row >= 0]]
    prices = prices[np.isfinite(prices)]
    if not len(prices):
        return ""
    low, middle, high = (float(price) for price in np.percentile(prices, (25, 50, 75)))
    shop = items.price[np.isfinite(items.price) & items.active]
    level = float(np.mean(shop < middle)) if len(shop) else 0.5
    return wording.prices_in_words(low, high, level=level, currency=currency, is_bought=is_bought)


def _rhythm(past: Sequence[PastEvent], timezone: dt.tzinfo) -> Rhythm:
    """Count each hour with an event once, so that a long order is no rhythm."""
    active = sorted({event.at.astimezone(timezone).replace(minute=0, second=0, microsecond=0) for event in past})
    weekdays, hours = Counter(at.weekday() for at in active), Counter(at.hour for at in active)
    text = wording.rhythm_in_words(weekdays, hours)
    return Rhythm(tuple(weekdays[day] for day in range(7)), tuple(hours[hour] for hour in range(24)), text)


def _orders(
    past: Sequence[PastEvent], traces: Sequence[Trace], now: dt.datetime
) -> tuple[str, tuple[tuple[str, int], ...]]:
    """Describe the orders that were not all returned by the gap between their days; return the repeated items too."""
    kept_ids = {trace.item_id for trace in traces if trace.bought > 0}
    bought = [event for event in past if event.type is EventType.PURCHASE and event.item_id in kept_ids]
    if not bought:
        return "", ()
    orders: dict[str, set[str]] = defaultdict(set)
    for event in bought:
        orders[event.item_id].add(event.order_id or event.at.date().isoformat())
    n_orders = len(set().union(*orders.values()))
    repeated = sorted(((item, len(ids)) for item, ids in orders.items() if len(ids) > 1), key=lambda pair: -pair[1])
    days = sorted({event.at.date().toordinal() for event in bought})
    gap = float(np.median(np.diff(days))) if len(days) > 1 else None
    due_at = bought[-1].at + dt.timedelta(days=gap) if gap else None
    return wording.orders_in_words(n_orders, gap, due_at, now), tuple(repeated[:N_INTERESTS])
