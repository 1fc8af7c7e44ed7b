"""Examines broker, workers and recurring jobs, and names the commands that start workers in this project.

Used by the doctor, the commands and the admin.
"""

from __future__ import annotations

import datetime as dt
import sys
from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext as _

from recommender import jobs, runs
from recommender.exceptions import ConfigurationError, MissingDependency
from recommender.jobs import worker
from recommender.management.findings import ANSWER_SECONDS, Finding, not_known, within
from recommender.models import Job, Run

WORKER = "python manage.py recommender_worker"
TOPIC = "background"
SHOWN_JOBS = ("sync_changed", "encode_items", "refresh_statistics")
MOST_MESSAGES = 1_000
"""More messages that wait are a warning: one is published for each change at most every two seconds."""

LATE_FACTOR, LATE_SECONDS = 2, 120
"""A job that is later than twice its interval and two minutes counts as late."""


def start_commands() -> list[str]:
    """The commands that start this project's workers: Celery's if it has an app with a broker, otherwise our own."""
    tasks, app = _celery()
    if app is None:
        return [WORKER]
    celery, (short, training) = f"celery -A {_module_of(app)}", tasks.queues(app)
    return [f"{celery} worker --queues {short}", f"{celery} worker --queues {training} --pool solo", f"{celery} beat"]


def training_command() -> str:
    """The command that starts the worker that trains."""
    commands = start_commands()
    return commands[1] if len(commands) > 1 else WORKER


def examine() -> Iterator[Finding]:
    """The broker, its queues, the workers, what waits, and when recurring jobs were last done.

    Waits for at most twice `ANSWER_SECONDS`, and for a broker that does not answer once.
    """
    tasks, app = _celery()
    listened: set[str] = set()
    if app is None:
        yield _without_celery(tasks)
    else:
        yield _queue_names(tasks, app)
        listened, finding = _broker(tasks, app)
        yield finding
        yield _queue_lengths(tasks, app, answers=finding.level == "ok")
    yield from _own_workers()
    yield from _waiting_work()
    lacking = _lacking(tasks, app, listened)
    yield from _workers(lacking)
    yield from _last_done(has_worker=worker.SHORT not in lacking)


def _celery() -> tuple[Any, Any]:
    """The module `tasks` and the project's Celery app; None for each that is missing."""
    try:
        from recommender import tasks
    except MissingDependency:
        return None, None
    return tasks, tasks.project_app()


def _module_of(app: Any) -> str:
    """The argument of `celery -A`: the package that holds the app."""
    for name in (str(settings.SETTINGS_MODULE or "").partition(".")[0], str(app.main)):
        module, inner = sys.modules.get(name), sys.modules.get(f"{name}.celery")
        if any(value is app for each in (module, inner) if each is not None for value in vars(each).values()):
            return name
    return next(
        (name for name, module in list(sys.modules.items()) if getattr(module, "app", None) is app), str(app.main)
    ).removesuffix(".celery")


def _without_celery(tasks: Any) -> Finding:
    reason = _("Celery is not installed") if tasks is None else _("this project has no Celery app that names a broker")
    message = _("No messages are sent because %(reason)s; recommender_worker does all the work.") % {"reason": reason}
    return Finding(TOPIC, "ok", message)


def _queue_names(tasks: Any, app: Any) -> Finding:
    name = tasks.project_name(app)
    message = _("The queues are %(queues)s.") % {"queues": ", ".join(f"`{queue}`" for queue in tasks.queues(app))}
    if name not in tasks.NAMES_OF_NOBODY:
        return Finding(TOPIC, "ok", message)
    repair = _('Give the Celery app a name of its own: Celery("myshop"). Another project may use the same queues.')
    return Finding(TOPIC, "warning", message, repair)


def _broker(tasks: Any, app: Any) -> tuple[set[str], Finding]:
    """The queues that a worker listens to, and whether the broker answers."""
    address = app.connection_for_write().as_uri()  # without its password

    def ask() -> dict[str, list[str]]:
        tasks.require_broker(app)
        return dict(tasks.listening(app))

    try:
        listening = within(ANSWER_SECONDS, "broker", ask)
    except Exception as error:  # whatever the transport raises becomes the finding
        message = _("The broker %(address)s does not answer: %(error)s") % {"address": address, "error": error}
        repair = _("Start it, or correct CELERY_BROKER_URL. Until then %(command)s does the work.") % {
            "command": WORKER
        }
        return set(), Finding(TOPIC, "error", message, repair)
    listened = {queue for names in listening.values() for queue in names}
    message = _("The broker %(address)s answers, and %(n)d Celery workers do.") % {
        "address": address,
        "n": len(listening),
    }
    names = "; ".join(f"`{name}: {', '.join(sorted(queues))}`" for name, queues in sorted(listening.items()))
    return listened, Finding(TOPIC, "ok", f"{message} {names}".strip())


def _queue_lengths(tasks: Any, app: Any, *, answers: bool) -> Finding:
    """How many messages wait in each queue of the broker."""
    what = _("messages that wait")
    if not answers:
        return not_known(TOPIC, what, _("the broker does not answer."))

    def ask() -> list[int]:
        return [tasks.n_waiting(app, task) for task in (tasks.reconcile, tasks.train)]

    try:
        lengths = within(ANSWER_SECONDS, "queues", ask)
    except Exception as error:  # a transport that cannot count, or that broke off in between
        return not_known(TOPIC, what, f"{type(error).__name__}: {error}")
    numbers = ", ".join(f"`{queue}` {n}" for queue, n in zip(tasks.queues(app), lengths, strict=True))
    message = _("Messages that wait: %(numbers)s.") % {"numbers": numbers}
    if max(lengths) <= MOST_MESSAGES:
        return Finding(TOPIC, "ok", message)
    repair = _("Start more workers, or look in their log for what holds them up: %(command)s")
    return Finding(TOPIC, "warning", message, repair % {"command": start_commands()[0]})


def _own_workers() -> Iterator[Finding]:
    """The processes of `recommender_worker`, each with the threads of its work and its last heartbeat."""
    now = timezone.now()
    for each in worker.alive().order_by("name"):
        facts = {"name": each.name, "work": each.does, "seconds": (now - each.beat_at).total_seconds()}
        message = _("recommender_worker on %(name)s: threads for %(work)s, heartbeat %(seconds).0f s ago.") % facts
        yield Finding(TOPIC, "ok", message)


def _waiting_work() -> Iterator[Finding]:
    """What waits in SQL, which is the queue of a project without Celery, and of one whose messages were lost."""
    n_wanted = Job.objects.filter(
        models.Q(started_at=None) | models.Q(started_at__lt=models.F("wanted_at")), wanted_at__isnull=False
    ).count()
    n_queued = Run.objects.filter(state=Run.State.QUEUED).count()
    message = _("Work that waits in the database: %(jobs)d marked jobs, %(runs)d requested runs.")
    yield Finding(TOPIC, "ok", message % {"jobs": n_wanted, "runs": n_queued})


def _lacking(tasks: Any, app: Any, listened: set[str]) -> list[str]:
    """The kinds of work that neither a Celery worker nor a `recommender_worker` does."""
    short, training = tasks.queues(app) if app is not None else ("", "")
    fresh = timezone.now() - dt.timedelta(seconds=runs.STALE_SECONDS)
    is_training = Run.objects.filter(state__in=runs.HELD, heartbeat_at__gte=fresh).exists()
    by_celery = {worker.SHORT: short in listened, worker.TRAINING: training in listened or is_training}
    by_ours = {kind for each in worker.alive() for kind in each.does.split(",")}
    return [kind for kind in worker.KINDS if not by_celery[kind] and kind not in by_ours]


def _workers(lacking: list[str]) -> Iterator[Finding]:
    if not lacking:
        yield Finding(TOPIC, "ok", _("Workers do the recurring jobs and the trainings."))
    commands = start_commands()
    messages = {
        worker.SHORT: _("No worker does the recurring jobs: encoding, statistics, late orders."),
        worker.TRAINING: _("No worker trains: a requested run waits."),
    }
    for kind in lacking:
        command = commands[worker.KINDS.index(kind)] if len(commands) > 1 else WORKER
        yield Finding(TOPIC, "warning", messages[kind], command)


def _last_done(*, has_worker: bool) -> Iterator[Finding]:
    """When the jobs that keep lists fresh were last done; a job that failed or is late is a warning."""
    rows = {job.name: job for job in Job.objects.filter(name__in=jobs.WORK)}
    repair = start_commands()[-1]
    now = timezone.now()
    for name in SHOWN_JOBS:
        job = rows.get(name)
        if job is None or job.finished_at is None:
            if has_worker:  # without a worker, that is the problem to name
                yield Finding(TOPIC, "warning", _("%(name)s was never done by a worker.") % {"name": name}, repair)
            continue
        late = jobs.TIMES[name] * LATE_FACTOR + dt.timedelta(seconds=LATE_SECONDS)
        is_held = job.held_until is not None and job.held_until > now
        is_late = job.finished_at < now - late and not is_held
        message = _("%(name)s was last done at %(moment)s UTC.")
        message %= {"name": name, "moment": f"{job.finished_at:%Y-%m-%d %H:%M}"}
        yield Finding(TOPIC, "warning" if is_late else "ok", message, repair if is_late else "")
    for job in rows.values():
        if job.error:
            message = _("%(name)s failed: %(error)s") % {"name": job.name, "error": job.error}
            yield Finding(TOPIC, "warning", message, _("Repair this; the job is tried again when it is due."))
    try:
        jobs.times()
    except ConfigurationError as error:
        yield Finding(TOPIC, "error", str(error), _("Correct the setting."))
