"""Describe a visitor from past events and the catalogue. Without queries or the clock, so that it is tested easily."""

from __future__ import annotations

import datetime as dt
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import numpy as np

from recommender.personas import wording
from recommender.personas.interests import (
    N_INTERESTS,
    Trace,
    category_interests,
    count_actions,
    traces_of,
    word_interests,
)
from recommender.personas.parts import ActionCounts, PersonaDescription, PriceBand, RepeatCycle, Rhythm
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
    def titles(self) -> tuple[str, ...]: ...


def describe(
    events: Iterable[PastEvent],
    catalogue: TitledItems,
    *,
    now: dt.datetime,
    device: str = "",
    currency: str = "",
    timezone: dt.tzinfo = dt.UTC,
) -> PersonaDescription:
    """Describe the visitor who did `events` (any order) as of `now`; later events are ignored."""
    past = sorted((event for event in events if event.at <= now), key=lambda event: event.at)
    if not past:
        return PersonaDescription(wording.headline((), n_events=0, last_at=now, now=now), device=device)
    traces = traces_of(past, catalogue.index, catalogue.titles, now=now)
    words = word_interests(traces, vocabulary_of(catalogue.titles))
    interests = category_interests(traces, catalogue.items) or words
    return PersonaDescription(
        headline=wording.headline(interests, n_events=len(past), last_at=past[-1].at, now=now),
        n_events=len(past),
        evidence=ActionCounts(**count_actions(past)),
        interests=interests,
        words=words,
        price_band=_price_band(traces, catalogue.items, currency),
        rhythm=_rhythm(past, timezone),
        repeat_cycle=_repeat_cycle(past, traces, now),
        device=device,
        first_at=past[0].at,
        last_at=past[-1].at,
    )


def _price_band(traces: Sequence[Trace], items: ItemTable, currency: str) -> PriceBand | None:
    """Return the quartiles of what was bought, or of what was looked at if nothing was; None without a price."""
    rows = [trace.row for trace in traces if trace.row >= 0 and trace.bought > 0]
    is_bought = bool(rows)
    prices = items.price[rows or [trace.row for trace in traces if trace.row >= 0]]
    prices = prices[np.isfinite(prices)]
    if not len(prices):
        return None
    low, middle, high = (float(price) for price in np.percentile(prices, (25, 50, 75)))
    shop = items.price[np.isfinite(items.price) & items.active]
    level = float(np.mean(shop < middle)) if len(shop) else 0.5
    text = wording.prices_in_words(low, high, level=level, currency=currency, is_bought=is_bought)
    return PriceBand(low, middle, high, level, text)


def _rhythm(past: Sequence[PastEvent], timezone: dt.tzinfo) -> Rhythm:
    """Count each hour with an event once, so that a long order is no rhythm."""
    active = sorted({event.at.astimezone(timezone).replace(minute=0, second=0, microsecond=0) for event in past})
    weekdays, hours = Counter(at.weekday() for at in active), Counter(at.hour for at in active)
    text = wording.rhythm_in_words(weekdays, hours)
    return Rhythm(tuple(weekdays[day] for day in range(7)), tuple(hours[hour] for hour in range(24)), text)


def _repeat_cycle(past: Sequence[PastEvent], traces: Sequence[Trace], now: dt.datetime) -> RepeatCycle | None:
    """Return the median gap between days with an order that was not all returned; None before the first."""
    kept_ids = {trace.item_id for trace in traces if trace.bought > 0}
    bought = [event for event in past if event.type is EventType.PURCHASE and event.item_id in kept_ids]
    if not bought:
        return None
    orders: dict[str, set[str]] = defaultdict(set)
    for event in bought:
        orders[event.item_id].add(event.order_id or event.at.date().isoformat())
    n_orders = len(set().union(*orders.values()))
    repeated = sorted(((item, len(ids)) for item, ids in orders.items() if len(ids) > 1), key=lambda pair: -pair[1])
    days = sorted({event.at.date().toordinal() for event in bought})
    gap = float(np.median(np.diff(days))) if len(days) > 1 else None
    due_at = bought[-1].at + dt.timedelta(days=gap) if gap else None
    text = wording.cycle_in_words(n_orders, gap, due_at, now)
    return RepeatCycle(n_orders, gap, due_at, tuple(repeated[:N_INTERESTS]), text)
