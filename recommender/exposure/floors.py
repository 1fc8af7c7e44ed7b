"""Raises an alarm where a group surely gets less exposure than its floor, live or in the lists of a new bundle."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Iterable

from django.db.models import Max
from django.utils import timezone
from django.utils.translation import gettext

from recommender.exposure import reading
from recommender.exposure.reading import GroupStanding
from recommender.models import Alarm, ExposureFloor

logger = logging.getLogger(__name__)

MAX_NAME_LENGTH = 255
N_DAYS = 7
"""Days whose lists are judged together."""


def watch_floors(*, at: dt.datetime | None = None) -> int:
    """Raise an alarm for each group whose exposure of the last `N_DAYS` is below its floor; return how many are new.

    One query without a floor.
    """
    at = at or timezone.now()
    if not ExposureFloor.objects.exists():
        return 0
    standings = reading.period(N_DAYS, today=timezone.localdate(at)).standings
    return raise_alarms((one for own in standings.values() for one in own), at=at)


def raise_alarms(standings: Iterable[GroupStanding], *, at: dt.datetime, bundle: str = "") -> int:
    """Store an alarm for each group below its floor, one while it goes on; return how many are new.

    bundle: whose lists they are, "" for what shoppers see.
    """
    day = timezone.localdate(at)
    below = {subject_of(one, bundle)[:MAX_NAME_LENGTH]: words_of(one) for one in standings if one.is_below}
    ongoing = (
        Alarm.objects.filter(kind=Alarm.Kind.EXPOSURE, query__in=below, day__gt=day - dt.timedelta(days=N_DAYS))
        .values_list("query")
        .annotate(newest=Max("pk"))
    )
    newest = dict(ongoing) if below else {}
    for subject, pk in newest.items():
        Alarm.objects.filter(pk=pk).update(figures=below[subject], day=day)
    new = [subject for subject in below if subject not in newest]
    Alarm.objects.bulk_create(
        Alarm(kind=Alarm.Kind.EXPOSURE, query=subject, figures=below[subject], day=day, n_days=N_DAYS, raised_at=at)
        for subject in new
    )
    if new:
        logger.warning("%d groups of items are shown less than their floor, see the alarms in the admin", len(new))
    return len(new)


def subject_of(standing: GroupStanding, bundle: str = "") -> str:
    """The group as an alarm names it."""
    group = f"{standing.attribute}: {standing.value or '–'}"
    return (
        gettext("%(group)s, in the lists of bundle %(bundle)s") % {"group": group, "bundle": bundle[:12]}
        if bundle
        else group
    )


def words_of(standing: GroupStanding) -> str:
    """How little a group gets, and how much it should."""
    exposure = standing.exposure
    if exposure is None:
        return ""
    return gettext("%(share).1f %% of the exposure [%(low).1f, %(high).1f], the floor is %(floor).1f %%") % {
        "share": 100 * exposure.value,
        "low": 100 * exposure.low,
        "high": 100 * exposure.high,
        "floor": 100 * standing.floor,
    }
