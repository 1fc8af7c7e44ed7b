"""Interests of a visitor in words: past events and the catalogue in, a `PersonaDescription` out. No query, no clock."""

from __future__ import annotations

import datetime as dt
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from django.utils.dates import WEEKDAYS
from django.utils.translation import gettext, ngettext

from recommender.durations import DAY_SECONDS, PERSONA_HALF_LIFE_DAYS
from recommender.features.weights import LOOK_WEIGHTS
from recommender.personas.axes import SEARCH_WEIGHT
from recommender.tables import ItemTable
from recommender.text.vocabulary import Vocabulary, terms, vocabulary_of
from recommender.text.words import folded
from recommender.types import EVENT_CODES, EventType, PastEvent

N_INTERESTS = 6
N_EXAMPLES = 3
FEWEST_MOMENTS = 4
"""Hours with an event before a rhythm is told in words."""

DOMINANT_SHARE = 0.4
"""From this share of all evidence on, the headline says "mostly"; below it names the first three interests."""

COUNTED: Mapping[EventType, str] = {
    EventType.PURCHASE: "n_bought",
    EventType.ADD_TO_CART: "n_carted",
    EventType.VIEW_ITEM: "n_viewed",
    EventType.SEARCH: "n_searched",
    EventType.REFUND: "n_returned",
}


class Catalogue(Protocol):
    """The part of `retrieval.shelf.Shelf` that is read; row i of `items` is titled `titles[i]`."""

    @property
    def items(self) -> ItemTable: ...
    @property
    def index(self) -> Mapping[str, int]: ...
    @property
    def titles(self) -> tuple[str, ...]: ...


@dataclass(frozen=True, slots=True)
class Evidence:
    """How often each thing was done."""

    n_bought: int = 0
    n_carted: int = 0
    n_viewed: int = 0
    n_searched: int = 0
    n_returned: int = 0

    def in_words(self) -> str:
        """Return "12 bought, 3 viewed"; what never happened is left out."""
        parts = (
            (self.n_bought, ngettext("%d bought", "%d bought", self.n_bought)),
            (self.n_carted, ngettext("%d put in the cart", "%d put in the cart", self.n_carted)),
            (self.n_viewed, ngettext("%d viewed", "%d viewed", self.n_viewed)),
            (self.n_searched, ngettext("searched once", "searched %d times", self.n_searched)),
            (self.n_returned, ngettext("%d returned", "%d returned", self.n_returned)),
        )
        return ", ".join(text % n if "%d" in text else text for n, text in parts if n)


@dataclass(frozen=True, slots=True)
class Interest:
    """One kind of goods; `share` in (0, 1] of all decayed evidence, `kind` is "category", "words" that several items
    or queries share, or "item" for a title that stands alone."""

    name: str
    kind: str
    evidence: Evidence
    share: float
    last_at: dt.datetime
    item_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PriceBand:
    """Unit prices of what was bought, else of what was looked at; `level` is the middle's rank in the catalogue."""

    low: float
    middle: float
    high: float
    level: float
    text: str


@dataclass(frozen=True, slots=True)
class Rhythm:
    """Hours in which anything happened, by weekday (7, Monday first) and by hour of the day (24), local time."""

    weekdays: tuple[int, ...]
    hours: tuple[int, ...]
    text: str


@dataclass(frozen=True, slots=True)
class RepeatCycle:
    """Days between orders; `repeated` are (item id, number of orders), most often first."""

    n_orders: int
    median_days: float | None
    due_at: dt.datetime | None
    repeated: tuple[tuple[str, int], ...]
    text: str


@dataclass(frozen=True, slots=True)
class PersonaDescription:
    """All that is said of one visitor; the empty description says that nothing is known."""

    headline: str
    n_events: int = 0
    evidence: Evidence = field(default_factory=Evidence)
    interests: tuple[Interest, ...] = ()
    words: tuple[Interest, ...] = ()
    price_band: PriceBand | None = None
    rhythm: Rhythm | None = None
    repeat_cycle: RepeatCycle | None = None
    device: str = ""
    first_at: dt.datetime | None = None
    last_at: dt.datetime | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the description in JSON's own types; times in ISO 8601."""
        plain: dict[str, Any] = _plain(asdict(self))
        return plain


@dataclass(frozen=True, slots=True)
class _Trace:
    """All that one visitor did with one item, or with one query (`row` -1); `kept` is the share of what was bought
    that did not come back."""

    row: int
    text: str
    item_id: str
    mass: float
    kept: float
    counts: Counter[str]
    last_at: dt.datetime


def describe(
    events: Iterable[PastEvent],
    catalogue: Catalogue,
    *,
    now: dt.datetime,
    device: str = "",
    currency: str = "",
    timezone: dt.tzinfo = dt.UTC,
) -> PersonaDescription:
    """Describe the visitor who did `events` (any order) as of `now`; later events are not looked at."""
    past = sorted((event for event in events if event.at <= now), key=lambda event: event.at)
    if not past:
        return PersonaDescription(gettext("Nothing is known of this visitor yet."), device=device)
    traces = _traces(past, catalogue, now)
    total = sum(trace.mass for trace in traces)
    words = _word_interests(traces, vocabulary_of(catalogue.titles), total)
    interests = _category_interests(traces, catalogue.items, total) or words
    return PersonaDescription(
        headline=_headline(interests, past, now),
        n_events=len(past),
        evidence=_evidence(Counter(COUNTED[event.type] for event in past if event.type in COUNTED)),
        interests=interests,
        words=words,
        price_band=_price_band(traces, catalogue.items, currency),
        rhythm=_rhythm(past, timezone),
        repeat_cycle=_repeat_cycle(past, now),
        device=device,
        first_at=past[0].at,
        last_at=past[-1].at,
    )


def ago(at: dt.datetime, now: dt.datetime) -> str:
    """Return "4 days ago", in one unit."""
    seconds = max((now - at).total_seconds(), 0)
    if seconds < 60:
        return gettext("just now")
    if seconds < 3600:
        return ngettext("%d minute ago", "%d minutes ago", n := int(seconds // 60)) % n
    if seconds < DAY_SECONDS:
        return ngettext("%d hour ago", "%d hours ago", n := int(seconds // 3600)) % n
    if seconds < 60 * DAY_SECONDS:
        return ngettext("%d day ago", "%d days ago", n := int(seconds // DAY_SECONDS)) % n
    if seconds < 730 * DAY_SECONDS:
        return ngettext("%d month ago", "%d months ago", n := int(seconds // (30.44 * DAY_SECONDS))) % n
    return ngettext("%d year ago", "%d years ago", n := int(seconds // (365.25 * DAY_SECONDS))) % n


def _traces(past: Sequence[PastEvent], catalogue: Catalogue, now: dt.datetime) -> list[_Trace]:
    """Gather the events by item and by query, strongest first; what was all taken back leaves no trace."""
    groups: dict[tuple[str, str], list[PastEvent]] = defaultdict(list)
    for event in past:
        if event.item_id or event.query:
            groups[event.item_id, "" if event.item_id else folded(event.query)].append(event)
    traces = [_trace(group, catalogue, now) for group in groups.values()]
    return sorted((trace for trace in traces if trace.mass > 0), key=lambda trace: -trace.mass)


def _trace(group: Sequence[PastEvent], catalogue: Catalogue, now: dt.datetime) -> _Trace:
    event = group[-1]
    row = catalogue.index.get(event.item_id, -1) if event.item_id else -1
    kept = _kept(group)
    looks = sum(_weight(event.type) * _decay(event.at, now) for event in group)
    bought = sum(_decay(event.at, now) for event in group if event.type is EventType.PURCHASE)
    return _Trace(
        row=row,
        text=catalogue.titles[row] if row >= 0 else event.query,
        item_id=event.item_id,
        mass=max(looks, 0) + kept * bought,
        kept=kept,
        counts=Counter(COUNTED[event.type] for event in group if event.type in COUNTED),
        last_at=max(event.at for event in group),
    )


def _kept(group: Sequence[PastEvent]) -> float:
    """Return the share of one item's purchases that did not come back, by quantity; as `returns.kept_evidence` does."""
    bought = sum(event.quantity for event in group if event.type is EventType.PURCHASE)
    returned = sum(event.quantity for event in group if event.type is EventType.REFUND)
    return max(1 - returned / bought, 0) if bought > 0 else 0.0


def _weight(event_type: EventType) -> float:
    return SEARCH_WEIGHT if event_type is EventType.SEARCH else float(LOOK_WEIGHTS[EVENT_CODES[event_type]])


def _decay(at: dt.datetime, now: dt.datetime) -> float:
    """Return 0.5 ** (age / half-life), in (0, 1]: what the ranker forgets, the persona forgets.

    Exponential time weight of Ding and Li 2005, "Time weight collaborative filtering", CIKM.
    """
    return float(0.5 ** ((now - at).total_seconds() / DAY_SECONDS / PERSONA_HALF_LIFE_DAYS))


def _category_interests(traces: Sequence[_Trace], items: ItemTable, total: float) -> tuple[Interest, ...]:
    groups: dict[str, list[_Trace]] = defaultdict(list)
    for trace in traces:
        if trace.row >= 0 and items.category[trace.row] >= 0:
            groups[items.category_names[items.category[trace.row]]].append(trace)
    interests = [_interest(name, "category", group, total) for name, group in groups.items() if name]
    return tuple(sorted(interests, key=lambda interest: -interest.share)[:N_INTERESTS])


def _word_interests(traces: Sequence[_Trace], vocabulary: Vocabulary, total: float) -> tuple[Interest, ...]:
    """Name what the traces share: the term with most mass times weight, then the next over what is left, and so on;
    an item that shares no telling term stands alone under its title.

    Each trace counts for one term only, so that shares add up to at most 1. The greedy cover is that of Chvatal 1979.
    """
    left = {trace_number: terms(trace.text) for trace_number, trace in enumerate(traces)}
    interests: list[Interest] = []
    while left and len(interests) < N_INTERESTS:
        mass: Counter[str] = Counter()
        for number, found in left.items():
            for term in found:
                mass[term] += traces[number].mass  # type: ignore[assignment]
        scores = {term: value * vocabulary.weight(term) for term, value in mass.items()}
        best = max(scores, key=lambda term: (scores[term], vocabulary.counts[term], term), default="")
        if not best or scores[best] <= 0:
            break
        covered = [number for number, found in left.items() if best in found]
        group = [traces[number] for number in covered]
        written = Counter(left[number][best] for number in covered).most_common(1)[0][0]
        is_one_item = len(group) == 1 and group[0].row >= 0
        interests.append(_interest(*((group[0].text, "item") if is_one_item else (written, "words")), group, total))
        left = {number: found for number, found in left.items() if number not in covered}
    alone = [_interest(traces[n].text, "item", [traces[n]], total) for n in left if traces[n].row >= 0]
    return tuple(sorted([*interests, *alone], key=lambda interest: -interest.share)[:N_INTERESTS])


def _interest(name: str, kind: str, traces: Sequence[_Trace], total: float) -> Interest:
    newest = sorted(traces, key=lambda trace: trace.last_at, reverse=True)
    return Interest(
        name=name,
        kind=kind,
        evidence=_evidence(sum((trace.counts for trace in traces), Counter())),
        share=min(sum(trace.mass for trace in traces) / total, 1.0),
        last_at=newest[0].last_at,
        item_ids=tuple(trace.item_id for trace in newest if trace.item_id)[:N_EXAMPLES],
    )


def _evidence(counts: Mapping[str, int]) -> Evidence:
    return replace(Evidence(), **counts)


def _headline(interests: Sequence[Interest], past: Sequence[PastEvent], now: dt.datetime) -> str:
    """Return "Mostly lunch bags: 12 bought, 3 viewed, last 4 days ago"."""
    if not interests:
        text = ngettext(
            "%(n)d event, about nothing in the catalogue, %(ago)s",
            "%(n)d events, about nothing that is still in the catalogue, last %(ago)s",
            len(past),
        )
        return text % {"n": len(past), "ago": ago(past[-1].at, now)}
    first = interests[0]
    if first.share >= DOMINANT_SHARE:
        return gettext("Mostly %(name)s: %(evidence)s, last %(ago)s") % {
            "name": first.name,
            "evidence": first.evidence.in_words(),
            "ago": ago(first.last_at, now),
        }
    names = [interest.name for interest in interests[:3]]
    return gettext("Many things, most of all %(names)s, last %(ago)s") % {
        "names": ", ".join(names),
        "ago": ago(past[-1].at, now),
    }


def _price_band(traces: Sequence[_Trace], items: ItemTable, currency: str) -> PriceBand | None:
    """Return the quartiles of what was bought, of what was looked at where nothing was; None without a price."""
    rows = [trace.row for trace in traces if trace.row >= 0 and trace.kept > 0]
    is_bought = bool(rows)
    rows = rows or [trace.row for trace in traces if trace.row >= 0]
    prices = items.price[rows]
    prices = prices[np.isfinite(prices)]
    if not len(prices):
        return None
    low, middle, high = (float(price) for price in np.percentile(prices, (25, 50, 75)))
    shop = items.price[np.isfinite(items.price) & items.active]
    level = float(np.mean(shop < middle)) if len(shop) else 0.5
    verb = gettext("Buys") if is_bought else gettext("Looks")
    span = f"{low:.2f}" if low == high else gettext("%(low).2f to %(high).2f") % {"low": low, "high": high}
    amount = f"{span} {currency}".strip()
    text = gettext("%(verb)s at %(amount)s, %(level)s")
    return PriceBand(low, middle, high, level, text % {"verb": verb, "amount": amount, "level": _level_in_words(level)})


def _level_in_words(level: float) -> str:
    if level < 1 / 3:
        return gettext("among the cheaper things here")
    return gettext("in the middle of the catalogue") if level < 2 / 3 else gettext("among the dearer things here")


def _rhythm(past: Sequence[PastEvent], timezone: dt.tzinfo) -> Rhythm:
    """Count each hour in which something happened once, so that a long order is no rhythm."""
    moments = {local.replace(minute=0, second=0, microsecond=0) for e in past if (local := e.at.astimezone(timezone))}
    weekdays, hours = Counter(m.weekday() for m in moments), Counter(m.hour for m in moments)
    day, n_day = weekdays.most_common(1)[0]
    hour = hours.most_common(1)[0][0]
    text = ""
    if len(moments) >= FEWEST_MOMENTS:
        often = gettext("Mostly") if n_day >= len(moments) / 2 else gettext("Most often")
        parts = {"often": often, "day": WEEKDAYS[day], "hour": hour}
        text = gettext("%(often)s on a %(day)s, around %(hour)d:00") % parts
    return Rhythm(tuple(weekdays[n] for n in range(7)), tuple(hours[n] for n in range(24)), text)


def _repeat_cycle(past: Sequence[PastEvent], now: dt.datetime) -> RepeatCycle | None:
    """Return the middle gap between days with an order of which something was kept; None before the first."""
    groups: dict[str, list[PastEvent]] = defaultdict(list)
    for event in past:
        groups[event.item_id].append(event)
    kept = {item_id for item_id, group in groups.items() if _kept(group) > 0}
    bought = [event for event in past if event.type is EventType.PURCHASE and event.item_id in kept]
    if not bought:
        return None
    days = sorted({event.at.date() for event in bought})
    orders: dict[str, set[str]] = defaultdict(set)
    for event in bought:
        orders[event.item_id].add(event.order_id or event.at.date().isoformat())
    n_orders = len(set().union(*orders.values()))
    repeated = sorted(((item, len(ids)) for item, ids in orders.items() if len(ids) > 1), key=lambda pair: -pair[1])
    gap = float(np.median(np.diff([day.toordinal() for day in days]))) if len(days) > 1 else None
    due_at = bought[-1].at + dt.timedelta(days=gap) if gap else None
    text = _cycle_in_words(n_orders, gap, due_at, now)
    return RepeatCycle(n_orders, gap, due_at, tuple(repeated[:N_INTERESTS]), text)


def _cycle_in_words(n_orders: int, gap: float | None, due_at: dt.datetime | None, now: dt.datetime) -> str:
    orders = ngettext("%d order", "%d orders", n_orders) % n_orders
    if gap is None or due_at is None:
        return orders
    every = ngettext("about every %d day", "about every %d days", round(gap)) % round(gap)
    days = abs((due_at - now).days)
    if due_at > now:
        return f"{orders}, {every}; " + ngettext("next due in %d day", "next due in %d days", days) % days
    return f"{orders}, {every}; " + ngettext("overdue by %d day", "overdue by %d days", days) % days


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(inner) for inner in value]
    return value.isoformat() if isinstance(value, dt.datetime) else value
