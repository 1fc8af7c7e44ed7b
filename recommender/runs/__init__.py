"""The life of a training run: asked for, leased, alive while it beats, ended once. A row in SQL, no ml, no Celery.

A lease is the number `fencing_token`: who holds an older one writes nothing any more and learns it by `LeaseLost`.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import logging
import uuid
from collections.abc import Sequence
from typing import Any

from django.contrib.contenttypes.models import ContentType
from django.db import models, transaction
from django.db.models import F
from django.utils import timezone

from recommender import conf
from recommender.exceptions import LeaseLost, RunError
from recommender.models import Bundle, Run
from recommender.runs import tunings

logger = logging.getLogger(__name__)

STALE_SECONDS = 120
"""A run beats every few seconds; silence this long means that its process is gone."""

MAX_LEASES = 2
"""A run whose process died is tried once more; who dies twice, dies again."""

MAX_LOSSES = 400
ACTIVE = (Run.State.QUEUED, Run.State.RUNNING, Run.State.CANCELLING)
HELD = (Run.State.RUNNING, Run.State.CANCELLING)


@dataclasses.dataclass(slots=True)
class Figures:
    """What a run writes about itself; None leaves the column as it is. The layouts are in docs/training.md."""

    report: dict[str, Any] | None = None
    metrics: dict[str, Any] | None = None
    losses: Sequence[dict[str, Any]] | None = None
    seconds: dict[str, float] | None = None
    provenance: dict[str, Any] | None = None

    def columns(self) -> dict[str, Any]:
        """The columns that are given; a long loss curve is thinned to `MAX_LOSSES` points."""
        names = ("report", "metrics", "seconds", "provenance")
        given: dict[str, Any] = {name: getattr(self, name) for name in names}
        if self.losses is not None:
            given["losses"] = thinned(self.losses)
        return {name: value for name, value in given.items() if value is not None}


def request_run(
    *, trigger: str, user: Any = None, settings: dict[str, Any] | None = None, kind: Run.Kind = Run.Kind.TRAINING
) -> Run:
    """Queue a run. Raises RunError that names the one that is still active, or the known values of a wrong setting."""
    asked = _settings(kind, settings or {})
    for name in conf.CHOICES:
        if message := conf.wrong_choice(name, asked[name.lower()]):
            raise RunError(message)
    with transaction.atomic():
        # One row that always exists is the lock: two requests at once must see each other.
        ContentType.objects.select_for_update().get(pk=ContentType.objects.get_for_model(Run).pk)
        active = Run.objects.filter(state__in=ACTIVE).order_by("pk").first()
        if active is not None:
            raise RunError(
                f"Run {active.pk} is {active.get_state_display()}, started by {active.trigger}: there is one at a "
                f"time. Wait for it, or cancel it with `recommender_train --cancel` or in the admin."
            )
        return Run.objects.create(kind=kind, trigger=trigger, requested_by=user, settings=asked, stage="waiting")


def repeat(run: Run, *, trigger: str, user: Any = None) -> Run:
    """Queue a run with the settings of another, on the data of its time. Raises RunError where those are not known."""
    taken_at = run.provenance.get("taken_at")
    if run.kind != Run.Kind.TRAINING or taken_at is None:
        raise RunError(f"Run {run.pk} cannot be repeated: it is no training, or it never read its data.")
    told = {"knobs": {}, **run.settings, "as_of": taken_at, "like": run.pk}
    return request_run(trigger=trigger, user=user, settings=told)


def cancel(run: Run, *, user: Any = None) -> None:
    """End a queued run at once; ask a running one to stop at its next step. Raises RunError for one that has ended."""
    who = f"user {user.get_username()}" if user is not None else "a command"
    now = timezone.now()
    ended = Run.objects.filter(pk=run.pk, state=Run.State.QUEUED).update(
        state=Run.State.CANCELLED, reason=f"Cancelled by {who} before it started.", finished_at=now
    )
    asked = Run.objects.filter(pk=run.pk, state=Run.State.RUNNING).update(
        state=Run.State.CANCELLING, reason=f"Cancelled by {who}."
    )
    run.refresh_from_db()
    if not ended and not asked and run.state != Run.State.CANCELLING:
        raise RunError(f"Run {run.pk} has already {run.get_state_display()}: there is nothing to cancel.")
    logger.info("run %s cancelled by %s", run.pk, who)


def lease(run_id: int, *, worker: str, key: str = "") -> int | None:
    """Take a queued run; return the fencing token of this lease, None where it is not to be had.

    With `key` only the run that has it: the number alone may be that of another database.
    """
    now = timezone.now()
    queued = Run.objects.filter(pk=run_id, state=Run.State.QUEUED, **({"key": key} if key else {}))
    with transaction.atomic():
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
    figures: Figures | None = None,
) -> bool:
    """Say that the run is alive and how far; return whether it may go on, False once it is to be cancelled.

    Raises LeaseLost where the token is stale. Two queries.
    """
    columns: dict[str, Any] = {"heartbeat_at": timezone.now(), **(figures.columns() if figures else {})}
    if progress is not None:
        columns["progress"] = min(max(progress, 0.0), 1.0)
    if stage is not None:
        columns["stage"] = stage[:40]
    held = _held(run_id, token)
    if not held.update(**columns):
        raise _lost(run_id, token)
    if message is not None:
        held.filter(state=Run.State.RUNNING).update(reason=message)
    return held.filter(state=Run.State.RUNNING).exists()


def finish(
    run_id: int,
    token: int,
    *,
    state: Run.State,
    reason: str,
    verdict: Run.Verdict | None = None,
    bundle: Bundle | None = None,
    figures: Figures | None = None,
) -> None:
    """End a run, once. Raises LeaseLost where the token is stale or the run has ended."""
    columns: dict[str, Any] = {"state": state, "reason": reason, "finished_at": timezone.now()}
    columns |= {"verdict": verdict or "", **(figures.columns() if figures else {})}
    if state == Run.State.SUCCEEDED:
        columns["progress"] = 1.0
    if bundle is not None:
        columns["bundle"] = bundle
    if not _held(run_id, token).update(**columns):
        raise _lost(run_id, token)
    logger.info("run %s %s: %s", run_id, state.label, reason)


def release(run_id: int, token: int, *, reason: str) -> None:
    """Give a run back to the queue, as when its host shuts down: the next worker resumes from its checkpoints.

    A run that was being cancelled is cancelled instead. A stale token changes nothing.
    """
    held = _held(run_id, token)
    held.filter(state=Run.State.CANCELLING).update(state=Run.State.CANCELLED, finished_at=timezone.now())
    held.filter(state=Run.State.RUNNING).update(state=Run.State.QUEUED, reason=reason)


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
        if _held(run.pk, run.fencing_token).filter(silent).update(**_after_silence(run, now)):
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
    """At most `most` points, evenly taken, the last one always."""
    if len(points) <= most:
        return list(points)
    step = (len(points) - 1) / (most - 1)
    return [points[round(place * step)] for place in range(most)]


def _settings(kind: Run.Kind, given: dict[str, Any]) -> dict[str, Any]:
    """The defaults of now under what was asked for; a setting that was asked for goes before a knob of its name."""
    minutes = conf.get("TUNING_MINUTES" if kind == Run.Kind.TUNING else "TRAINING_MINUTES")
    told = {
        "minutes": minutes,
        "seed": conf.get("SEED"),
        "encoder": conf.get("ENCODER"),
        **{name.lower(): conf.get(name) for name in conf.CHOICES},
        "knobs": {name: value for name, value in tunings.accepted_knobs().items() if name not in given},
    } | given
    if kind == Run.Kind.TUNING:
        told.setdefault("trial_minutes", tunings.trial_minutes(float(told["minutes"])))
        told.setdefault("study", uuid.uuid4().hex)  # names its file: numbers of runs begin again with a new database
    return told


def _with_attempt(run: Run) -> dict[str, Any]:
    """How a run was made, and beside it the attempt that ended before the run did."""
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


def _after_silence(run: Run, now: dt.datetime) -> dict[str, Any]:
    if run.state == Run.State.CANCELLING:
        return {"state": Run.State.CANCELLED, "finished_at": now}
    if run.fencing_token < MAX_LEASES:
        return {
            "state": Run.State.QUEUED,
            "reason": f"Its process on {run.worker} went silent at {run.stage or 'the start'}; it is tried once more.",
        }
    return {
        "state": Run.State.FAILED,
        "finished_at": now,
        "reason": (
            f"Its process on {run.worker} went silent at {run.stage or 'the start'}, for the second time. It may lack "
            "memory, or the host was switched off. See the worker's log, then train again."
        ),
    }
