"""Writes checked drafts into the database: each event and each list once, under its visitor and attributed."""

from __future__ import annotations

import datetime as dt
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import (
    DatabaseError,
    InterfaceError,
    OperationalError,
    ProgrammingError,
    connections,
    models,
    transaction,
)

from recommender.capture import order_consent
from recommender.capture.attribution import attributed
from recommender.capture.drafts import EventDraft, ImpressionDraft
from recommender.capture.sql import column_names, prepared, shared_lock
from recommender.capture.visitors import forget_visitors, with_visitors
from recommender.models import Event, Impression, Visitor
from recommender.models.claims import ROWS_OF_THE_SHOP
from recommender.types import Ranking, Slot

logger = logging.getLogger(__name__)

EVENT_COLUMNS = (
    "message_id", "visitor", "type", "item_id", "query", "occurred_at", "received_at", "quantity", "price", "currency",
    "order_id", "ranking_id", "position", "source", "device", "region", "is_bot",
)  # fmt: skip
IMPRESSION_COLUMNS = (
    "ranking_id", "visitor", "slot", "query", "current_item_id", "item_ids", "propensities", "pool", "teams", "arms",
    "first_position", "rung", "bundle", "source", "device", "is_bot", "occurred_at", "rules", "n_found",
)  # fmt: skip

NO_UNIQUE_INDEX = "42P10"
"""PostgreSQL's answer to a conflict over a column without one: `recommender_partition` has divided the table."""

_divided: set[str] = set()
"""The databases whose events table this process has seen divided by month."""


@dataclass(slots=True)
class Stored:
    """What became of the drafts; `refused` holds message ids and reasons of those that the database did not take.

    outcomes: the same numbers by source. n_attached: duplicates of orders that had no buyer and have one now.
    """

    n_accepted: int = 0
    n_duplicate: int = 0
    n_dropped: int = 0
    n_attached: int = 0
    refused: dict[str, str] = field(default_factory=dict)
    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(self, source: str, *, accepted: int = 0, duplicate: int = 0, dropped: int = 0) -> None:
        """Count events of one source."""
        self.n_accepted += accepted
        self.n_duplicate += duplicate
        self.n_dropped += dropped
        self.outcomes.update(
            {(source, "accepted"): accepted, (source, "duplicate"): duplicate, (source, "dropped"): dropped}
        )


def store(
    events: Sequence[EventDraft], impressions: Sequence[ImpressionDraft], *, at: dt.datetime, alias: str
) -> Stored:
    """Write within the caller's transaction. Events come sorted by message id: parallel batches then never deadlock."""
    allowed = with_visitors([*events, *impressions], alias=alias)
    allowed_events = attributed([draft for draft in allowed if isinstance(draft, EventDraft)], alias=alias)
    stored = Stored()
    sources = Counter(draft.source for draft in allowed_events)
    for source, n in Counter(draft.source for draft in events).items():
        stored.add(source, dropped=n - sources[source])
    for source in sorted(sources):
        _insert_events([draft for draft in allowed_events if draft.source == source], stored, at=at, alias=alias)
    if stored.n_duplicate:
        buyers = {
            draft.message_id: draft.visitor_key
            for draft in allowed_events
            if draft.source == "order" and draft.visitor_key
        }
        stored.n_attached = order_consent.attach(buyers, alias=alias)
    shown = [draft for draft in allowed if isinstance(draft, ImpressionDraft)]
    insert(Impression, IMPRESSION_COLUMNS, _impression_values(shown, alias), alias=alias)
    return stored


def correct_quantities(quantities: Mapping[str, float]) -> None:
    """Set the quantity of recorded events, by message id, to what the shop's row has now. One query, two where some
    differ."""
    stored = Event.objects.filter(message_id__in=quantities).only("message_id", "quantity") if quantities else ()
    changed = [event for event in stored if event.quantity != quantities[event.message_id]]
    for event in changed:
        event.quantity = quantities[event.message_id]
    Event.objects.bulk_update(changed, ["quantity"])


def insert(model: type[models.Model], columns: Sequence[str], values: list[tuple[Any, ...]], *, alias: str) -> int:
    """Insert what is not there yet; return how many rows were inserted, which `bulk_create(ignore_conflicts=True)`
    cannot tell. The statement itself looks up whether the row's visitor consents: where not, an order of the shop is
    nobody's, and anything else is left out. On PostgreSQL it locks the visitor, shared, until the end of the
    transaction: an erasure waits for it, and what comes after the erasure finds no visitor. A conflict names its
    column, so that a primary key that is taken, by a sequence that lags behind, is no duplicate but an error."""
    if not values:
        return 0
    quote = connections[alias].ops.quote_name
    visitor, source = columns.index("visitor"), columns.index("source")
    marks = ", ".join("(SELECT id FROM consenting)" if name == "visitor" else "%s" for name in columns)
    sql = (
        f"INSERT INTO {quote(model._meta.db_table)} ({column_names(model, columns, alias)}) "  # noqa: S608
        f"WITH consenting AS (SELECT {quote('id')} AS id FROM {quote(Visitor._meta.db_table)} "
        f"WHERE {quote('key')} = %s AND ({quote('has_consented')} OR {quote('is_pseudonymous')}){shared_lock(alias)}) "
        f"SELECT {marks} "
        f"WHERE %s OR EXISTS (SELECT 1 FROM consenting){_on_conflict(model, columns[0], alias)}"
    )
    rows = [
        (row[visitor], *row[:visitor], *row[visitor + 1 :], row[visitor] is None or row[source] == ROWS_OF_THE_SHOP)
        for row in values
    ]
    with connections[alias].cursor() as cursor:
        cursor.executemany(sql, rows)
        return int(cursor.rowcount)


def _insert_events(drafts: list[EventDraft], stored: Stored, *, at: dt.datetime, alias: str) -> None:
    """Those of one source, all at once; where the database refuses one, one by one, so that the others are stored."""
    values = _event_values(drafts, at, alias)
    n_refused_before = len(stored.refused)
    try:
        n_accepted = _insert_together(values, alias)
    except (OperationalError, InterfaceError):
        raise
    except (DatabaseError, ValueError, OverflowError):
        logger.warning("a batch of %d events was refused; it is stored row by row", len(drafts))
        n_accepted = _insert_one_by_one(drafts, values, stored, alias)
    n_not_inserted = len(drafts) - n_accepted - (len(stored.refused) - n_refused_before)
    n_dropped = _n_without_consent(drafts, alias) if n_not_inserted else 0
    stored.add(drafts[0].source, accepted=n_accepted, duplicate=n_not_inserted - n_dropped, dropped=n_dropped)


def _insert_together(values: list[tuple[Any, ...]], alias: str) -> int:
    """All or none; a second time where the table turns out to be divided by month since this process looked."""
    try:
        with transaction.atomic(using=alias):
            return insert(Event, EVENT_COLUMNS, values, alias=alias)
    except ProgrammingError as error:
        if getattr(error.__cause__, "sqlstate", None) != NO_UNIQUE_INDEX:
            raise
    _divided.add(alias)
    with transaction.atomic(using=alias):
        return insert(Event, EVENT_COLUMNS, values, alias=alias)


def _on_conflict(model: type[models.Model], column: str, alias: str) -> str:
    """Empty for events divided by month: there triggers skip what is stored (see `months`)."""
    if model is Event and alias in _divided:
        return ""
    return f" ON CONFLICT ({connections[alias].ops.quote_name(column)}) DO NOTHING"


def _insert_one_by_one(drafts: list[EventDraft], values: list[tuple[Any, ...]], stored: Stored, alias: str) -> int:
    n_accepted = 0
    for draft, row in zip(drafts, values, strict=True):
        try:
            with transaction.atomic(using=alias):
                n_accepted += insert(Event, EVENT_COLUMNS, [row], alias=alias)
        except (OperationalError, InterfaceError):
            raise
        except (DatabaseError, ValueError, OverflowError) as error:
            stored.refused[draft.message_id] = f"The database does not take the event: {error}"
    return n_accepted


def _n_without_consent(drafts: list[EventDraft], alias: str) -> int:
    """How many events were dropped because their visitor consents no more, by another process; those visitors are
    looked up again at their next event. One query, none without a visitor."""
    claims = [draft.visitor_key for draft in drafts if draft.visitor_key and draft.source != ROWS_OF_THE_SHOP]
    if not claims:
        return 0
    consenting = Visitor.objects.using(alias).filter(key__in=set(claims), has_consented=True)
    refused = set(claims) - set(consenting.values_list("key", flat=True))
    forget_visitors(refused)
    return sum(key in refused for key in claims)


def _event_values(drafts: list[EventDraft], at: dt.datetime, alias: str) -> list[tuple[Any, ...]]:
    rows = (
        (
            draft.message_id, draft.visitor_key, draft.type, draft.item_id, draft.query, draft.occurred_at, at,
            draft.quantity, draft.price, draft.currency, draft.order_id, draft.ranking_id, draft.position, draft.source,
            draft.device, draft.region, draft.is_bot,
        )
        for draft in drafts
    )  # fmt: skip
    return prepared(Event, EVENT_COLUMNS, rows, alias)


def _impression_values(drafts: list[ImpressionDraft], alias: str) -> list[tuple[Any, ...]]:
    rows = (
        (
            draft.ranking.id, draft.visitor_key, draft.ranking.slot.value, draft.ranking.query, draft.current_item_id,
            *_entry_columns(draft.ranking), draft.ranking.arms,
            draft.ranking.entries[0].position if draft.ranking.entries else 1, draft.ranking.rung.value,
            draft.ranking.bundle, draft.source, draft.device, draft.is_bot, draft.occurred_at,
            [*draft.ranking.rules, *(-rule for rule in draft.ranking.held_out)] or None,
            draft.ranking.n_found if draft.ranking.slot is Slot.SEARCH and not draft.ranking.redirect else None,
        )
        for draft in sorted(drafts, key=lambda draft: draft.ranking.id.bytes)
    )  # fmt: skip
    return prepared(Impression, IMPRESSION_COLUMNS, rows, alias)


def _entry_columns(ranking: Ranking) -> tuple[Any, ...]:
    """The items, their propensities, what was drawn from, and one letter for each entry of an interleaved list."""
    entries = ranking.entries
    chances = [round(entry.propensity, 6) for entry in entries]
    teams = "".join(entry.team for entry in entries)
    return [entry.item_id for entry in entries], chances, list(ranking.pool) or None, teams
