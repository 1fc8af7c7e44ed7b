"""What is wrong with the background work, and how a worker is started here: for doctor, commands and admin."""

from __future__ import annotations

import datetime as dt
import sys
from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.utils import timezone
from django.utils.translation import gettext as _

from recommender import jobs, runs
from recommender.exceptions import ConfigurationError, MissingDependency
from recommender.jobs import worker
from recommender.management.doctor import Finding
from recommender.models import Job, Run

WORKER = "python manage.py recommender_worker"
TOPIC = "background"
SHOWN = ("sync_changed", "encode_items", "refresh_statistics")
LATE_FACTOR, LATE_SECONDS = 2, 120
"""Work that is later than twice its time and two minutes does not come round."""


def start_commands() -> list[str]:
    """What to type to start the workers of this project: Celery's where it has an app and a broker, else our own."""
    tasks = _tasks()
    app = tasks.project_app() if tasks else None
    if tasks is None or app is None:
        return [WORKER]
    celery = f"celery -A {_module_of(app)}"
    return [f"{celery} worker --queues {tasks.queues(app)[0]}", training_command(), f"{celery} beat"]


def training_command() -> str:
    """What to type to start the worker that trains."""
    tasks = _tasks()
    app = tasks.project_app() if tasks else None
    if tasks is None or app is None:
        return WORKER
    return f"celery -A {_module_of(app)} worker --queues {tasks.queues(app)[1]} --pool solo"


def examine() -> Iterator[Finding]:
    """The broker, the workers, and when the recurring work was last done. Waits for at most four seconds."""
    tasks = _tasks()
    app = tasks.project_app() if tasks else None
    listened: set[str] = set()
    if tasks is None or app is None:
        yield _without_celery(tasks)
    else:
        yield _named(tasks, app)
        listened, finding = _broker(tasks, app)
        yield finding
    lacking = _lacking(tasks, app, listened)
    yield from _workers(lacking)
    yield from _last_done(has_worker=worker.SHORT not in lacking)


def _tasks() -> Any:
    """The module that knows Celery, None where that is not installed."""
    try:
        from recommender import tasks
    except MissingDependency:
        return None
    return tasks


def _module_of(app: Any) -> str:
    """What stands after `celery -A`: the package that holds the app."""
    for name in (str(settings.SETTINGS_MODULE or "").partition(".")[0], str(app.main)):
        module, inner = sys.modules.get(name), sys.modules.get(f"{name}.celery")
        if any(value is app for each in (module, inner) if each is not None for value in vars(each).values()):
            return name
    return next(
        (name for name, module in list(sys.modules.items()) if getattr(module, "app", None) is app), str(app.main)
    ).removesuffix(".celery")


def _without_celery(tasks: Any) -> Finding:
    reason = _("Celery is not installed") if tasks is None else _("this project has no Celery app that names a broker")
    message = _("No messages are sent, because %(reason)s: recommender_worker does all the work.") % {"reason": reason}
    return Finding(TOPIC, "ok", message)


def _named(tasks: Any, app: Any) -> Finding:
    name = tasks.project_name(app)
    message = _("The queues are %(queues)s.") % {"queues": ", ".join(tasks.queues(app))}
    if name not in tasks.NAMES_OF_NOBODY:
        return Finding(TOPIC, "ok", message)
    repair = _(
        'Give the Celery app a name of its own: Celery("myshop"). Another project on this broker may share these.'
    )
    return Finding(TOPIC, "warning", message, repair)


def _broker(tasks: Any, app: Any) -> tuple[set[str], Finding]:
    """The queues that somebody listens to, and whether the broker answers."""
    address = app.connection_for_write().as_uri()  # without its password
    try:
        with tasks.broker(app) as connection:
            connection.ensure_connection(max_retries=1, timeout=tasks.BROKER_SECONDS)
        listening = tasks.listening(app)
    except Exception as error:  # whatever the transport raises is the finding
        message = _("The broker %(address)s does not answer: %(error)s") % {"address": address, "error": error}
        repair = _("Start it, or correct CELERY_BROKER_URL. Until then %(command)s does the work.") % {
            "command": WORKER
        }
        return set(), Finding(TOPIC, "error", message, repair)
    listened = {queue for names in listening.values() for queue in names}
    message = _("The broker %(address)s answers, and so do %(n)d Celery workers.")
    return listened, Finding(TOPIC, "ok", message % {"address": address, "n": len(listening)})


def _lacking(tasks: Any, app: Any, listened: set[str]) -> list[str]:
    """The kinds of work that nobody does: neither a Celery worker that listens nor a worker of ours that beats."""
    queues = tasks.queues(app) if app is not None else ("", "")
    is_training = Run.objects.filter(
        state__in=runs.HELD, heartbeat_at__gte=timezone.now() - dt.timedelta(seconds=runs.STALE_SECONDS)
    ).exists()
    does = {worker.SHORT: queues[0] in listened, worker.TRAINING: queues[1] in listened or is_training}
    own = {kind for each in worker.alive() for kind in each.does.split(",")}
    return [kind for kind in worker.KINDS if not does[kind] and kind not in own]


def _workers(lacking: list[str]) -> Iterator[Finding]:
    if not lacking:
        yield Finding(TOPIC, "ok", _("Workers do the short work and the trainings."))
    commands = start_commands()
    for kind in lacking:
        message = {
            worker.SHORT: _("No worker does the short work: encoding, statistics, late orders."),
            worker.TRAINING: _("No worker trains: a run that is asked for waits."),
        }[kind]
        yield Finding(TOPIC, "warning", message, commands[worker.KINDS.index(kind)] if len(commands) > 1 else WORKER)


def _last_done(*, has_worker: bool) -> Iterator[Finding]:
    """When the work that keeps lists fresh was last done; one that failed or does not come round is a warning."""
    rows = {job.name: job for job in Job.objects.filter(name__in=jobs.WORK)}
    now = timezone.now()
    for name in SHOWN:
        job = rows.get(name)
        if job is None or job.finished_at is None:
            if has_worker:  # else that is what is wrong
                yield Finding(TOPIC, "warning", _("%(name)s was never done by a worker.") % {"name": name}, _beat())
            continue
        message = f"{name}: {job.finished_at:%Y-%m-%d %H:%M} UTC"
        late = jobs.TIMES[name] * LATE_FACTOR + dt.timedelta(seconds=LATE_SECONDS)
        is_held = job.held_until is not None and job.held_until > now
        is_late = job.finished_at < now - late and not is_held
        yield Finding(TOPIC, "warning" if is_late else "ok", message, _beat() if is_late else "")
    for job in rows.values():
        if job.error:
            message = _("%(name)s failed: %(error)s") % {"name": job.name, "error": job.error}
            yield Finding(TOPIC, "warning", message, _("Repair this; it is tried again when it is due."))
    try:
        jobs.times()
    except ConfigurationError as error:
        yield Finding(TOPIC, "error", str(error), _("Correct the setting."))


def _beat() -> str:
    """What makes recurring work come round."""
    return start_commands()[-1]
