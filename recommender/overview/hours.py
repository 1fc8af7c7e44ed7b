"""Sums up lists, what they led to, events and searches by hour. What is summed up again gives the same rows."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from django.db import models, router, transaction
from django.db.models.functions import TruncHour
from django.utils import timezone

from recommender import conf
from recommender.durations import CLICK_ATTRIBUTION_DAYS
from recommender.models import Event, HourlyFigures, HourlyRevenue, HourlyTraffic, Impression
from recommender.models.claims import MAX_CLAIM_AGE
from recommender.models.items import margins
from recommender.models.staff import visitors_of_staff
from recommender.overview.outcomes import ListSums, outcomes_between, sum_up
from recommender.overview.searches import hour_of, searches_between

HOUR = dt.timedelta(hours=1)
CHUNK = dt.timedelta(days=1)
"""What is summed up in one transaction."""

MAX_ARM_LENGTH = 64

LATE = MAX_CLAIM_AGE
"""An event may come so long after it happened: as long as clients of the API may date one back."""


@dataclass(frozen=True, slots=True)
class RollUp:
    """The hours that were summed up, from `first` on."""

    first: dt.datetime
    n_hours: int


def window() -> dt.timedelta:
    """How long after it was shown a list is credited: `ATTRIBUTION_DAYS`, and not longer than a click is remembered."""
    return dt.timedelta(days=min(float(conf.get("ATTRIBUTION_DAYS")), CLICK_ATTRIBUTION_DAYS))


def roll_up(*, at: dt.datetime | None = None, everything: bool = False) -> RollUp:
    """Sum up the newest hours, and once an hour all to which a late event may belong: those of `window()` and `LATE`.

    `everything`: all hours of which the events and lists are still stored, for example after `ATTRIBUTION_DAYS` was
    changed. Each day is a transaction, so that an interrupted roll-up goes on where it stopped.
    """
    at = at or timezone.now()
    first, end = _first_hour(at, everything=everything), hour_of(at) + HOUR
    start = first
    while start < end:
        until = min(start + CHUNK, end)
        _sum_up_again(start, until, at)
        start = until
    return RollUp(first, round((end - first) / HOUR))


def _first_hour(at: dt.datetime, *, everything: bool) -> dt.datetime:
    newest = HourlyTraffic.objects.aggregate(hour=models.Max("hour"))["hour"]
    if newest is None or everything:
        return _oldest_hour(at)
    newest = min(newest, hour_of(at))
    latest_change = hour_of(at - window() - LATE)
    outdated = HourlyTraffic.objects.filter(hour__gte=latest_change, hour__lt=newest, computed_at__lte=at - HOUR)
    return max(_whole_since(at), min(newest, latest_change) if outdated.exists() else newest)


def _oldest_hour(at: dt.datetime) -> dt.datetime:
    """The first hour with an event or a list of which everything is still stored; this hour if there is none. Two
    queries."""
    since = _whole_since(at)
    first = [
        rows.order_by("occurred_at").values_list("occurred_at", flat=True).first()
        for rows in (Event.objects.filter(occurred_at__gte=since), Impression.objects.filter(occurred_at__gte=since))
    ]
    return min([*(hour_of(moment) for moment in first if moment is not None), hour_of(at)])


def _whole_since(at: dt.datetime) -> dt.datetime:
    """What is older may be deleted by now in part, so that its sums stay as they are."""
    days = conf.retention()
    return hour_of(at - dt.timedelta(days=min(days["events"], days["impressions"]))) + HOUR


def _sum_up_again(start: dt.datetime, end: dt.datetime, at: dt.datetime) -> None:
    """Replace the rows of some hours."""
    outcomes, earned = outcomes_between(start, end + window()), margins()
    sums = sum_up(_lists(start, end), outcomes, window=window(), margins=earned)
    traffic = _traffic(start, end, at)
    with transaction.atomic(using=router.db_for_write(HourlyFigures)):
        for model in (HourlyFigures, HourlyRevenue, HourlyTraffic):
            model._default_manager.filter(hour__gte=start, hour__lt=end).delete()
        HourlyFigures.objects.bulk_create([_figures(key, row) for key, row in sorted(sums.items())], batch_size=500)
        HourlyRevenue.objects.bulk_create(_revenue(sums), batch_size=500)
        HourlyTraffic.objects.bulk_create(traffic, batch_size=500)


def _lists(start: dt.datetime, end: dt.datetime) -> Iterator[tuple[object, ...]]:
    staff = visitors_of_staff()
    lists = Impression.objects.filter(is_bot=False, occurred_at__gte=start, occurred_at__lt=end)
    columns = ("pk", "slot", "rung", "bundle", "arms", "occurred_at", "item_ids", "visitor_id", "visitor__user_key")
    rows = lists.values_list(*columns).iterator()
    return (
        (pk, slot, rung, arm_of(bundle, arms), *rest)
        for pk, slot, rung, bundle, arms, *rest in rows
        if rest[2] not in staff
    )


def arm_of(bundle: str, arms: str) -> str:
    """The arms of the experiments that a list was shown in, such as "7a 9b", or else the bundle that served it.

    Of more experiments than the column has room for, the first.
    """
    while len(arms) > MAX_ARM_LENGTH:
        arms = arms.rpartition(" ")[0]
    return arms or bundle


def _figures(key: tuple[dt.datetime, str, str, str], sums: ListSums) -> HourlyFigures:
    hour, slot, rung, arm = key
    return HourlyFigures(
        hour=hour,
        slot=slot,
        rung=rung,
        arm=arm,
        n_lists=sums.n_lists,
        n_clicked=sums.n_clicked,
        n_carted=sums.n_carted,
        n_ordered=sums.n_ordered,
        n_clicks=sums.n_clicks,
        n_carts=sums.n_carts,
        n_orders=sums.n_orders,
    )


def _revenue(sums: dict[tuple[dt.datetime, str, str, str], ListSums]) -> list[HourlyRevenue]:
    return [
        HourlyRevenue(
            hour=hour,
            slot=slot,
            rung=rung,
            arm=arm,
            currency=currency,
            n_lists=income.n_lists,
            revenue=income.revenue,
            squares=income.squares,
            margin=income.margin,
        )
        for (hour, slot, rung, arm), row in sorted(sums.items())
        for currency, income in sorted(row.income.items())
    ]


def _traffic(start: dt.datetime, end: dt.datetime, at: dt.datetime) -> list[HourlyTraffic]:
    """One row for each hour. Five queries."""
    events = Event.objects.filter(is_bot=False, occurred_at__gte=start, occurred_at__lt=end).order_by()
    counted = events.values_list(TruncHour("occurred_at", tzinfo=dt.UTC)).annotate(n=models.Count("pk"))
    n_events = {hour.astimezone(dt.UTC): n for hour, n in counted}
    searches = defaultdict(list)
    for search in searches_between(start, end):
        searches[search.hour].append(search.n_found)
    hours = (start + number * HOUR for number in range(round((end - start) / HOUR)))
    return [
        HourlyTraffic(
            hour=hour,
            n_events=n_events.get(hour, 0),
            n_searches=len(searches[hour]),
            n_answered=sum(n_found is not None for n_found in searches[hour]),
            n_unmatched=searches[hour].count(0),
            computed_at=at,
        )
        for hour in hours
    ]
