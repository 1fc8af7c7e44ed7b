"""Lets one process at a time write the archive of events: the daily job, a purge, an erasure and the command."""

from __future__ import annotations

from django.utils import timezone

from recommender import conf
from recommender.datasets import archive
from recommender.jobs import ledger

ARCHIVE = "archive_events"


def archive_events() -> None:
    """Bring the archive up to date with SQL; delete one that the settings no longer ask for."""
    _up_to_date()


def is_wanted() -> bool:
    """Is there an archive, or is there to be one?"""
    return bool(conf.get("ARCHIVE")) or archive.exists()


def update_now(*, thoroughly: bool = False) -> archive.ArchiveReport | None:
    """The same at once, beside the schedule; None while another process does it."""
    reports: list[archive.ArchiveReport] = []
    ledger.perform(ARCHIVE, lambda: reports.append(_up_to_date(thoroughly=thoroughly)))
    return reports[0] if reports else None


def _up_to_date(*, thoroughly: bool = False) -> archive.ArchiveReport:
    if conf.get("ARCHIVE"):
        return archive.update(at=timezone.now(), thoroughly=thoroughly)
    return archive.ArchiveReport(rewritten=archive.discard())
