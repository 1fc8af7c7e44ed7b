"""The only file that knows Celery: ten-line tasks, when they run by themselves, and what starts them.

Every task may run twice or be lost: SQL holds what is to be done, a message only says that it is time to look.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

try:
    from celery import Celery, Task, current_app, shared_task
    from celery.schedules import crontab
except ImportError as error:
    from recommender.exceptions import MissingDependency

    raise MissingDependency("Trainings and schedules need Celery: pip install celery.") from error
from django.db import connection, transaction
from django.db.models import Max
from django.db.models.signals import post_save
from django.utils import timezone

from recommender import (
    bundles,
    conf,
    privacy,
    queries,
    runs,
    segmentation,
    statistics,
    supervision,
    sync,
    tracking,
    vectors,
)  # fmt: skip
from recommender.exceptions import MissingDependency, RunError
from recommender.models import Event, Item, ItemStatistics, QueryStatistics, Run, Segment
from recommender.signals import items_changed
from recommender.types import EventType

logger = logging.getLogger(__name__)

BROKER_SECONDS = 2
"""Longest wait for the broker at a publication: a save of the shop stands behind it."""

PAUSE_SECONDS = 30.0
"""After the broker failed, nothing is published for this long: the schedule looks every minute anyway."""

HERE = "here"
"""Trigger of a run that the asking process supervises itself: no message is sent."""

ROUTES = {"recommender.train": {"queue": "training"}, "recommender.*": {"queue": "default"}}
"""A training takes minutes and wants a worker of its own, perhaps one with a GPU."""

RECONCILE_OVERLAP = timedelta(days=2)

counts: Counter[str] = Counter()
"""Publications of this process: `published`, `failed`, `paused`."""

_paused_until = 0.0


@shared_task(name="recommender.train")
def train(run_id: int) -> None:
    """Lease a run and supervise its subprocess until it ends."""
    supervision.supervise(run_id)


@shared_task(name="recommender.start_scheduled_run")
def start_scheduled_run() -> None:
    """Queue the run of `TRAINING_SCHEDULE`; one that is still active is enough."""
    try:
        runs.request_run(trigger="schedule")
    except RunError as error:
        logger.info("no scheduled run: %s", error)


@shared_task(name="recommender.poke_runs")
def poke_runs() -> None:
    """End runs that went silent; remind the workers of those that wait: a message may have been lost."""
    runs.reap_stale()
    for run_id in runs.queued_ids():
        publish(train, run_id)


MOST_COMPARED = 20_000
"""Objects whose columns are compared each minute; a larger catalogue takes several minutes to go through."""


@shared_task(name="recommender.sync_changed")
def sync_changed() -> None:
    """Copy what changed in the shop without a signal, as by `QuerySet.update`."""
    sync.sync_changed(most_compared=MOST_COMPARED)


@shared_task(name="recommender.encode_items")
def encode_items() -> None:
    """Encode what has no vector yet, for every bundle that may serve; make bundle 0 where nothing serves."""
    if not Item.objects.filter(is_active=True).exists():
        return
    try:
        bundles.ensure_untrained()
        for bundle in bundles.kept():
            if bundle.state != bundle.State.QUARANTINED:
                vectors.encode_missing(bundle.name)
    except MissingDependency as error:
        logger.warning("no vectors, search stays lexical: %s", error)


@shared_task(name="recommender.refresh_statistics")
def refresh_statistics() -> None:
    """Recompute popularity and co-purchase, where an event came in since the last time."""
    computed_at = ItemStatistics.objects.aggregate(newest=Max("computed_at"))["newest"]
    if computed_at is None or Event.objects.filter(received_at__gte=computed_at).exists():
        statistics.refresh_statistics()


@shared_task(name="recommender.refresh_segments")
def refresh_segments() -> None:
    """Group the visitors anew, where an event came in since the last time; then put each chunk of them into place."""
    computed_at = Segment.objects.aggregate(newest=Max("computed_at"))["newest"]
    if computed_at is None or Event.objects.filter(received_at__gte=computed_at).exists():
        segmentation.refresh_segments()
        for first, last in segmentation.chunks():
            publish(assign_segments, first, last)


@shared_task(name="recommender.assign_segments")
def assign_segments(first: int, last: int) -> None:
    """Put the visitors of one range of primary keys into their segments."""
    segmentation.assign_segments(first, last)


@shared_task(name="recommender.learn_queries")
def learn_queries() -> None:
    """Recompute what queries led to, and propose synonyms, where somebody searched since the last time."""
    computed_at = QueryStatistics.objects.aggregate(newest=Max("computed_at"))["newest"]
    searches = Event.objects.filter(type=EventType.SEARCH)
    if computed_at is not None:
        searches = searches.filter(received_at__gte=computed_at)
    if searches.exists():
        queries.learn_queries()


@shared_task(name="recommender.reconcile")
def reconcile() -> None:
    """Take in the order rows of the last days that no event tells of yet."""
    tracking.reconcile(since=timezone.now() - RECONCILE_OVERLAP)


@shared_task(name="recommender.purge_retention")
def purge_retention() -> None:
    """Delete behaviour older than `RETENTION_DAYS`."""
    privacy.purge(before=timezone.now() - timedelta(days=conf.get("RETENTION_DAYS")))


def schedule() -> dict[str, dict[str, Any]]:
    """What beat runs: the entries that every app gets at its finalisation. A host's entry of the same name wins."""
    entries: dict[str, dict[str, Any]] = {
        task.name: {"task": task.name, "schedule": every, "options": {"expires": _expiry_seconds(every)}}
        for task, every in (
            (poke_runs, timedelta(minutes=1)),
            (sync_changed, timedelta(minutes=1)),
            (encode_items, timedelta(minutes=1)),
            (refresh_statistics, timedelta(minutes=5)),
            (learn_queries, timedelta(hours=1)),
            (reconcile, timedelta(minutes=10)),
            (refresh_segments, timedelta(hours=6)),
            (purge_retention, timedelta(days=1)),
        )
    }
    if conf.get("TRAINING_SCHEDULE"):
        minute, hour, day_of_week = conf.get("TRAINING_SCHEDULE")
        at = crontab(minute=minute, hour=hour, day_of_week=day_of_week)
        entries[start_scheduled_run.name] = {"task": start_scheduled_run.name, "schedule": at}
    return entries


def publish(task: Task, *args: Any) -> bool:
    """Send a task with short timeouts and no retry; return whether the broker took it. Never raises.

    After a failure nothing is sent for `PAUSE_SECONDS`, so that a broker that does not answer costs one wait.
    """
    global _paused_until
    app = task.app
    if app.conf.task_always_eager:
        task.apply(args=args, throw=app.conf.task_eager_propagates)
        return True
    if time.monotonic() < _paused_until:
        counts["paused"] += 1
        return False
    try:
        _send(app, task, args)
    except Exception:  # the edge to the broker: whatever it raises, the caller's work is done and stays done
        _paused_until = time.monotonic() + PAUSE_SECONDS
        counts["failed"] += 1
        logger.warning("%s was not published; the schedule looks again soon", task.name, exc_info=True)
        return False
    counts["published"] += 1
    return True


def train_in_thread(run_id: int) -> threading.Thread:
    """Do what the worker does with a run, in a thread of this process; the training is a subprocess all the same."""

    def work() -> None:
        try:
            train(run_id)
        finally:
            connection.close()

    thread = threading.Thread(target=work, name=f"recommender-train-{run_id}")
    thread.start()
    return thread


def connect() -> None:
    """Follow the rows that mean work: items that changed, runs that were asked for."""
    items_changed.connect(_follow_items, dispatch_uid="recommender_encode")
    post_save.connect(_follow_run, sender=Run, dispatch_uid="recommender_train")


def _follow_items(sender: Any, item_ids: list[str], **_: Any) -> None:
    publish(encode_items)


def _follow_run(sender: Any, instance: Run, created: bool, **_: Any) -> None:
    if created and instance.trigger != HERE:
        transaction.on_commit(lambda: publish(train, instance.pk), robust=True)


def _send(app: Celery, task: Task, args: tuple[Any, ...]) -> None:
    _make_folders(app)
    options = {"max_retries": 0, "socket_timeout": BROKER_SECONDS, "socket_connect_timeout": BROKER_SECONDS}
    with app.connection_for_write(connect_timeout=BROKER_SECONDS, transport_options=options) as broker:
        task.apply_async(args=args, connection=broker, retry=False)


def _make_folders(app: Celery) -> None:
    """The file system transport of kombu wants its folders to exist."""
    options = app.conf.broker_transport_options or {}
    for name in ("data_folder_in", "data_folder_out", "control_folder"):
        if options.get(name):
            Path(options[name]).mkdir(parents=True, exist_ok=True)


def _expiry_seconds(every: timedelta) -> float:
    """A message that no worker took before the next one is due is worth nothing."""
    return every.total_seconds() * 0.9


def _install(app: Celery, **_: Any) -> None:
    """Give an app our schedule and, where its broker is a folder, the folder."""
    _make_folders(app)
    app.conf.beat_schedule = {**schedule(), **app.conf.beat_schedule}
    routes = app.conf.task_routes
    if routes is None or isinstance(routes, dict):
        app.conf.task_routes = {**ROUTES, **(routes or {})}
    else:  # a list of routers, or one that is a callable: theirs are asked first
        app.conf.task_routes = [*(routes if isinstance(routes, list | tuple) else [routes]), ROUTES]


if current_app.finalized:
    _install(current_app._get_current_object())
else:
    # Celery sends only `sender`, which is the app.
    current_app.on_after_finalize.connect(lambda sender, **_: _install(sender), weak=False)
