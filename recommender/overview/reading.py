"""Reads the sums of a period and says what they mean: rates, money per thousand lists, and the times of answers."""

from __future__ import annotations

import datetime as dt
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from django.db import models
from django.db.models import Max, Min, Sum
from django.db.models.functions import TruncDay

from recommender.experiments.intervals import Estimate, mean, quantile, rate
from recommender.models import (
    AnswerTimes,
    EventCount,
    HourlyFigures,
    HourlyRevenue,
    HourlyTraffic,
    QueryFigures,
)
from recommender.models.claims import ROWS_OF_THE_SHOP
from recommender.overview.queries import start_of

COUNTS = ("n_lists", "n_clicked", "n_carted", "n_ordered", "n_clicks", "n_carts", "n_orders")
TRAFFIC = ("n_events", "n_searches", "n_answered", "n_unmatched")
PER_LISTS = 1_000
N_TOP = 10

MoneySums = dict[tuple[str, str, str], tuple[float, float, float | None]]
"""Revenue, its squares and margin by slot, arm and currency."""


@dataclass(frozen=True, slots=True)
class Money:
    """Revenue in one currency over a number of lists; margin is None where the Catalog gives none."""

    currency: str
    revenue: float
    squares: float
    margin: float | None
    n_lists: int

    @property
    def per_thousand(self) -> Estimate | None:
        """Revenue per thousand lists with its interval; it takes lists as independent."""
        amount = mean(self.revenue, self.squares, self.n_lists)
        if amount is None:
            return None
        return Estimate(*(PER_LISTS * bound for bound in (amount.value, amount.low, amount.high)))

    @property
    def margin_per_thousand(self) -> float | None:
        """Margin per thousand lists."""
        return None if self.margin is None or not self.n_lists else PER_LISTS * self.margin / self.n_lists


@dataclass(frozen=True, slots=True)
class ListFigures:
    """The counts of some lists, and the money that they led to, by currency."""

    counts: Mapping[str, int]
    money: tuple[Money, ...] = ()

    @property
    def clicked(self) -> Estimate | None:
        """The share of lists with a click."""
        return rate(self.counts["n_clicked"], self.counts["n_lists"])

    @property
    def ordered(self) -> Estimate | None:
        """The share of lists that led to an order."""
        return rate(self.counts["n_ordered"], self.counts["n_lists"])


@dataclass(frozen=True, slots=True)
class Period:
    """All sums of some days.

    by_list: by slot and arm; by_rung: lists; by_day: midnight and figures, ascending; n_sent and n_dropped: events of
    shoppers, and those of them without consent; newest: the hour of the newest event.
    """

    total: ListFigures
    by_list: Mapping[tuple[str, str], ListFigures] = field(default_factory=dict)
    by_rung: Mapping[str, int] = field(default_factory=dict)
    by_day: tuple[tuple[dt.datetime, ListFigures], ...] = ()
    traffic: Mapping[str, int] = field(default_factory=dict)
    n_hours: int = 0
    n_timed: int = 0
    p95_ms: float | None = None
    n_sent: int = 0
    n_dropped: int = 0
    newest: dt.datetime | None = None


def period(n_days: int, *, at: dt.datetime) -> Period:
    """The figures of the `n_days` days that end with that of `at`. Eight queries, whatever was recorded."""
    start = start_of(n_days, at)
    rows = list(
        _hours(start, at).values_list("slot", "arm", "rung").annotate(*(Sum(name) for name in COUNTS)).order_by()
    )
    money = _revenue(start, at)
    by_list: defaultdict[tuple[str, str], list[tuple[int, ...]]] = defaultdict(list)
    by_rung: defaultdict[str, int] = defaultdict(int)
    for slot, arm, rung, *sums in rows:
        by_list[slot, arm].append(tuple(sums))
        by_rung[rung] += sums[0]
    traffic = HourlyTraffic.objects.filter(hour__gte=start, hour__lte=at).aggregate(*(Sum(name) for name in TRAFFIC))
    times = _times(start, at)
    n_sent, n_dropped = _consent(start)
    return Period(
        total=_figures([tuple(sums) for _slot, _arm, _rung, *sums in rows], money),
        by_list={
            key: _figures(sums, {(*key, currency): row for (*own, currency), row in money.items() if tuple(own) == key})
            for key, sums in sorted(by_list.items(), key=lambda pair: (pair[0][0], -sum(row[0] for row in pair[1])))
        },
        by_rung=dict(sorted(by_rung.items(), key=lambda pair: -pair[1])),
        by_day=_by_day(start, at),
        traffic={name: traffic[f"{name}__sum"] or 0 for name in TRAFFIC},
        n_hours=max(1, math.ceil((at - start).total_seconds() / 3_600)),
        n_timed=sum(n for _bound, n in times),
        p95_ms=quantile(times, 0.95),
        n_sent=n_sent,
        n_dropped=n_dropped,
        newest=HourlyTraffic.objects.filter(n_events__gt=0).aggregate(hour=Max("hour"))["hour"],
    )


def total_before(n_days: int, *, at: dt.datetime) -> ListFigures | None:
    """The figures of as long a time before the period; None where that time is not summed up whole. Three queries."""
    start = start_of(n_days, at)
    before = start - (at - start)
    first = HourlyTraffic.objects.aggregate(first=Min("hour"))["first"]
    if first is None or first > before:
        return None
    sums = _hours(before, start).aggregate(*(Sum(name) for name in COUNTS))
    return _figures([tuple(sums[f"{name}__sum"] or 0 for name in COUNTS)], _revenue(before, start))


def top_queries(n_days: int) -> list[QueryFigures]:
    """The queries that several people searched, most searches first. One query."""
    return list(QueryFigures.objects.filter(n_days=n_days).exclude(query="").order_by("-n_searches", "pk")[:N_TOP])


def unmatched_queries(n_days: int) -> list[QueryFigures]:
    """Those that most often had no result. One query."""
    rows = QueryFigures.objects.filter(n_days=n_days, n_unmatched__gt=0).exclude(query="")
    return list(rows.order_by("-n_unmatched", "pk")[:N_TOP])


def rare_queries(n_days: int) -> QueryFigures | None:
    """All that too few people searched to be shown, as one row. One query."""
    return QueryFigures.objects.filter(n_days=n_days, query="").first()


def _hours(start: dt.datetime, end: dt.datetime) -> models.QuerySet[HourlyFigures]:
    return HourlyFigures.objects.filter(hour__gte=start, hour__lt=end)


def _by_day(start: dt.datetime, end: dt.datetime) -> tuple[tuple[dt.datetime, ListFigures], ...]:
    days = _hours(start, end).annotate(day=TruncDay("hour"))
    rows = days.values_list("day").annotate(*(Sum(name) for name in COUNTS)).order_by("day")
    incomes = HourlyRevenue.objects.filter(hour__gte=start, hour__lt=end).annotate(day=TruncDay("hour"))
    sums = incomes.values_list("day", "currency").annotate(Sum("revenue"), Sum("squares"), Sum("margin")).order_by()
    money: defaultdict[dt.datetime, MoneySums] = defaultdict(dict)
    for day, currency, *row in sums:
        money[day]["", "", currency] = _as_floats(*row)
    return tuple((day, _figures([tuple(counts)], money[day])) for day, *counts in rows)


def _consent(start: dt.datetime) -> tuple[int, int]:
    """Events of shoppers since the day of `start`, and those that were dropped for want of consent. One query."""
    names = ("accepted", "duplicate", "rejected", "dropped")
    counts = EventCount.objects.filter(day__gte=start.astimezone(dt.UTC).date()).exclude(source=ROWS_OF_THE_SHOP)
    sums = counts.aggregate(*(Sum(name) for name in names))
    return sum(sums[f"{name}__sum"] or 0 for name in names), sums["dropped__sum"] or 0


def _revenue(start: dt.datetime, end: dt.datetime) -> MoneySums:
    rows = HourlyRevenue.objects.filter(hour__gte=start, hour__lt=end).values_list("slot", "arm", "currency")
    sums = rows.annotate(Sum("revenue"), Sum("squares"), Sum("margin")).order_by()
    return {(slot, arm, currency): _as_floats(*row) for slot, arm, currency, *row in sums}


def _as_floats(revenue: Decimal, squares: float, margin: Decimal | None) -> tuple[float, float, float | None]:
    return float(revenue), float(squares), None if margin is None else float(margin)


def _figures(sums: Iterable[tuple[int, ...]], money: MoneySums) -> ListFigures:
    counts = dict(zip(COUNTS, [sum(column) for column in zip(*sums, strict=True)] or [0] * len(COUNTS), strict=True))
    by_currency: defaultdict[str, list[tuple[float, float, float | None]]] = defaultdict(list)
    for (_slot, _arm, currency), row in money.items():
        by_currency[currency].append(row)
    return ListFigures(
        counts, tuple(_money(name, rows, counts["n_lists"]) for name, rows in sorted(by_currency.items()))
    )


def _money(currency: str, rows: list[tuple[float, float, float | None]], n_lists: int) -> Money:
    margins = [margin for *_rest, margin in rows if margin is not None]
    revenue, squares = (sum(row[index] for row in rows) for index in (0, 1))  # type: ignore[misc]
    return Money(currency, revenue, squares, sum(margins) if margins else None, n_lists)


def _times(start: dt.datetime, end: dt.datetime) -> list[tuple[float, int]]:
    """How many lists took up to each bound in milliseconds, ascending, infinity last."""
    rows = (
        AnswerTimes.objects.filter(hour__gte=start, hour__lte=end)
        .values_list("within_ms")
        .annotate(Sum("n"))
        .order_by()
    )
    return sorted((float(bound) if bound else math.inf, n) for bound, n in rows)
