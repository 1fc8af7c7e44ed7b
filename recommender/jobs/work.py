"""The recurring jobs. Each may run twice or be interrupted, because it reads from SQL what is left to do."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Callable

from django.db import models
from django.utils import timezone

from recommender import bundles, conf, exposure, overview, runs, serving, tracking
from recommender.capture import retention
from recommender.catalog import sync
from recommender.datasets import queries, statistics
from recommender.exceptions import MissingDependency, RunError
from recommender.experiments import conduct
from recommender.jobs import archiving, erasing, ledger
from recommender.jobs.timing import Crontab
from recommender.models import Event, Item, ItemStatistics, QueryStatistics, Segment, Webhook
from recommender.outreach.webhooks import compare_all, compare_requested, deliver_due
from recommender.personas import segmentation
from recommender.rules import costs
from recommender.serving import engine_sync, sharing, vectors
from recommender.types import EventType

logger = logging.getLogger(__name__)

RECONCILE_OVERLAP = dt.timedelta(days=2)

MOST_COMPARED = 20_000
"""Number of objects whose columns are compared each minute; a larger catalogue takes several minutes."""


def start_scheduled_run() -> None:
    """Queue the run of `TRAINING_SCHEDULE`, unless a run is still active."""
    try:
        runs.request_run(trigger="schedule")
    except RunError as error:
        logger.info("no scheduled run was queued: %s", error)


def sync_changed() -> None:
    """Copy objects that changed without a signal, for example by `QuerySet.update`."""
    sync.sync_changed(most_compared=MOST_COMPARED)


def encode_items() -> None:
    """Encode the items that have no vector yet, for every bundle that may serve; export bundle 0 if there is none."""
    if not Item.objects.filter(is_active=True).exists():
        return
    try:
        bundles.ensure_champion()
        for bundle in bundles.retained():
            if bundle.state != bundle.State.QUARANTINED:
                vectors.encode_missing(bundle.name)
    except MissingDependency as error:
        logger.warning("items are not encoded, so search uses words only: %s", error)


def sync_engine() -> None:
    """Bring the vector engine up to date, where `VECTOR_ENGINE` names one."""
    for synced in engine_sync.sync():
        if synced.is_full:
            logger.info("the vector engine has all %d items of bundle %s", synced.n_items, synced.bundle)


def refresh_statistics() -> None:
    """Recompute popularity and co-purchase if there are new events."""
    if _has_new_events(ItemStatistics):
        statistics.refresh_statistics()


def refresh_segments(assign: Callable[[int, int], object] = segmentation.assign_segments) -> None:
    """Group the visitors again if there are new events; then call `assign` for each range of visitors."""
    if _has_new_events(Segment):
        segmentation.refresh_segments()
        for first, last in segmentation.chunks():
            assign(first, last)


def learn_queries() -> None:
    """Recompute what queries led to, and propose synonyms, if there are new searches."""
    if Event.objects.filter(type=EventType.SEARCH, **_since_computed(QueryStatistics)).exists():
        queries.learn_queries()


def reconcile() -> None:
    """Record the order rows of the last two days that are not recorded yet."""
    tracking.reconcile(since=timezone.now() - RECONCILE_OVERLAP)


def reconcile_all() -> None:
    """Go through all order rows, so that old orders are linked to customers who have consented since."""
    tracking.reconcile()


def roll_up() -> None:
    """Sum up the newest hours for the overview."""
    overview.roll_up()


def roll_up_queries() -> None:
    """Count the queries of the overview's periods anew."""
    overview.roll_up_queries()


def count_exposure() -> None:
    """Count what was shown since the last hour, and look whether a group is shown less than its floor."""
    exposure.count_days()
    exposure.watch_floors()


def purge_retention() -> None:
    """Delete what is older than `RETENTION_DAYS` and `RETENTION` allow."""
    removed = retention.purge(at=timezone.now())
    if archiving.is_wanted():
        archiving.update_now()  # where another process writes the archive, it is up to date within a day
    if removed["queries"]:
        queries.learn_queries()
        overview.roll_up_queries()


def erase() -> None:
    """Carry the requested erasures to their end."""
    erasing.finish_erasures()


def measure_experiments() -> None:
    """Measure live rules and experiments, stop experiments that must not go on, end those whose time is over."""
    conduct.advance(at=timezone.now())
    costs.measure_live(at=timezone.now())


def compare_webhooks() -> None:
    """Write what webhooks are to be told since the night before."""
    compare_all(serving.loaded().shelf, at=timezone.now())


def deliver_webhooks() -> None:
    """Compare the webhooks that staff asked for, and post what is due."""
    now = timezone.now()
    if Webhook.objects.exists():
        compare_requested(lambda: serving.loaded().shelf, at=now)
        deliver_due(at=now)


def write_snapshot() -> None:
    """Write the shelf that web processes share anew where much has changed, or a person was erased, since."""
    try:
        sharing.write_snapshot()
    except MissingDependency as error:
        logger.warning("the snapshot of the shelf is not written: %s", error)


def reap_runs() -> None:
    """End runs whose heartbeat stopped, or return them to the queue."""
    runs.reap_stale()


def _has_new_events(model: type[models.Model]) -> bool:
    """Were events received since the rows of the model were computed, or were these never computed?"""
    since = _since_computed(model)
    return not since or Event.objects.filter(**since).exists()


def _since_computed(model: type[models.Model]) -> dict[str, dt.datetime]:
    """The filter for events received since the rows of the model were computed; empty if they never were."""
    computed_at = model._default_manager.aggregate(newest=models.Max("computed_at"))["newest"]
    return {} if computed_at is None else {"received_at__gte": computed_at}


ENCODE, POKE, SCHEDULED_RUN = "encode_items", "poke_runs", "start_scheduled_run"

WORK: dict[str, Callable[[], None]] = {
    POKE: reap_runs,
    "sync_changed": sync_changed,
    ENCODE: encode_items,
    "sync_engine": sync_engine,
    "refresh_statistics": refresh_statistics,
    "learn_queries": learn_queries,
    "reconcile": reconcile,
    "roll_up": roll_up,
    "roll_up_queries": roll_up_queries,
    "count_exposure": count_exposure,
    "refresh_segments": refresh_segments,
    "reconcile_all": reconcile_all,
    "purge_retention": purge_retention,
    archiving.ARCHIVE: archiving.archive_events,
    "erase": erase,
    "measure_experiments": measure_experiments,
    "compare_webhooks": compare_webhooks,
    "deliver_webhooks": deliver_webhooks,
    "write_snapshot": write_snapshot,
    SCHEDULED_RUN: start_scheduled_run,
}
"""Every job by its name, in the order in which due jobs are done."""

TIMES: dict[str, dt.timedelta] = {
    POKE: dt.timedelta(minutes=1),
    "sync_changed": dt.timedelta(minutes=1),
    ENCODE: dt.timedelta(minutes=1),
    "sync_engine": dt.timedelta(minutes=1),
    "refresh_statistics": dt.timedelta(minutes=5),
    "learn_queries": dt.timedelta(hours=1),
    "reconcile": dt.timedelta(minutes=10),
    "roll_up": dt.timedelta(minutes=5),
    "roll_up_queries": dt.timedelta(hours=1),
    "count_exposure": dt.timedelta(hours=1),
    "refresh_segments": dt.timedelta(hours=6),
    "reconcile_all": dt.timedelta(days=1),
    "purge_retention": dt.timedelta(days=1),
    archiving.ARCHIVE: dt.timedelta(days=1),
    "erase": dt.timedelta(minutes=5),
    "measure_experiments": dt.timedelta(hours=1),
    "compare_webhooks": dt.timedelta(days=1),
    "deliver_webhooks": dt.timedelta(minutes=1),
    "write_snapshot": dt.timedelta(minutes=1),
}

HOUR, LATE_FACTOR = dt.timedelta(hours=1), 1.1


def perform_overdue() -> None:
    """Do the jobs of an hour or more that are late by a tenth of it.

    Beat counts anew from its start if it lost its file: a beat that restarts every day would never send a daily job.
    """
    now = timezone.now()
    for name, every in TIMES.items():
        since = now - every * LATE_FACTOR
        started_at = ledger.state_of(name, started_at=now).started_at if every >= HOUR else None
        if started_at is not None and started_at < since:
            ledger.perform(name, WORK[name], unless_since=since)


def times() -> dict[str, dt.timedelta | Crontab]:
    """Every recurring job and how often it is done. Raises ConfigurationError for an invalid `TRAINING_SCHEDULE`."""
    declared = conf.get("TRAINING_SCHEDULE")
    return {**TIMES, **({SCHEDULED_RUN: Crontab.of(declared)} if declared else {})}
