"""Reads the counted days of a period: of each group its share of the exposure, the catalogue and the demand."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from django.db.models import Max, Model, QuerySet, Sum

from recommender.experiments.intervals import Estimate
from recommender.exposure.groups import OTHERS
from recommender.exposure.sums import ALL, ExposureSums, GroupSums, Key
from recommender.models import ExposureDay, ExposureFloor, GroupExposure, GroupFigures

Row = TypeVar("Row", bound=Model)

N_SHOWN = 20
"""Groups of an attribute that have a row; all others are one."""

LEAST_ORDERS = 100
"""Items ordered from which orders are the demand; below it everything that was looked at is."""

SUMS = ("n_lists", "n_places", "exposure", "squares", "cross")


@dataclass(frozen=True, slots=True)
class GroupStanding:
    """One group: its share of the exposure, of the items that can be bought, and of the demand; the last two 0 to 1.

    floor: the least share that it must get; 0 without one. before: its share of the exposure in the lists of another
    bundle, if they are compared.
    """

    attribute: str
    value: str
    exposure: Estimate | None
    catalogue: float
    demand: float
    floor: float = 0.0
    before: float | None = None

    @property
    def is_below(self) -> bool:
        """Whether the group surely gets less than its floor: the whole interval is below it."""
        return self.exposure is not None and self.exposure.high < self.floor


@dataclass(frozen=True, slots=True)
class ExposurePeriod:
    """Some days of one arm, or of all: the groups of each attribute, those with most exposure first."""

    standings: Mapping[str, tuple[GroupStanding, ...]]
    n_lists: int
    is_demand_of_orders: bool
    arms: Mapping[str, int]
    counted_until: dt.datetime | None


def period(n_days: int, *, today: dt.date, arm: str | None = None) -> ExposurePeriod:
    """The exposure of the days that end with `today`, in the lists of an arm (None: of all). Six queries."""
    days = _between(GroupExposure.objects.all(), n_days, today)
    arms = dict(days.filter(attribute="").values_list("arm").annotate(n=Sum("n_lists")).order_by("-n"))
    sums = ExposureSums()
    rows = days if arm is None else days.filter(arm=arm)
    for attribute, value, *columns in rows.values_list("attribute", "value").annotate(*map(Sum, SUMS)).order_by():
        sums.add((attribute, value), GroupSums(*columns))
    catalogue, orders, clicks = _figures(n_days, today)
    is_of_orders = max(_totals(orders).values(), default=0) >= LEAST_ORDERS
    standings = all_standings(sums, catalogue, orders if is_of_orders else clicks, ExposureFloor.objects.all())
    whole = sums.of.get(ALL, GroupSums())
    counted = ExposureDay.objects.aggregate(until=Max("counted_until"))["until"]
    return ExposurePeriod(folded(sums, standings), whole.n_lists, is_of_orders, arms, counted)


def all_standings(
    sums: ExposureSums, catalogue: Mapping[Key, float], demand: Mapping[Key, float], floors: Iterable[ExposureFloor]
) -> list[GroupStanding]:
    """Every group that has items, demand or exposure. The values are counts, of which shares are made."""
    of_attribute = _totals(catalogue), _totals(demand)
    least = floors_of(floors)
    standings = []
    for key in sorted({*catalogue, *demand, *sums.of} - {ALL}):
        of_catalogue, of_demand = (
            counts.get(key, 0) / total[key[0]] if total[key[0]] else 0.0
            for counts, total in zip((catalogue, demand), of_attribute, strict=True)
        )
        floor = max((part * (of_catalogue, of_demand)[basis] for basis, part in least.get(key, ())), default=0.0)
        standings.append(GroupStanding(*key, sums.share(key), of_catalogue, of_demand, floor))
    return standings


def floors_of(floors: Iterable[ExposureFloor]) -> Mapping[Key, list[tuple[int, float]]]:
    """By group the floors: 0 of the catalogue or 1 of the demand, and the part."""
    by_key: defaultdict[Key, list[tuple[int, float]]] = defaultdict(list)
    for floor in floors:
        by_key[floor.attribute, floor.value].append((int(floor.basis == ExposureFloor.Basis.DEMAND), floor.part))
    return by_key


def folded(sums: ExposureSums, standings: Iterable[GroupStanding]) -> dict[str, tuple[GroupStanding, ...]]:
    """By attribute the `N_SHOWN` largest groups and every one with a floor; the rest is one row, `OTHERS`, without an
    interval."""
    by_attribute: defaultdict[str, list[GroupStanding]] = defaultdict(list)
    for standing in standings:
        by_attribute[standing.attribute].append(standing)
    return {attribute: tuple(_folded(sums, own)) for attribute, own in by_attribute.items()}


def _folded(sums: ExposureSums, standings: list[GroupStanding]) -> list[GroupStanding]:
    ranked = sorted(standings, key=lambda one: (-(one.exposure.value if one.exposure else 0.0), -one.catalogue))
    named = [one for one in ranked if one.value != OTHERS]
    shown = [one for number, one in enumerate(named) if number < N_SHOWN or one.floor]
    values = {one.value for one in shown}
    rest = [one for one in standings if one.value not in values]
    if not rest:
        return shown
    share = sum(one.exposure.value for one in rest if one.exposure is not None)
    exposure = Estimate(share, share, share) if sums.share(ALL) is not None else None
    catalogue, demand = sum(one.catalogue for one in rest), sum(one.demand for one in rest)
    before = sum(one.before or 0 for one in rest) if any(one.before is not None for one in rest) else None
    others = GroupStanding(rest[0].attribute, OTHERS, exposure, catalogue, demand, before=before)
    return [*shown, others]


def _between(rows: QuerySet[Row], n_days: int, today: dt.date) -> QuerySet[Row]:
    return rows.filter(day__gt=today - dt.timedelta(days=n_days), day__lte=today)


def _figures(n_days: int, today: dt.date) -> tuple[dict[Key, float], dict[Key, float], dict[Key, float]]:
    """Items on the newest day, and items ordered and looked at on all days. Two queries."""
    days = _between(GroupFigures.objects.all(), n_days, today)
    orders: dict[Key, float] = {}
    clicks: dict[Key, float] = {}
    for attribute, value, n_orders, n_clicks in (
        days.values_list("attribute", "value").annotate(Sum("n_orders"), Sum("n_clicks")).order_by()
    ):
        orders[attribute, value], clicks[attribute, value] = n_orders, n_clicks
    newest = days.order_by("-day").values("day")[:1]
    items = days.filter(day=newest, n_items__gt=0).values_list("attribute", "value", "n_items")
    return {(attribute, value): n for attribute, value, n in items}, orders, clicks


def _totals(counts: Mapping[Key, float]) -> defaultdict[str, float]:
    totals: defaultdict[str, float] = defaultdict(float)
    for (attribute, _value), n in counts.items():
        totals[attribute] += n
    return totals
