"""The recurring jobs themselves. Each may run twice or be cut off: it looks into SQL for what is left to do."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Callable

from django.db.models import Max
from django.utils import timezone

from recommender import bundles, conf, runs, tracking
from recommender.capture import privacy
from recommender.catalog import sync
from recommender.datasets import queries, statistics
from recommender.exceptions import MissingDependency, RunError
from recommender.jobs.timing import Crontab
from recommender.models import Event, Item, ItemStatistics, QueryStatistics, Segment
from recommender.personas import segmentation
from recommender.serving import vectors
from recommender.types import EventType

logger = logging.getLogger(__name__)

RECONCILE_OVERLAP = dt.timedelta(days=2)

MOST_COMPARED = 20_000
"""Objects whose columns are compared each minute; a larger catalogue takes several minutes to go through."""


def start_scheduled_run() -> None:
    """Queue the run of `TRAINING_SCHEDULE`; one that is still active is enough."""
    try:
        runs.request_run(trigger="schedule")
    except RunError as error:
        logger.info("no scheduled run: %s", error)


def sync_changed() -> None:
    """Copy what changed in the shop without a signal, as by `QuerySet.update`."""
    sync.sync_changed(most_compared=MOST_COMPARED)


def encode_items() -> None:
    """Encode what has no vector yet, for every bundle that may serve; make bundle 0 where nothing serves."""
    if not Item.objects.filter(is_active=True).exists():
        return
    try:
        bundles.ensure_champion()
        for bundle in bundles.retained():
            if bundle.state != bundle.State.QUARANTINED:
                vectors.encode_missing(bundle.name)
    except MissingDependency as error:
        logger.warning("no vectors, search stays lexical: %s", error)


def refresh_statistics() -> None:
    """Recompute popularity and co-purchase, where an event came in since the last time."""
    computed_at = ItemStatistics.objects.aggregate(newest=Max("computed_at"))["newest"]
    if computed_at is None or Event.objects.filter(received_at__gte=computed_at).exists():
        statistics.refresh_statistics()


def refresh_segments(assign: Callable[[int, int], object] = segmentation.assign_segments) -> None:
    """Group the visitors anew, where an event came in since the last time; then let `assign` place each chunk."""
    computed_at = Segment.objects.aggregate(newest=Max("computed_at"))["newest"]
    if computed_at is None or Event.objects.filter(received_at__gte=computed_at).exists():
        segmentation.refresh_segments()
        for first, last in segmentation.chunks():
            assign(first, last)


def learn_queries() -> None:
    """Recompute what queries led to, and propose synonyms, where somebody searched since the last time."""
    computed_at = QueryStatistics.objects.aggregate(newest=Max("computed_at"))["newest"]
    searches = Event.objects.filter(type=EventType.SEARCH)
    if computed_at is not None:
        searches = searches.filter(received_at__gte=computed_at)
    if searches.exists():
        queries.learn_queries()


def reconcile() -> None:
    """Take in the order rows of the last days that no event tells of yet."""
    tracking.reconcile(since=timezone.now() - RECONCILE_OVERLAP)


def reconcile_all() -> None:
    """Go through all order rows: what was nobody's finds its buyer once they have consented, however old it is."""
    tracking.reconcile()


def purge_retention() -> None:
    """Delete behaviour older than `RETENTION_DAYS`."""
    privacy.purge(before=timezone.now() - dt.timedelta(days=conf.get("RETENTION_DAYS")))


def reap_runs() -> None:
    """End runs that went silent, or give them to the queue again."""
    runs.reap_stale()


ENCODE, POKE, SCHEDULED_RUN = "encode_items", "poke_runs", "start_scheduled_run"

WORK: dict[str, Callable[[], None]] = {
    POKE: reap_runs,
    "sync_changed": sync_changed,
    ENCODE: encode_items,
    "refresh_statistics": refresh_statistics,
    "learn_queries": learn_queries,
    "reconcile": reconcile,
    "refresh_segments": refresh_segments,
    "reconcile_all": reconcile_all,
    "purge_retention": purge_retention,
    SCHEDULED_RUN: start_scheduled_run,
}
"""Every job by its name: the order in which those that are due at once are done."""

TIMES: dict[str, dt.timedelta] = {
    POKE: dt.timedelta(minutes=1),
    "sync_changed": dt.timedelta(minutes=1),
    ENCODE: dt.timedelta(minutes=1),
    "refresh_statistics": dt.timedelta(minutes=5),
    "learn_queries": dt.timedelta(hours=1),
    "reconcile": dt.timedelta(minutes=10),
    "refresh_segments": dt.timedelta(hours=6),
    "reconcile_all": dt.timedelta(days=1),
    "purge_retention": dt.timedelta(days=1),
}


def times() -> dict[str, dt.timedelta | Crontab]:
    """Every job that comes round by itself, and how often. Raises ConfigurationError for a schedule that is none."""
    declared = conf.get("TRAINING_SCHEDULE")
    return {**TIMES, **({SCHEDULED_RUN: Crontab.of(declared)} if declared else {})}
