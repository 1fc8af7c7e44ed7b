"""Celery tasks for the jobs, their beat schedule, and the publishing of tasks. No other module imports Celery.

Every task may run twice or be lost: SQL holds what is to be done, and a message only says that it is time to look. A
project without a Celery app that names a broker never sends a message; there `recommender_worker` reads SQL by itself.
"""

from __future__ import annotations

import datetime as dt
import logging
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

try:
    from celery import Celery, Task, _state, shared_task
    from celery.schedules import crontab
    from celery.signals import worker_init, worker_process_init, worker_shutting_down
except ImportError as error:
    from recommender.exceptions import MissingDependency

    raise MissingDependency("Tasks need Celery: pip install celery, or run recommender_worker instead.") from error
from django.conf import settings
from django.db import transaction
from django.db.models.signals import post_save

from recommender import conf, jobs, runs
from recommender.jobs import Crontab, work, worker
from recommender.jobs.ledger import COALESCE_SECONDS
from recommender.jobs.parting import Parting
from recommender.metrics import OutcomeCounts
from recommender.models import Run
from recommender.personas import segmentation
from recommender.runs import supervision

logger = logging.getLogger(__name__)

BROKER_SECONDS = 2
"""Longest wait for the broker when a task is published, because the shop's save waits too."""

PAUSE_SECONDS = 30.0
"""After the broker failed, nothing is published for this long; the schedule looks every minute anyway."""

EXPIRY_SECONDS = 3600.0
"""Lifetime of a message; if it expires, the work is still in SQL and the schedule sends another message."""

SETTLE_SECONDS = COALESCE_SECONDS + 1.0
"""Delay of the one message for many saves, so that it runs after the last of them; a second allows for clock skew."""

NAMES_OF_NOBODY = frozenset(
    {"", "__main__", "app", "celery", "conf", "config", "core", "default", "django", "project", "settings"}
)
"""Names of Celery apps and settings modules that do not identify a project."""

counts = OutcomeCounts(
    "messages", "Messages to Celery's workers, by outcome.", "published", "failed", "paused", "waiting", "unsent"
)
"""Publications of this process: `published`, `failed`, `paused`, `waiting`, and `unsent` if there is no broker."""

_paused_until = 0.0
_parting = Parting()


@shared_task(name="recommender.train")
def train(run_id: int, key: str) -> None:
    """Lease a run and supervise its subprocess until it ends. `key` tells it from another shop's run of this number."""
    supervision.supervise(run_id, key=key, stop=_parting.stops)


@worker_init.connect
def _before_the_pool(**_: Any) -> None:
    _parting.begin()


@worker_process_init.connect
def _in_the_pool(**_: Any) -> None:
    _parting.follow()


@worker_shutting_down.connect
def _stop_training(**_: Any) -> None:
    """A worker that is told to stop hands its run over, instead of training to the end first."""
    _parting.end()


def _task_for(job: str) -> Task:
    """The task that does one job by its name."""

    @shared_task(name=f"recommender.{job}")
    def perform() -> None:
        jobs.perform(job, work.WORK[job])

    return perform


start_scheduled_run = _task_for(jobs.SCHEDULED_RUN)
sync_changed = _task_for("sync_changed")
encode_items = _task_for(jobs.ENCODE)
sync_engine = _task_for("sync_engine")
refresh_statistics = _task_for("refresh_statistics")
learn_queries = _task_for("learn_queries")
reconcile = _task_for("reconcile")
roll_up = _task_for("roll_up")
roll_up_queries = _task_for("roll_up_queries")
count_exposure = _task_for("count_exposure")
reconcile_all = _task_for("reconcile_all")
purge_retention = _task_for("purge_retention")
archive_events = _task_for("archive_events")
erase = _task_for("erase")
measure_experiments = _task_for("measure_experiments")
compare_webhooks = _task_for("compare_webhooks")
deliver_webhooks = _task_for("deliver_webhooks")
write_snapshot = _task_for("write_snapshot")


@shared_task(name="recommender.poke_runs")
def poke_runs() -> None:
    """Queue runs again whose heartbeat stopped, publish queued runs again in case their message was lost, and do
    what is overdue.

    While a message waits for a trainer there is no second one: without a trainer, a minute would add one each.
    """
    jobs.perform(work.POKE, work.reap_runs)
    for run_id in runs.queued_ids():
        publish(train, run_id, runs.key_of(run_id), once=True)
    work.perform_overdue()


@shared_task(name="recommender.refresh_segments")
def refresh_segments() -> None:
    """Group the visitors again; any number of workers then assign the visitors to the segments."""

    def assign(first: int, last: int) -> None:
        if not publish(assign_segments, first, last):
            segmentation.assign_segments(first, last)

    jobs.perform("refresh_segments", partial(work.refresh_segments, assign))


@shared_task(name="recommender.assign_segments")
def assign_segments(first: int, last: int) -> None:
    """Assign the visitors of one range of primary keys to their segments."""
    segmentation.assign_segments(first, last)


def schedule() -> dict[str, dict[str, Any]]:
    """Beat's entries, added to every app when it is finalised. A host's entry of the same name takes precedence."""
    return {
        f"recommender.{name}": {
            "task": f"recommender.{name}",
            "schedule": _as_celery(every),
            "options": {"expires": _expiry_seconds(every)},
        }
        for name, every in jobs.times().items()
    }


def project_app() -> Celery | None:
    """The project's Celery app if it names a broker; otherwise None, and nothing is sent.

    `current_app` does not work here: it exists per thread, and without one it is Celery's own default app, whose broker
    is a RabbitMQ on this host that may belong to somebody else.
    """
    return next((app for app in _apps() if _names_broker(app)), None)


def project_name(app: Celery) -> str:
    """The prefix of the project's queues on a shared broker: the app's name, else that of the settings' package."""
    root = str(os.environ.get("DJANGO_SETTINGS_MODULE") or getattr(settings, "SETTINGS_MODULE", "")).partition(".")[0]
    name = str(app.main or "")
    return re.sub(r"[^\w-]+", "-", (root or "django") if name in NAMES_OF_NOBODY else name)


def queues(app: Celery) -> tuple[str, str]:
    """The queues to which this app routes the short jobs and the trainings."""
    routes = (app.amqp.router.route({}, name)["queue"] for name in (reconcile.name, train.name))
    short, training = (getattr(queue, "name", queue) for queue in routes)
    return str(short), str(training)


def publish(
    task: Task,
    *args: Any,
    app: Celery | None = None,
    expires: float = EXPIRY_SECONDS,
    countdown: float | None = None,
    once: bool = False,
) -> bool:
    """Send a task with short timeouts and no retry; return whether the broker accepted it. Never raises.

    once: not while a message waits in the task's queue. After a failure nothing is sent for `PAUSE_SECONDS`, so that an
    unreachable broker costs only one wait.
    """
    global _paused_until
    app = app or project_app()
    if app is None:
        counts["unsent"] += 1
        return False
    if app.conf.task_always_eager:
        app.tasks[task.name].apply(args=args, throw=app.conf.task_eager_propagates)
        return True
    if time.monotonic() < _paused_until:
        counts["paused"] += 1
        return False
    try:
        if once and n_waiting(app, task):
            counts["waiting"] += 1
            return True
        _send(app, task.name, args, expires=expires, countdown=countdown)
    except Exception:  # whatever the broker raises must not undo the caller's work
        _paused_until = time.monotonic() + PAUSE_SECONDS
        counts["failed"] += 1
        logger.warning("%s was not published; the schedule tries again soon", task.name, exc_info=True)
        return False
    counts["published"] += 1
    return True


def pause_seconds() -> float:
    """For how long this process still publishes nothing because the broker failed; 0 if it publishes."""
    return max(0.0, _paused_until - time.monotonic())


def n_waiting(app: Celery, task: Task) -> int:
    """How many messages wait in the queue of a task. Raises what the broker raises."""
    name = app.amqp.router.route({}, task.name)["queue"]
    with broker(app) as connection:
        try:
            declared = connection.default_channel.queue_declare(getattr(name, "name", name), passive=True)
        except connection.channel_errors:  # the queue does not exist until its first message
            return 0
        return int(declared.message_count)


@contextmanager
def broker(app: Celery) -> Iterator[Any]:
    """A connection to the app's broker that gives up after `BROKER_SECONDS`."""
    _make_folders(app)
    options = {"max_retries": 0, "socket_timeout": BROKER_SECONDS, "socket_connect_timeout": BROKER_SECONDS}
    with app.connection_for_write(connect_timeout=BROKER_SECONDS, transport_options=options) as connection:
        yield connection


def require_broker(app: Celery) -> None:
    """Raise what the broker raises if it does not answer in time."""
    with broker(app) as connection:
        connection.ensure_connection(max_retries=1, interval_start=0, timeout=BROKER_SECONDS)


def listening(app: Celery, *, seconds: float = 1.0) -> dict[str, list[str]]:
    """The queues of every worker that answers in time; a worker of the pool `solo` does not answer while it works."""
    with broker(app) as connection:
        answers = app.control.inspect(timeout=seconds, connection=connection).active_queues() or {}
    return {worker: [queue["name"] for queue in queues] for worker, queues in answers.items()}


def connect() -> None:
    """Publish a task when an item changes or a run is requested.

    Nothing is published while a `recommender_worker` is alive: it finds the work by itself, and unread messages would
    pile up.
    """
    jobs.wanted.connect(_follow_wanted, dispatch_uid="recommender_wanted")
    post_save.connect(_follow_run, sender=Run, dispatch_uid="recommender_train")


def _follow_wanted(sender: Any, name: str, **_: Any) -> None:
    if not worker.is_alive(worker.SHORT):
        publish({jobs.ENCODE: encode_items}[name], countdown=SETTLE_SECONDS)


def _follow_run(sender: Any, instance: Run, created: bool, using: str | None = None, **_: Any) -> None:
    if created and instance.trigger != supervision.HERE:
        transaction.on_commit(lambda: _publish_run(instance), using=using, robust=True)


def _publish_run(run: Run) -> None:
    if not worker.is_alive(worker.TRAINING):
        publish(train, run.pk, run.key)


def _send(app: Celery, name: str, args: tuple[Any, ...], *, expires: float, countdown: float | None) -> None:
    with broker(app) as connection:
        app.tasks[name].apply_async(args=args, connection=connection, retry=False, expires=expires, countdown=countdown)


def _make_folders(app: Celery) -> None:
    """Create the folders that kombu's file system transport needs."""
    options = app.conf.broker_transport_options or {}
    for name in ("data_folder_in", "data_folder_out", "control_folder"):
        if options.get(name):
            Path(options[name]).mkdir(parents=True, exist_ok=True)


def _apps() -> list[Celery]:
    """The apps of this process: the current one of this thread, the one at start-up, then the others by name."""
    created = [app for app in _state._get_active_apps() if app.set_as_current or app is _state.default_app]
    order = [_state._tls.current_app, _state.default_app, _app_at_start]
    ranks = {id(app): rank for rank, app in reversed(list(enumerate(order)))}
    mine = [app for app in created if not _is_fallback(app)]
    return sorted(mine, key=lambda app: (ranks.get(id(app), len(order)), str(app.main)))


def _is_fallback(app: Celery) -> bool:
    """Is it the default app that Celery creates if the project has none?"""
    return app.main == "default" and not app.set_as_current


def _names_broker(app: Celery) -> bool:
    try:
        return bool(app.conf.task_always_eager or app.conf.broker_write_url)
    except Exception:  # the host's own Celery settings; they must not break the shop's save
        logger.exception("the settings of the Celery app %s cannot be read; nothing is sent", app.main)
        return False


def _as_celery(every: dt.timedelta | Crontab) -> Any:
    if not isinstance(every, Crontab):
        return every
    minute, hour, day_of_week = conf.get("TRAINING_SCHEDULE")
    return crontab(minute=minute, hour=hour, day_of_week=day_of_week)


def _expiry_seconds(every: dt.timedelta | Crontab) -> float:
    """Lifetime of a message: a little less than the time until the next one."""
    return EXPIRY_SECONDS if isinstance(every, Crontab) else every.total_seconds() * 0.9


def _install(app: Celery, **_: Any) -> None:
    """Add our schedule and queues to an app, and create the folders of a file system broker."""
    _make_folders(app)
    name = project_name(app)
    ours = {"recommender.train": {"queue": f"{name}-training"}, "recommender.*": {"queue": f"{name}-recommender"}}
    app.conf.beat_schedule = {**schedule(), **app.conf.beat_schedule}
    routes = app.conf.task_routes
    if routes is None or isinstance(routes, dict):
        app.conf.task_routes = {**ours, **(routes or {})}
    else:  # a callable router or a list of routers: theirs take precedence
        app.conf.task_routes = [*(routes if isinstance(routes, list | tuple) else [routes]), ours]


def _install_when_final(app: Celery) -> None:
    """Called by Celery for every app that is finalised from now on."""
    if not _is_fallback(app):
        app.on_after_finalize.connect(lambda sender, **_: _install(sender), weak=False)


_app_at_start: Celery | None = _state._tls.current_app
_state.connect_on_app_finalize(_install_when_final)
for _app in [app for app in _apps() if app.finalized]:
    _install(_app)
