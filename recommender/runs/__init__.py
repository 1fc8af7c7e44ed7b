"""The life of a run as a row in SQL: requested, leased by one process, kept alive by heartbeats, ended once.

A lease is the number in `fencing_token`: a process with an older number can write nothing and gets `LeaseLost`.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import logging
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from django.contrib.contenttypes.models import ContentType
from django.db import models, router
from django.db.models import F
from django.utils import timezone
from django.utils.translation import gettext

from recommender import conf
from recommender.exceptions import LeaseLost, RunError
from recommender.models import Bundle, Run
from recommender.models.connections import writing
from recommender.runs import deaths, tunings
from recommender.runs.figures import Figures
from recommender.runs.settings import RunSettings

logger = logging.getLogger(__name__)

STALE_SECONDS = 120
"""A run sends a heartbeat every few seconds; after this long without one its process is taken for dead."""

MAX_LOSSES = 400
ACTIVE = (Run.State.QUEUED, Run.State.RUNNING, Run.State.CANCELLING)
HELD = (Run.State.RUNNING, Run.State.CANCELLING)


@dataclasses.dataclass(slots=True)
class Record:
    """What a run writes about itself; None leaves the column as it is. The layouts are in docs/training.md."""

    report: dict[str, Any] | None = None
    figures: Figures | None = None
    losses: Sequence[dict[str, Any]] | None = None
    seconds: dict[str, float] | None = None
    provenance: dict[str, Any] | None = None

    def columns(self) -> dict[str, Any]:
        """The columns that are given; a long loss curve is thinned to `MAX_LOSSES` points."""
        columns = {
            "report": self.report,
            "metrics": None if self.figures is None else self.figures.as_json(),
            "losses": None if self.losses is None else thinned(self.losses),
            "seconds": self.seconds,
            "provenance": self.provenance,
        }
        return {name: value for name, value in columns.items() if value is not None}


def request_run(
    *, trigger: str, user: Any = None, settings: Mapping[str, Any] | None = None, kind: Run.Kind = Run.Kind.TRAINING
) -> Run:
    """Queue a run. Raises RunError that names the active run, or the known values of a setting with a wrong one."""
    with_defaults = _settings(kind, settings or {})
    for name in conf.CHOICES:
        if message := conf.wrong_choice(name, with_defaults[name.lower()]):
            raise RunError(message)
    with writing(using=router.db_for_write(ContentType)):
        # One row that always exists is the lock: two requests at once must see each other.
        ContentType.objects.select_for_update().get(pk=ContentType.objects.get_for_model(Run).pk)
        active = Run.objects.filter(state__in=ACTIVE).order_by("pk").first()
        if active is not None:
            raise RunError(
                gettext(
                    "Run %(id)d is %(state)s, started by %(trigger)s: there is one at a time. Wait for it, or cancel "
                    "it with `recommender_train --cancel` or in the admin."
                )
                % {"id": active.pk, "state": active.get_state_display(), "trigger": active.trigger}
            )
        stored = RunSettings.of(with_defaults).as_json()
        return Run.objects.create(kind=kind, trigger=trigger, requested_by=user, settings=stored, stage="waiting")


def repeat(run: Run, *, trigger: str, user: Any = None) -> Run:
    """Queue a run with the settings of another, on the data of its time. Raises RunError where those are unknown."""
    taken_at = run.provenance.get("taken_at")
    if run.kind != Run.Kind.TRAINING or taken_at is None:
        raise RunError(gettext("Run %d cannot be repeated: it is no training, or it never read its data.") % run.pk)
    repetition = dataclasses.replace(RunSettings.of(run.settings), as_of=taken_at, repeats=run.pk)
    return request_run(trigger=trigger, user=user, settings=repetition.as_json())


def cancel(run: Run, *, user: Any = None) -> None:
    """End a queued run at once; ask a running one to stop at its next step. Raises RunError for one that has ended."""
    who = gettext("user %s") % user.get_username() if user is not None else gettext("a command")
    n_ended = Run.objects.filter(pk=run.pk, state=Run.State.QUEUED).update(
        state=Run.State.CANCELLED,
        reason=gettext("Cancelled by %s before it started.") % who,
        finished_at=timezone.now(),
    )
    n_stopping = Run.objects.filter(pk=run.pk, state=Run.State.RUNNING).update(
        state=Run.State.CANCELLING, reason=gettext("Cancelled by %s.") % who
    )
    run.refresh_from_db()
    if not n_ended and not n_stopping and run.state != Run.State.CANCELLING:
        raise RunError(
            gettext("Run %(id)d has already %(state)s: there is nothing to cancel.")
            % {"id": run.pk, "state": run.get_state_display()}
        )
    logger.info("run %s cancelled by %s", run.pk, who)


def lease(run_id: int, *, worker: str, key: str = "") -> int | None:
    """Take a queued run; return the fencing token of this lease, None if the run is not queued any more.

    With `key` only the run that has it: another database may have a run of the same number.
    """
    now = timezone.now()
    queued = Run.objects.filter(pk=run_id, state=Run.State.QUEUED, **({"key": key} if key else {}))
    with writing(using=router.db_for_write(Run)):
        resumed = queued.filter(fencing_token__gt=0).first()
        taken = queued.update(
            state=Run.State.RUNNING,
            fencing_token=F("fencing_token") + 1,
            worker=worker[:200],
            started_at=now,
            heartbeat_at=now,
            reason="",
            **({"provenance": _with_attempt(resumed)} if resumed else {}),
        )
        return Run.objects.values_list("fencing_token", flat=True).get(pk=run_id) if taken else None


def heartbeat(
    run_id: int,
    token: int,
    *,
    progress: float | None = None,
    stage: str | None = None,
    message: str | None = None,
    advanced_at: dt.datetime | None = None,
    record: Record | None = None,
) -> bool:
    """Write that the run is alive and how far it is; return whether it may go on, False once it is to be cancelled.

    Raises LeaseLost where the token is stale. Two queries.
    """
    columns: dict[str, Any] = {"heartbeat_at": timezone.now(), **(record.columns() if record else {})}
    if progress is not None:
        columns["progress"] = min(max(progress, 0.0), 1.0)
    if stage is not None:
        columns["stage"] = stage[:40]
    if advanced_at is not None:
        columns["advanced_at"] = advanced_at
    held = _held(run_id, token)
    if not held.update(**columns):
        raise _lost(run_id, token)
    if message is not None:
        held.filter(state=Run.State.RUNNING).update(reason=message)
    return held.filter(state=Run.State.RUNNING).exists()


def keep_alive(run_id: int, token: int) -> None:
    """Write that the process of a run lives, which its worker knows even where the process has no time to say so."""
    _held(run_id, token).update(heartbeat_at=timezone.now())


def finish(
    run_id: int,
    token: int,
    *,
    state: Run.State,
    reason: str,
    verdict: Run.Verdict | None = None,
    bundle: Bundle | None = None,
    record: Record | None = None,
) -> None:
    """End a run, once. Raises LeaseLost where the token is stale or the run has ended."""
    columns: dict[str, Any] = {"state": state, "reason": reason, "finished_at": timezone.now()}
    columns |= {"verdict": verdict or "", **(record.columns() if record else {})}
    if state == Run.State.SUCCEEDED:
        columns["progress"] = 1.0
    if bundle is not None:
        columns["bundle"] = bundle
    if not _held(run_id, token).update(**columns):
        raise _lost(run_id, token)
    logger.info("run %s %s: %s", run_id, state.label, reason)


def release(run_id: int, token: int, *, reason: str) -> None:
    """Give a run back to the queue, as when its host shuts down: the next worker resumes it from its checkpoints.

    A run that was being cancelled is cancelled instead. A stale token changes nothing.
    """
    held = _held(run_id, token)
    held.filter(state=Run.State.CANCELLING).update(state=Run.State.CANCELLED, finished_at=timezone.now())
    held.filter(state=Run.State.RUNNING).update(state=Run.State.QUEUED, reason=reason)


def resume(run_id: int, token: int, *, what: str) -> None:
    """Queue a run again whose process died, or end it if it keeps dying at the same point; `what` says how it died.

    A run that was being cancelled is cancelled instead. A stale token changes nothing.
    """
    run = _held(run_id, token).first()
    if run is not None:
        _held(run_id, token).filter(state=run.state).update(**_after_death(run, timezone.now(), what=what))


def give_up(run_id: int, *, reason: str) -> bool:
    """End a run that waits and that nobody can take; return whether it still waited."""
    waiting = Run.objects.filter(pk=run_id, state=Run.State.QUEUED)
    return bool(waiting.update(state=Run.State.FAILED, reason=reason, finished_at=timezone.now()))


def reap_stale(*, now: dt.datetime | None = None, stale_seconds: float = STALE_SECONDS) -> list[int]:
    """End or queue again the runs whose process went silent; return their ids. Two queries and one per run."""
    now = now or timezone.now()
    silent = models.Q(heartbeat_at__lt=now - dt.timedelta(seconds=stale_seconds))
    reaped = []
    for run in Run.objects.filter(silent, state__in=HELD):
        what = gettext("Its process on %s went silent") % run.worker
        if _held(run.pk, run.fencing_token).filter(silent).update(**_after_death(run, now, what=what)):
            logger.warning("run %s was silent for %.0f s; it was held by %s", run.pk, stale_seconds, run.worker)
            reaped.append(run.pk)
    return reaped


def key_of(run_id: int) -> str:
    """What a message names beside the number. Raises Run.DoesNotExist. One query."""
    return Run.objects.values_list("key", flat=True).get(pk=run_id)


def queued_ids() -> list[int]:
    """Runs that wait for a worker, the oldest first. One query."""
    return list(Run.objects.filter(state=Run.State.QUEUED).order_by("pk").values_list("pk", flat=True))


def thinned(points: Sequence[dict[str, Any]], most: int = MAX_LOSSES) -> list[dict[str, Any]]:
    """At most `most` points, evenly spaced, always with the last one."""
    if len(points) <= most:
        return list(points)
    step = (len(points) - 1) / (most - 1)
    return [points[round(n * step)] for n in range(most)]


def _settings(kind: Run.Kind, given: Mapping[str, Any]) -> dict[str, Any]:
    """The defaults of now, overridden by what was asked for; a setting that was asked for overrides a knob too."""
    is_tuning = kind == Run.Kind.TUNING
    settings = {
        "minutes": conf.get("TUNING_MINUTES" if is_tuning else "TRAINING_MINUTES"),
        "seed": conf.get("SEED"),
        "encoder": conf.get("ENCODER"),
        **{name.lower(): conf.get(name) for name in conf.CHOICES},
        "knobs": {name: value for name, value in tunings.accepted_knobs().items() if name not in given},
    } | dict(given)
    if is_tuning:
        settings.setdefault("trial_minutes", tunings.trial_minutes(float(settings["minutes"])))
        settings.setdefault("study", uuid.uuid4().hex)  # names a file: numbers of runs start again in a new database
    return settings


def _with_attempt(run: Run) -> dict[str, Any]:
    """The provenance of a run that is resumed, with the attempt that ended before the run did."""
    attempt = {
        "worker": run.worker,
        "started_at": run.started_at.timestamp() if run.started_at else None,
        "until": run.heartbeat_at.timestamp() if run.heartbeat_at else None,
        "stage": run.stage,
        "seconds": run.seconds,
        "reason": run.reason,
    }
    return {**run.provenance, "attempts": [*run.provenance.get("attempts", []), attempt]}


def _held(run_id: int, token: int) -> models.QuerySet[Run]:
    return Run.objects.filter(pk=run_id, fencing_token=token, state__in=HELD)


def _lost(run_id: int, token: int) -> LeaseLost:
    return LeaseLost(
        f"Run {run_id} is no longer held by lease {token}: it has ended, or another worker has it. This process stops."
    )


def _after_death(run: Run, now: dt.datetime, *, what: str) -> dict[str, Any]:
    if run.state == Run.State.CANCELLING:
        return {"state": Run.State.CANCELLED, "finished_at": now}
    provenance = deaths.counted(run, now)
    circumstances = {"what": what, "stage": run.stage or gettext("the start")}
    if not deaths.is_hopeless(provenance, now):
        reason = gettext("%(what)s at %(stage)s; it is resumed from its last checkpoint.") % circumstances
        return {"state": Run.State.QUEUED, "reason": reason, "provenance": provenance}
    reason = gettext(
        "%(what)s at %(stage)s, for the %(n)dth time without getting further. The host may lack memory. See the log of "
        "the run, then train again."
    ) % {**circumstances, "n": provenance[deaths.DEATHS]["n"]}
    return {"state": Run.State.FAILED, "finished_at": now, "reason": reason, "provenance": provenance}
