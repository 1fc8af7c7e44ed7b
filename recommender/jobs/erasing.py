"""Carries erasures to their end: rows that are left, everything computed from them, files of trainings, the receipt."""

from __future__ import annotations

import datetime as dt
import logging
from typing import Any

from django.db import connections, router
from django.utils import timezone
from django.utils.translation import gettext

from recommender import bundles, conf
from recommender.capture import erasure
from recommender.capture.tombstone_files import file_tombstones
from recommender.datasets import archive, queries, statistics
from recommender.jobs import archiving
from recommender.jobs.timing import Crontab, next_time
from recommender.models import Erasure, Event, ItemStatistics, QueryFigures, QueryStatistics, Run, Segment, Synonym
from recommender.overview import roll_up_queries
from recommender.personas import segmentation
from recommender.runs import folders

logger = logging.getLogger(__name__)


def finish_erasures() -> int:
    """Carry every erasure as far as it can go; return how many are finished now.

    An erasure waits while a run trains on data that it read before the person's rows were deleted.
    """
    for pending in erasure.unfinished():
        erasure.erase_rows(pending)
    file_tombstones()
    waiting = list(erasure.unfinished())
    if not waiting:
        return 0
    for pending in waiting:
        erasure.delete_late_rows(pending)
    archived = archiving.update_now() if archiving.is_wanted() else archive.ArchiveReport()
    files = folders.clear_all()
    recomputed = _recomputed() if any(_needs_computing(pending) for pending in waiting) else {}
    emptied = _emptied_log_of_database()
    return sum(_finish(pending, recomputed, files, archived, is_emptied=emptied) for pending in waiting)


def is_overdue(pending: Erasure, now: dt.datetime) -> bool:
    """Has an erasure not been finished within a day?"""
    return pending.state != Erasure.State.FINISHED and now - pending.requested_at > dt.timedelta(days=1)


def _finish(
    pending: Erasure,
    recomputed: dict[str, int],
    files: list[str],
    archived: archive.ArchiveReport | None,
    *,
    is_emptied: bool,
) -> bool:
    """Write the receipt, and end the erasure if nothing is left to wait for."""
    training = _training_on_old_data(pending)
    with erasure.changing(pending) as row:
        if recomputed:
            row.receipt["recomputed"] = recomputed
        row.receipt["files"] = sorted({*row.receipt.get("files", []), *files})
        row.receipt["archive"] = sorted({*row.receipt.get("archive", []), *(archived.rewritten if archived else [])})
        row.waits_for = _waits_for(training, is_archived=archived is not None, is_emptied=is_emptied)
        if row.waits_for:
            return False
        row.receipt["bundles"] = _bundles(row)
        row.receipt["next_training_at"] = _next_training_at()
        row.state, row.finished_at = Erasure.State.FINISHED, timezone.now()
    logger.info("%s is finished", pending)
    return True


def _needs_computing(pending: Erasure) -> bool:
    """Not yet done since its rows were deleted, or since a training that knew them has published its statistics."""
    return "recomputed" not in pending.receipt or bool(pending.waits_for)


def _erased_at(pending: Erasure) -> dt.datetime:
    return pending.rows_erased_at or pending.requested_at


def _recomputed() -> dict[str, int]:
    """Compute from the events that are left what was computed from all; return the number of rows of each table.

    Of queries and synonyms, it is the number of those that are gone.
    """
    before = {model: model._default_manager.count() for model in (QueryStatistics, Synonym)}
    queries.learn_queries()
    queries.delete_unsupported_synonyms()
    gone = {model.__name__: n - model._default_manager.count() for model, n in before.items()}
    if QueryFigures.objects.exists():
        roll_up_queries()
    if Segment.objects.exists():
        segmentation.refresh()
    if ItemStatistics.objects.exists():
        statistics.refresh_statistics()
    return {
        **{f"{name}, gone": max(n, 0) for name, n in gone.items()},
        **{model.__name__: model._default_manager.count() for model in (Segment, ItemStatistics)},
    }


def _training_on_old_data(pending: Erasure) -> list[int]:
    """The runs that still train on what they read before the rows were deleted, on this host or another."""
    held = Run.objects.filter(state__in=folders.HELD, started_at__lt=_erased_at(pending)).values_list("pk", flat=True)
    return sorted(held)


def _waits_for(training: list[int], *, is_archived: bool, is_emptied: bool) -> str:
    if training:
        runs = ", ".join(map(str, training))
        return gettext("the end of run %s, which has read the events before they were erased") % runs
    if not is_archived:
        return gettext("the archive of events, which another process is writing")
    return "" if is_emptied else gettext("SQLite's write-ahead log, which somebody is reading")


def _bundles(pending: Erasure) -> dict[str, dict[str, Any]]:
    """Each trained bundle that is retained, and whether events of the person were among those it was trained on.

    Until the next training it serves on; its weights hold no row and no text of a person.
    """
    after = set(pending.receipt.pop("learned", []))
    if pending.receipt.get("tables", {}).get("Event"):
        late = Run.objects.filter(started_at__lt=_erased_at(pending), finished_at__gte=pending.requested_at)
        after |= set(late.filter(bundle__isnull=False).values_list("bundle__name", flat=True))
    trained = [bundle for bundle in bundles.retained() if bundle.is_trained]
    return {bundle.name: {"state": bundle.state, "learned_from_events": bundle.name in after} for bundle in trained}


def _next_training_at() -> str | None:
    """When the next scheduled training begins, which is the first without the person; None without a schedule."""
    declared = conf.get("TRAINING_SCHEDULE")
    return next_time(Crontab.of(declared), timezone.now()).isoformat() if declared else None


def _emptied_log_of_database() -> bool:
    """Move SQLite's write-ahead log into the database and empty it: it has older copies of the deleted rows.

    https://sqlite.org/pragma.html#pragma_wal_checkpoint
    """
    connection = connections[router.db_for_write(Event)]
    if connection.vendor != "sqlite" or connection.in_atomic_block:
        return True
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return not cursor.fetchone()[0]
