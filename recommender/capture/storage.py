"""Checked rows in, rows of the database out: visitors made or touched, lists attributed, each message stored once."""

from __future__ import annotations

import datetime as dt
import logging
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from django.db import DatabaseError, InterfaceError, OperationalError, connections, models, transaction
from django.db.models import Q

from recommender.capture import order_consent
from recommender.identity import own_key
from recommender.models import Event, Impression, Visitor
from recommender.types import EventType

logger = logging.getLogger(__name__)

ATTRIBUTION_WINDOW = dt.timedelta(days=30)
"""A cart or an order follows from the last list in which this person opened the item, this long before it."""

ATTRIBUTED = frozenset({EventType.ADD_TO_CART.value, EventType.PURCHASE.value})
REMEMBERED_SECONDS = 600.0
MAX_REMEMBERED = 20_000
VISITORS_PER_STATEMENT = 100
"""Eight values each: below the 999 parameters that the oldest SQLite takes."""

EVENT_COLUMNS = (
    "message_id", "visitor", "type", "item_id", "query", "occurred_at", "received_at", "quantity", "price", "currency",
    "order_id", "ranking_id", "position", "source", "device", "region", "is_bot",
)  # fmt: skip
IMPRESSION_COLUMNS = (
    "ranking_id", "visitor", "slot", "query", "current_item_id", "item_ids", "propensities", "first_position", "rung",
    "bundle", "source", "device", "is_bot", "occurred_at",
)  # fmt: skip
VISITOR_COLUMNS = (
    "key", "user_key", "has_consented", "is_profiled", "is_bot", "device", "first_seen_at", "last_seen_at",
)  # fmt: skip


@dataclass(slots=True)
class EventRow:
    """An event whose values fit their columns; `index` is its place in the batch."""

    index: int
    message_id: str
    type: str
    item_id: str
    query: str
    occurred_at: dt.datetime
    quantity: float
    price: Decimal | None
    currency: str
    order_id: str
    ranking_id: uuid.UUID | None
    position: int | None
    source: str
    device: str
    region: str
    is_bot: bool
    visitor_key: uuid.UUID | None
    user_key: str | None
    is_profiled: bool


@dataclass(slots=True)
class ImpressionRow:
    """A ranking whose values fit their columns."""

    ranking_id: uuid.UUID
    slot: str
    query: str
    current_item_id: str
    item_ids: list[str]
    first_position: int
    rung: str
    bundle: str
    source: str
    device: str
    is_bot: bool
    occurred_at: dt.datetime
    visitor_key: uuid.UUID | None
    user_key: str | None
    is_profiled: bool


@dataclass(slots=True)
class Stored:
    """What became of the rows; `refused` holds the place and the reason of those that the database did not take.

    n_attached: of the duplicates, orders that were nobody's and have found their buyer.
    """

    n_accepted: int = 0
    n_duplicate: int = 0
    n_dropped: int = 0
    n_attached: int = 0
    refused: list[tuple[int, str]] = field(default_factory=list)


Row = EventRow | ImpressionRow

_remembered: dict[uuid.UUID, tuple[str | None, float]] = {}
"""Browsers' visitors seen lately in this process: user's key, seconds of the monotonic clock. Only saves a touch."""


def store(events: Sequence[EventRow], impressions: Sequence[ImpressionRow], *, at: dt.datetime, alias: str) -> Stored:
    """Write within the caller's transaction. Rows come sorted by message id: parallel batches then never deadlock."""
    kept, n_dropped = _with_visitors([*events, *impressions], at=at, alias=alias)
    stored = Stored(n_dropped=n_dropped)
    kept_events = [row for row in kept if isinstance(row, EventRow)]
    _attribute(kept_events, alias=alias)
    _insert_events(kept_events, stored, at=at, alias=alias)
    if stored.n_duplicate:
        orders = {row.message_id: row.visitor_key for row in kept_events if row.source == "order" and row.visitor_key}
        stored.n_attached = order_consent.attach(orders, alias=alias)
    shown = sorted((row for row in kept if isinstance(row, ImpressionRow)), key=lambda row: row.ranking_id.bytes)
    _insert(Impression, IMPRESSION_COLUMNS, [_impression_values(row, alias) for row in shown], alias=alias)
    return stored


def correct_quantities(quantities: Mapping[str, float]) -> None:
    """Give recorded events by message id the quantity that the shop's row has now. One query, two where some differ."""
    stored = Event.objects.filter(message_id__in=quantities).only("message_id", "quantity") if quantities else ()
    changed = [event for event in stored if event.quantity != quantities[event.message_id]]
    for event in changed:
        event.quantity = quantities[event.message_id]
    Event.objects.bulk_update(changed, ["quantity"])


def forget_visitors() -> None:
    """Look every visitor up again; after an erasure."""
    _remembered.clear()


def _with_visitors(rows: list[Row], *, at: dt.datetime, alias: str) -> tuple[list[Row], int]:
    """The rows that may be kept, each with the visitor that exists and consents, and how many events may not."""
    kept, teaching = _by_users(rows, alias)
    consenting = _touch((row for row in kept if row.visitor_key not in teaching), at=at, alias=alias)
    strangers = []
    for row in kept:
        owner = consenting.get(row.visitor_key) if row.visitor_key else None
        if owner and row.user_key and owner != row.user_key:  # the browser's visitor is somebody else
            row.visitor_key = own_key(row.user_key)
            strangers.append(row)
    consenting |= _touch(strangers, at=at, alias=alias)
    allowed = []
    for row in kept:
        if row.visitor_key and row.visitor_key not in consenting and row.visitor_key not in teaching:
            row.visitor_key = None
            if row.source != "order":
                continue
        allowed.append(row)
    n_dropped = sum(isinstance(row, EventRow) for row in rows) - sum(isinstance(row, EventRow) for row in allowed)
    return allowed, n_dropped


def _by_users(rows: list[Row], alias: str) -> tuple[list[Row], set[uuid.UUID]]:
    """Give rows that name only a user a visitor of theirs that consents, their own before a browser's; where there is
    none, only orders stay, under the visitors that `ORDER_CONSENT` allows: those are returned beside the rows.

    At most one query, and those of `order_consent.buyers`."""
    wanted = {row.user_key for row in rows if row.user_key and row.visitor_key is None}
    if not wanted:
        return rows, set()
    asked = Visitor.objects.using(alias).filter(user_key__in=wanted, has_consented=True).order_by("last_seen_at")
    consenting: dict[str | None, uuid.UUID] = {}
    for user_key, key in asked.values_list("user_key", "key"):
        if user_key and consenting.get(user_key) != own_key(user_key):
            consenting[user_key] = key
    ordering = {row.user_key for row in rows if row.user_key and row.visitor_key is None and row.source == "order"}
    buyers = order_consent.buyers(ordering - set(consenting), alias=alias)
    kept = []
    for row in rows:
        if row.visitor_key is None and row.user_key:
            row.visitor_key = consenting.get(row.user_key)
            if row.source == "order":
                row.visitor_key = row.visitor_key or buyers.get(row.user_key)
            elif row.visitor_key is None:
                continue
        kept.append(row)
    return kept, set(buyers.values())


def _touch(rows: Iterable[Row], *, at: dt.datetime, alias: str) -> dict[uuid.UUID, str | None]:
    """Make or touch the visitors of the rows; return those that consent, with their users.

    One statement for those not seen lately in this process. A user's own visitor is always looked at: consent given
    and withdrawn in other processes shows there first.
    """
    by_key: defaultdict[uuid.UUID, list[Row]] = defaultdict(list)
    for row in rows:
        if row.visitor_key is not None:
            by_key[row.visitor_key].append(row)
    found: dict[uuid.UUID, str | None] = {}
    unseen: list[uuid.UUID] = []
    now = time.monotonic()
    for key, of_visitor in sorted(by_key.items()):
        user_key, seconds = _remembered.get(key, (None, -REMEMBERED_SECONDS))
        users = {row.user_key for row in of_visitor if row.user_key}
        if now - seconds < REMEMBERED_SECONDS and users <= {user_key} and all(row.is_profiled for row in of_visitor):
            found[key] = user_key
        else:
            unseen.append(key)
    for start in range(0, len(unseen), VISITORS_PER_STATEMENT):
        values = [_visitor_values(key, by_key[key], alias) for key in unseen[start : start + VISITORS_PER_STATEMENT]]
        found |= _upsert_visitors(values, alias)
    return found


def _upsert_visitors(values: list[tuple[Any, ...]], alias: str) -> dict[uuid.UUID, str | None]:
    """One statement that makes, links, touches and reads: so a visitor cannot be erased in between."""
    connection = connections[alias]
    quote = connection.ops.quote_name
    table = quote(Visitor._meta.db_table)
    key, user, profiled, first, last, consented = (
        _name(Visitor, name, alias)
        for name in ("key", "user_key", "is_profiled", "first_seen_at", "last_seen_at", "has_consented")
    )
    one = f"({', '.join(['%s'] * len(VISITOR_COLUMNS))})"
    sql = (
        f"INSERT INTO {table} ({_names(Visitor, VISITOR_COLUMNS, alias)}) VALUES {', '.join([one] * len(values))} "  # noqa: S608
        f"ON CONFLICT ({key}) DO UPDATE SET {user} = COALESCE({table}.{user}, excluded.{user}), "
        f"{profiled} = ({table}.{profiled} AND excluded.{profiled}), "
        f"{first} = CASE WHEN excluded.{first} < {table}.{first} THEN excluded.{first} ELSE {table}.{first} END, "
        f"{last} = CASE WHEN excluded.{last} > {table}.{last} THEN excluded.{last} ELSE {table}.{last} END "
        f"RETURNING {key}, {user}, {consented}"
    )
    with connection.cursor() as cursor:
        cursor.execute(sql, [value for row in values for value in row])
        answers = cursor.fetchall()
    found = {uuid.UUID(str(answer[0])): answer[1] for answer in answers if answer[2]}
    _remember(found)
    return found


def _remember(found: dict[uuid.UUID, str | None]) -> None:
    """Random keys only, made by a browser: a user's own visitor can come again after an erasure under the same key."""
    if len(_remembered) + len(found) > MAX_REMEMBERED:
        _remembered.clear()
    now = time.monotonic()
    _remembered.update({key: (user_key, now) for key, user_key in found.items() if key.version == 4})


def _visitor_values(key: uuid.UUID, rows: list[Row], alias: str) -> tuple[Any, ...]:
    times = [row.occurred_at for row in rows]
    user_key = next((row.user_key for row in rows if row.user_key), None)
    device = next((row.device for row in rows if row.device), "")
    is_profiled = all(row.is_profiled for row in rows)
    is_bot = all(row.is_bot for row in rows)
    prepare = _moments(alias)
    return (_uuid(key, alias), user_key, True, is_profiled, is_bot, device, prepare(min(times)), prepare(max(times)))


def _attribute(rows: list[EventRow], *, alias: str) -> None:
    """Give carts and orders the list in which the person last opened the item. One query where there are any."""
    unattributed = [row for row in rows if row.type in ATTRIBUTED and row.ranking_id is None and row.visitor_key]
    if not unattributed:
        return
    clicks = _clicks(unattributed, rows, alias)
    for row in unattributed:
        person = row.user_key or row.visitor_key
        for clicked_at, ranking_id, position in reversed(clicks.get((person, row.item_id), [])):
            if row.occurred_at - ATTRIBUTION_WINDOW <= clicked_at <= row.occurred_at:
                row.ranking_id, row.position = ranking_id, position
                break


Click = tuple[dt.datetime, uuid.UUID, int | None]


def _clicks(
    unattributed: list[EventRow], rows: list[EventRow], alias: str
) -> dict[tuple[str | uuid.UUID | None, str], list[Click]]:
    """What was opened out of lists by these people, in storage and in this batch, oldest first."""
    keys = {row.visitor_key for row in unattributed}
    users = {row.user_key for row in unattributed if row.user_key}
    visitors = Visitor.objects.using(alias).filter(Q(key__in=keys) | Q(user_key__in=users))
    stored = Event.objects.using(alias).filter(
        visitor_id__in=visitors.values("pk"),
        ranking_id__isnull=False,
        occurred_at__gte=min(row.occurred_at for row in unattributed) - ATTRIBUTION_WINDOW,
        occurred_at__lte=max(row.occurred_at for row in unattributed),
    )
    found: list[tuple[Any, ...]] = list(
        stored.values_list("visitor__key", "visitor__user_key", "item_id", "occurred_at", "ranking_id", "position")
    )
    found += [
        (row.visitor_key, row.user_key, row.item_id, row.occurred_at, row.ranking_id, row.position)
        for row in rows
        if row.ranking_id is not None
    ]
    clicks: defaultdict[tuple[str | uuid.UUID | None, str], list[Click]] = defaultdict(list)
    for key, user_key, item_id, *click in sorted(found, key=lambda row: row[3]):
        for person in {key, user_key} - {None}:
            clicks[person, item_id].append(tuple(click))
    return clicks


def _insert_events(rows: list[EventRow], stored: Stored, *, at: dt.datetime, alias: str) -> None:
    """All at once; where the database refuses one row, one by one, so that the others are stored."""
    values = _event_values(rows, at, alias)
    try:
        with transaction.atomic(using=alias):
            stored.n_accepted = _insert(Event, EVENT_COLUMNS, values, alias=alias)
    except (OperationalError, InterfaceError):
        raise
    except (DatabaseError, ValueError, OverflowError):
        logger.warning("a batch of %d events was refused; it is stored row by row", len(rows))
        _insert_one_by_one(rows, values, stored, alias)
    stored.n_duplicate = len(rows) - stored.n_accepted - len(stored.refused)


def _insert_one_by_one(rows: list[EventRow], values: list[tuple[Any, ...]], stored: Stored, alias: str) -> None:
    stored.n_accepted = 0
    for row, value in zip(rows, values, strict=True):
        try:
            with transaction.atomic(using=alias):
                stored.n_accepted += _insert(Event, EVENT_COLUMNS, [value], alias=alias)
        except (OperationalError, InterfaceError):
            raise
        except (DatabaseError, ValueError, OverflowError) as error:
            stored.refused.append((row.index, f"The database does not take the event: {error}"))


def _insert(model: type[models.Model], columns: Sequence[str], values: list[tuple[Any, ...]], *, alias: str) -> int:
    """Insert what is not there yet; return how many were. The driver counts rows really inserted, which
    `bulk_create(ignore_conflicts=True)` cannot tell. The visitor is looked up by key within the statement: one erased
    a moment ago is nobody, never a broken reference."""
    if not values:
        return 0
    connection = connections[alias]
    quote = connection.ops.quote_name
    visitor = Visitor._meta
    lookup = (
        f"(SELECT {quote('id')} FROM {quote(visitor.db_table)} "  # noqa: S608
        f"WHERE {quote('key')} = %s AND ({quote('has_consented')} OR {quote('is_pseudonymous')}))"
    )
    marks = ", ".join(lookup if name == "visitor" else "%s" for name in columns)
    sql = (
        f"INSERT INTO {quote(model._meta.db_table)} ({_names(model, columns, alias)}) VALUES ({marks}) "  # noqa: S608
        f"ON CONFLICT ({quote(columns[0])}) DO NOTHING"
    )
    with connection.cursor() as cursor:
        cursor.executemany(sql, values)
        return int(cursor.rowcount)


def _names(model: type[models.Model], columns: Sequence[str], alias: str) -> str:
    return ", ".join(_name(model, name, alias) for name in columns)


def _name(model: type[models.Model], field_name: str, alias: str) -> str:
    column: Any = model._meta.get_field(field_name)
    return connections[alias].ops.quote_name(column.column)


def _event_values(rows: list[EventRow], at: dt.datetime, alias: str) -> list[tuple[Any, ...]]:
    moment = _moments(alias)
    received = moment(at)
    price = Event._meta.get_field("price")
    connection = connections[alias]
    return [
        (
            row.message_id, _uuid(row.visitor_key, alias), row.type, row.item_id, row.query, moment(row.occurred_at),
            received, row.quantity, None if row.price is None else price.get_db_prep_save(row.price, connection),
            row.currency, row.order_id, _uuid(row.ranking_id, alias), row.position, row.source, row.device, row.region,
            row.is_bot,
        )
        for row in rows
    ]  # fmt: skip


def _impression_values(row: ImpressionRow, alias: str) -> tuple[Any, ...]:
    connection = connections[alias]
    ids, propensities = Impression._meta.get_field("item_ids"), Impression._meta.get_field("propensities")
    return (
        _uuid(row.ranking_id, alias), _uuid(row.visitor_key, alias), row.slot, row.query, row.current_item_id,
        ids.get_db_prep_save(row.item_ids, connection),
        propensities.get_db_prep_save([1.0] * len(row.item_ids), connection),
        row.first_position, row.rung, row.bundle, row.source, row.device, row.is_bot, _moments(alias)(row.occurred_at),
    )  # fmt: skip


def _uuid(key: uuid.UUID | None, alias: str) -> Any:
    """As the database stores it: its own type, or 32 hexadecimal digits."""
    return key if key is None or connections[alias].features.has_native_uuid_field else key.hex


def _moments(alias: str) -> Callable[[dt.datetime], Any]:
    return connections[alias].ops.adapt_datetimefield_value
