"""All that is examined of an installation, for the command and for the page in the admin.

Beside the doctor: broker and workers, cache, pauses after failures, ages, the account of events, and free disk.
"""

from __future__ import annotations

import datetime as dt
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.core.cache import cache
from django.core.files.storage import FileSystemStorage
from django.db import models
from django.template.defaultfilters import filesizeformat
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.timesince import timesince
from django.utils.translation import gettext as _

from recommender import bundles, conf, metrics
from recommender.api import health, throttling
from recommender.exceptions import MissingDependency
from recommender.management import background, doctor
from recommender.management.findings import ANSWER_SECONDS, Examination, Finding, not_known, within
from recommender.models import Event, EventCount, ItemStatistics
from recommender.models.words import words_of
from recommender.serving import ladder, memory, sharing, snapshot

LATE_STATISTICS = dt.timedelta(hours=1)
"""Statistics are computed every five minutes if there are new events; this much later is a warning."""

SILENT_DAYS = 3
"""A shop without any event for so long probably records nothing; a small one has quiet days."""

REJECTED_SHARE, LEAST_REJECTED = 0.05, 20
"""Where so much of a source is rejected in two days, an app or a page probably sends something wrong."""

FEW_BYTES, TOO_FEW_BYTES = 2**31, 2**29
"""Free disk: a run writes its data, checkpoints and a bundle of about 100 MB; below the second it would fail."""


def examine(*, minutes: float = 15.0, writes: bool = True, most_seconds: float = math.inf) -> list[Finding]:
    """Every finding. `writes`: with a test event. After `most_seconds` no further examination begins."""
    return doctor.examine(minutes=minutes, others=examinations(), writes=writes, most_seconds=most_seconds)


def examinations() -> dict[str, Examination]:
    """What is examined beside the doctor's own examinations, by topic."""
    return {
        "background": background.examine,
        "cache": _cache,
        "pauses": _pauses,
        "lists": _lists,
        "snapshot": _snapshot,
        "ages": _ages,
        "account": _account,
        "disk": _disk,
    }


def _cache() -> Iterator[Finding]:
    """Does the cache answer? It limits the calls of the API."""
    try:
        within(ANSWER_SECONDS, "cache", lambda: cache.get("recommender.ready"))
    except Exception as error:  # whatever a driver raises: it does not answer
        message = _("The cache does not answer: %(error)s") % {"error": f"{type(error).__name__}: {error}"}
        repair = _("Start it, or correct CACHES. Give its OPTIONS a socket_timeout, so that no page waits for it.")
        yield Finding("cache", "error", message, repair)
    else:
        yield Finding("cache", "ok", _("The cache answers."))


def _pauses() -> Iterator[Finding]:
    """What this process leaves alone for some seconds because it failed; other processes have pauses of their own."""
    pauses = {_("publishing messages"): _message_pause(), _("counting calls of the API"): throttling.pause_seconds()}
    pauses |= {_("asking the %(part)s") % {"part": part}: left for part, left in health.parts_not_asked().items()}
    active = {what: left for what, left in pauses.items() if left > 0}
    for what, left in active.items():
        message = _("This process pauses %(what)s for another %(seconds).0f s, because it failed.")
        repair = _("Look at the lines about the broker and the cache; it tries again by itself.")
        yield Finding("pauses", "warning", message % {"what": what, "seconds": math.ceil(left)}, repair)
    if not active:
        yield Finding("pauses", "ok", _("This process pauses nothing because of a failure."))
    state = memory.model_state()
    message = _("This process serves with: `%(state)s`.") % {"state": state}
    repair = _("Look in the log for why it cannot load its model; it tries again within five minutes.")
    is_failed = state == "failed"
    yield Finding("pauses", "warning" if is_failed else "ok", message, repair if is_failed else "")


def _lists() -> Iterator[Finding]:
    """What was late or failed while this process made lists; other processes have counts of their own."""
    for rest in ladder.rests():
        message = _("The stage “%(stage)s” of model %(bundle)s is left alone for another %(seconds).0f s.")
        facts = {"stage": words_of(rest.stage.value), "bundle": rest.bundle or "-", "seconds": math.ceil(rest.seconds)}
        repair = _("It was late, failed or gave no numbers: look in the log, and roll back if it does not recover.")
        yield Finding("lists", "warning", message % facts, repair)
    for stage in dict.fromkeys(stage for stage, _fault in metrics.faults):
        numbers = {fault.value: metrics.faults[stage, fault] for fault in metrics.StageFault}
        message = _(
            "%(stage)s, in this process: %(late)d times late, %(raised)d errors, %(no_numbers)d times no numbers, "
            "%(rested)d times left alone, %(full)d times no thread was free."
        )
        yield Finding("lists", "ok", message % {"stage": words_of(stage), **numbers})
    if not metrics.faults:
        yield Finding("lists", "ok", _("Every list of this process was made in time, with nothing left out."))


def _snapshot() -> Iterator[Finding]:
    """The snapshot of the shelf on this host. At most two queries."""
    if not sharing.is_shared():
        message = _("The catalogue is small: each process reads it from the database, without a snapshot.")
        yield Finding("snapshot", "ok", message)
        return
    champion = bundles.champion()
    newest = snapshot.newest(champion.name if champion else "")
    if newest is not None:
        written = dt.datetime.fromtimestamp(newest.stat().st_mtime, dt.UTC)
        yield _aged("snapshot", _("Snapshot of the catalogue"), written)
        return
    message = _("There is no snapshot of the catalogue in %(folder)s: each process reads it from the database.")
    repair = _("Let processes write there, and run a worker, which writes it within a minute: %(command)s")
    yield Finding(
        "snapshot",
        "warning",
        message % {"folder": snapshot.folder_of("").parent},
        repair % {"command": background.start_commands()[0]},
    )


def _message_pause() -> float:
    try:
        from recommender import tasks
    except MissingDependency:  # without Celery nothing is published
        return 0.0
    return tasks.pause_seconds()


def _ages() -> Iterator[Finding]:
    """How old the newest event, the model and the statistics are. Three queries."""
    now = timezone.now()
    newest = Event.objects.order_by("-pk").values_list("received_at", flat=True).first()
    if newest is None:
        yield Finding("ages", "ok", _("Newest event: none has ever arrived."))
    else:
        is_silent = newest < now - dt.timedelta(days=SILENT_DAYS)
        repair = _("Open a tracked page in a browser that has consented; the findings about pages say what is tracked.")
        yield _aged("ages", _("Newest event"), newest, repair if is_silent else "")
    champion = bundles.champion()
    if champion is None:
        yield Finding("ages", "ok", _("Model: there is none; search uses words only."))
    else:
        name = _("Model %(bundle)s") if champion.is_trained else _("Model %(bundle)s, untrained")
        yield _aged("ages", name % {"bundle": champion}, champion.created_at)
    computed_at = ItemStatistics.objects.aggregate(newest=models.Max("computed_at"))["newest"]
    repair = _("Run a worker, which computes them every five minutes: %(command)s")
    repair %= {"command": background.start_commands()[0]}
    if computed_at is not None:
        is_late = newest is not None and computed_at < newest - LATE_STATISTICS
        yield _aged("ages", _("Statistics of items"), computed_at, repair if is_late else "")
    elif newest is not None:
        yield Finding("ages", "warning", _("Statistics of items: never computed."), repair)


def _aged(topic: str, what: str, moment: dt.datetime, repair: str = "") -> Finding:
    facts = {"what": what, "age": timesince(moment), "moment": date_format(timezone.localtime(moment), "Y-m-d H:i")}
    message = _("%(what)s: %(age)s ago, %(moment)s.") % facts
    return Finding(topic, "warning" if repair else "ok", message, repair)


def _account() -> Iterator[Finding]:
    """What became of the events of today and yesterday: sent = accepted + duplicate + rejected + dropped."""
    yesterday = timezone.now().date() - dt.timedelta(days=1)
    outcomes = ("accepted", "duplicate", "rejected", "dropped")
    sums = EventCount.objects.filter(day__gte=yesterday).values("source").order_by("source")
    rows: list[Any] = list(sums.annotate(**{f"n_{name}": models.Sum(name) for name in outcomes}))
    if not rows:
        yield Finding("account", "ok", _("Since yesterday no event was counted; processes write once a minute."))
    for row in rows:
        numbers = {name: row[f"n_{name}"] for name in outcomes}
        facts = {"source": row["source"] or _("without a source"), "sent": sum(numbers.values()), **numbers}
        message = _(
            "%(source)s, since yesterday: %(sent)d sent = %(accepted)d accepted + %(duplicate)d duplicate "
            "+ %(rejected)d rejected + %(dropped)d dropped for want of consent."
        )
        is_bad = numbers["rejected"] >= max(LEAST_REJECTED, REJECTED_SHARE * facts["sent"])
        repair = _(
            "Look at the rejected events: each names the field at fault. Repair what sends them, then send again."
        )
        yield Finding("account", "warning" if is_bad else "ok", message % facts, repair if is_bad else "")


def _disk() -> Iterator[Finding]:
    """Free disk where runs, checkpoints and bundles are written."""
    yield _free(_("runs and bundles"), conf.directory())
    storage = conf.bundle_storage()
    if not isinstance(storage, FileSystemStorage):
        reason = _("%(storage)s does not say how much room it has.") % {"storage": type(storage).__name__}
        yield not_known("disk", _("room for published bundles"), reason)
    elif not Path(storage.location).is_relative_to(conf.directory()):
        yield _free(_("published bundles"), Path(storage.location))


def _free(what: str, folder: Path) -> Finding:
    existing = next(path for path in (folder, *folder.resolve().parents) if path.exists())
    try:
        n_free = shutil.disk_usage(existing).free
    except OSError as error:
        return not_known("disk", _("free disk for %(what)s") % {"what": what}, str(error))
    facts = {"free": filesizeformat(n_free), "what": what, "folder": folder}
    message = _("%(free)s free for %(what)s in %(folder)s.") % facts
    level = "error" if n_free < TOO_FEW_BYTES else "warning" if n_free < FEW_BYTES else "ok"
    repair = _(
        "Make room, or set RECOMMENDER['DIRECTORY'] to a folder on a larger disk; old run folders may be deleted."
    )
    return Finding("disk", level, message, "" if level == "ok" else repair)
