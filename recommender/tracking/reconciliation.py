"""Records the order rows of the past, and those that were written without a signal."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from recommender import capture
from recommender.capture import EventDraft, IngestResult, order_consent
from recommender.catalog.paths import pk_of
from recommender.models import Event, UnpaidRow
from recommender.tracking.buyers import with_buyers
from recommender.tracking.orders import OrderRows

logger = logging.getLogger(__name__)

MAX_REJECTIONS_KEPT = 20

Progress = Callable[[int, int], None]


@dataclass(slots=True)
class ReconcileReport:
    """What became of the rows: n_recorded + n_known + n_rejected events of n_read rows, mostly one event per row.

    n_known: recorded before. n_attached: of these, the ones that had no buyer and have one now. n_emptied: rows that
    are recorded without a value that made no sense. `rejections` and `emptied` hold the first messages.
    """

    n_read: int = 0
    n_recorded: int = 0
    n_known: int = 0
    n_attached: int = 0
    n_rejected: int = 0
    n_emptied: int = 0
    rejections: list[str] = field(default_factory=list)
    emptied: list[str] = field(default_factory=list)

    def add(self, chunk: list[EventDraft], result: IngestResult) -> None:
        """Count one chunk."""
        self.n_recorded += result.n_accepted
        self.n_known += result.n_duplicate
        self.n_attached += result.n_attached
        for rejection in result.rejections:
            self.reject(chunk[rejection.index].message_id, f"{rejection.field}: {rejection.message}")
        for draft in chunk:
            if draft.emptied:
                self.n_emptied += 1
                if len(self.emptied) < MAX_REJECTIONS_KEPT:
                    self.emptied.append(f"{draft.message_id}: {'; '.join(draft.emptied)}")

    def reject(self, name: str, message: str) -> None:
        """Count one row and keep the message of the first ones."""
        self.n_rejected += 1
        if len(self.rejections) < MAX_REJECTIONS_KEPT:
            self.rejections.append(f"{name}: {message}")


@dataclass(frozen=True, slots=True)
class NobodysOrders:
    """A sample of the order rows that are recorded without a buyer: how many were read, and how many name one."""

    n_rows: int
    n_named: int


def reconcile(
    tables: Sequence[OrderRows], *, since: dt.datetime | None, chunk_size: int, progress: Progress | None
) -> ReconcileReport:
    """Record the order rows that are not recorded yet, all or since a moment. A read and a transaction per chunk.

    A purchase belongs to the history of its user if that user has consented, or to the user's pseudonym if
    `ORDER_CONSENT` allows it; else it has no buyer, and gets one later if that changes.
    """
    report = ReconcileReport()
    order_consent.welcome()
    UnpaidRow.forget_recorded()
    total = sum(rows.since(rows.queryset(), since).count() for rows in tables)
    for rows in tables:
        for chunk in _chunks(rows, since, chunk_size, report):
            report.add(chunk, capture.ingest(chunk))
            if progress is not None:
                progress(report.n_read, total)
    return report


def nobodys_orders(tables: Sequence[OrderRows], *, limit: int) -> NobodysOrders:
    """Look whether the newest orders without a buyer name one all the same. Two queries per tracked model."""
    n_rows = n_named = 0
    nobodys = Event.objects.filter(source="order", visitor__isnull=True).order_by("-pk")
    for rows in tables:
        prefix = rows.message_id("")
        message_ids = nobodys.filter(message_id__startswith=prefix).values_list("message_id", flat=True)[:limit]
        pks = [pk_of(rows.model, message_id.removeprefix(prefix)) for message_id in message_ids]
        source, draft, _ = rows.reader()
        for row in rows.with_users(source.filter(pk__in=pks)):
            n_rows += 1
            n_named += any(event.user_key for event in draft(row))
    return NobodysOrders(n_rows, n_named)


def _chunks(
    rows: OrderRows, since: dt.datetime | None, chunk_size: int, report: ReconcileReport
) -> Iterator[list[EventDraft]]:
    """Drafts in chunks by primary key, each chunk one query, so that no cursor stays open while rows are written."""
    source, draft, pk_of = rows.reader()
    source = rows.since(source, since).order_by("pk")
    chunk = list(source[:chunk_size])
    while chunk:
        report.n_read += len(chunk)
        drafts = []
        for row in rows.with_users(chunk):
            try:
                drafts += draft(row)
            except Exception as error:  # the shop's own code and rows: an odd one must not stop the others
                report.reject(rows.message_id(pk_of(row)), f"{type(error).__name__}: {error}")
                logger.warning("row %s of %s is skipped: %r", pk_of(row), rows.label, error)
        yield with_buyers(rows, drafts)
        chunk = list(source.filter(pk__gt=pk_of(chunk[-1]))[:chunk_size])
