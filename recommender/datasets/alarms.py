"""Stores the bursts that cleaning found as alarms for the shop's staff."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Sequence

from recommender.features.credibility import MONTH_DAYS, Burst
from recommender.models import Alarm
from recommender.tables import ItemTable

logger = logging.getLogger(__name__)

MOST_STORED = 100
"""Alarms of one refresh, the largest first: more are read by nobody."""

EPOCH = dt.date(1970, 1, 1)


def raise_alarms(bursts: Sequence[Burst], items: ItemTable, *, at: dt.datetime) -> int:
    """Store the bursts of the last month, or bring them up to date; return how many were not known before.

    Four queries at most. An alarm that somebody has seen stays seen.
    """
    first = (at - dt.timedelta(days=MONTH_DAYS)).date()
    recent = [burst for burst in bursts if _date(burst) >= first][:MOST_STORED]
    if not recent:
        return 0
    n_before = Alarm.objects.count()
    ongoing = {
        (kind, item_id, query): day
        for kind, item_id, query, day in Alarm.objects.filter(n_days=MONTH_DAYS, day__gte=first)
        .order_by("day")
        .values_list("kind", "item_id", "query", "day")
    }
    alarms = [_alarm(burst, items, at) for burst in recent]
    for alarm in alarms:
        if alarm.n_days == MONTH_DAYS:  # one alarm while it goes on, not another one every day
            alarm.day = ongoing.get((alarm.kind, alarm.item_id, alarm.query), alarm.day)
    Alarm.objects.bulk_create(
        {(alarm.kind, alarm.item_id, alarm.query, alarm.day, alarm.n_days): alarm for alarm in alarms}.values(),
        update_conflicts=True,
        unique_fields=["kind", "item_id", "query", "day", "n_days"],
        update_fields=["n_people", "limit"],
    )
    n_new = Alarm.objects.count() - n_before
    if n_new:
        logger.warning("%d new alarms: far more visitors than usual, see the alarms in the admin", n_new)
    return n_new


def _alarm(burst: Burst, items: ItemTable, at: dt.datetime) -> Alarm:
    return Alarm(
        kind=burst.kind,
        item_id=items.ids[burst.item] if burst.item >= 0 else "",
        query=burst.query[: Alarm._meta.get_field("query").max_length],
        day=_date(burst),
        n_days=burst.n_days,
        n_people=burst.n_people,
        limit=burst.limit,
        raised_at=at,
    )


def _date(burst: Burst) -> dt.date:
    return EPOCH + dt.timedelta(days=burst.day)
