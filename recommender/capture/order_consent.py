"""Decides whether an order may be tied to its buyer: the setting `ORDER_CONSENT`, applied to order rows.

The orders are the shop's own records, and only the shop can say what the law allows. So the setting has three values:
"required" (only people who have consented here), "pseudonymous" (everybody, under a visitor that is never served), or
a callable (whoever has agreed according to the shop's own record).
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping

from django.db import transaction
from django.db.models import Q
from django.utils.module_loading import import_string

from recommender import conf
from recommender.capture.sql import locked_rows
from recommender.exceptions import ConfigurationError
from recommender.identity import grant_consent, own_key, tombstones
from recommender.models import Event, Visitor
from recommender.types import EventType

logger = logging.getLogger(__name__)

REQUIRED, PSEUDONYMOUS = "required", "pseudonymous"
CHUNK_SIZE = 1000
"""Rows of one statement: SQLite takes 32,766 parameters since 3.32, and a visitor has about ten."""

ShopRecord = Callable[[Collection[str]], Iterable[object]]
"""Takes primary keys of users as text, and returns those that have agreed, as text or as they are."""


def decision() -> str | ShopRecord:
    """The shop's decision. Raises `ConfigurationError` that names the three possible values."""
    decided = conf.get("ORDER_CONSENT")
    if decided in (REQUIRED, PSEUDONYMOUS):
        return str(decided)
    try:
        record: ShopRecord = decided if callable(decided) else import_string(decided)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise _not_understood(decided, str(error)) from error
    if not callable(record):
        raise _not_understood(decided, "that is not callable")
    return record


def is_open() -> bool:
    """May orders of people who have not consented here be used for training? False if the setting is wrong."""
    try:
        return decision() != REQUIRED
    except ConfigurationError:
        return False


def buyers(user_keys: Collection[str], *, alias: str) -> dict[str, uuid.UUID]:
    """The visitors under which orders of these users are stored, although no visitor of theirs has consented.

    Orders of a user without an entry have no buyer. No query where consent is required; else at most seven per 1,000
    users.
    """
    try:
        decided = decision()
    except ConfigurationError:
        logger.exception("orders of people who have not consented stay nobody's")
        return {}
    if not user_keys or decided == REQUIRED:
        return {}
    objected = Visitor.objects.using(alias).filter(user_key__in=user_keys, has_objected=True)
    others = _not_erased(set(user_keys) - set(objected.values_list("user_key", flat=True)))
    return _pseudonyms(others, alias=alias) if isinstance(decided, str) else _agreed(others, decided, alias=alias)


def attach(buyer_of: Mapping[str, uuid.UUID], *, alias: str) -> int:
    """Give orders that were stored without a buyer to the visitors of their buyers; return how many.

    `buyer_of` has the visitor by the message id of the event. Within a transaction. One query if all have a visitor
    already, none if it is empty.
    """
    if not buyer_of:
        return 0
    orphans = list(
        Event.objects.using(alias).filter(message_id__in=list(buyer_of), source="order", visitor__isnull=True)
    )
    if not orphans:
        return 0
    visitors = Visitor.objects.using(alias)
    objectors = visitors.filter(has_objected=True, user_key__isnull=False).values("user_key")
    willing = visitors.filter(
        Q(has_consented=True) | Q(is_pseudonymous=True), key__in={buyer_of[event.message_id] for event in orphans}
    ).exclude(user_key__in=objectors)
    rows = locked_rows(willing.values_list("key", "pk"), alias)
    visitor_ids = {uuid.UUID(str(key)): pk for key, pk in rows}
    theirs = [event for event in orphans if buyer_of[event.message_id] in visitor_ids]
    for event in theirs:
        event.visitor_id = visitor_ids[buyer_of[event.message_id]]
    return Event.objects.using(alias).bulk_update(theirs, ["visitor"], batch_size=CHUNK_SIZE)


def n_waiting() -> int:
    """How many recorded orders have no buyer. One query."""
    nobodys = Event.objects.filter(source="order", type=EventType.PURCHASE, visitor__isnull=True).exclude(order_id="")
    return nobodys.values("order_id").distinct().count()


def welcome() -> int:
    """Let the orders of people who have consented since then be served too, not only used for training; return the
    number of these visitors. One query."""
    consenting = Visitor.objects.filter(has_consented=True, user_key__isnull=False).values("user_key")
    waiting = Visitor.objects.filter(user_key__in=consenting, is_pseudonymous=True)
    return waiting.update(has_consented=True, is_pseudonymous=False)


def remember_objection(user_key: str) -> None:
    """Remember that a person's orders without consent must neither be used for training nor be linked to them later.

    Where such orders may be used, this is stored on the user's own visitor; else on the visitors that exist. For an
    erased user the tombstone says the same. At most three queries.
    """
    if not is_open():
        Visitor.objects.filter(user_key=user_key).update(has_objected=True)
        return
    if not _not_erased([user_key]):
        return
    Visitor.objects.update_or_create(
        key=own_key(user_key),
        defaults={"is_pseudonymous": False, "has_objected": True},
        create_defaults={"user_key": user_key, "has_consented": False, "has_objected": True},
    )


def _not_erased(user_keys: Collection[str]) -> list[str]:
    """Those of the users who were not erased, or have consented here since."""
    names = {tombstones.name_of_user(key): key for key in user_keys}
    gone = tombstones.erased(names)
    return sorted(key for name, key in names.items() if name not in gone)


def _agreed(user_keys: list[str], record: ShopRecord, *, alias: str) -> dict[str, uuid.UUID]:
    """The users who have agreed by the shop's record; their own visitors are stored as consenting."""
    try:
        with transaction.atomic(using=alias):  # a query of the shop's that fails must not take the events along
            agreed = sorted({str(key) for key in record(user_keys)} & set(user_keys))
    except Exception:  # the shop's own code: a record that fails says no
        logger.exception("RECOMMENDER['ORDER_CONSENT'] failed; these orders stay nobody's until the next reconcile")
        return {}
    grant_consent(agreed)
    return {user_key: own_key(user_key) for user_key in agreed}


def _pseudonyms(user_keys: list[str], *, alias: str) -> dict[str, uuid.UUID]:
    """Each user's own visitor, created where missing, and marked as used for training but never served."""
    user_of = {own_key(user_key): user_key for user_key in user_keys}
    visitors = Visitor.objects.using(alias)
    marked = visitors.filter(key__in=user_of, is_pseudonymous=True)
    missing = sorted(set(user_of) - set(marked.values_list("key", flat=True)))
    if missing:
        rows = [Visitor(key=key, user_key=user_of[key], has_consented=False, is_pseudonymous=True) for key in missing]
        visitors.bulk_create(rows, batch_size=CHUNK_SIZE, ignore_conflicts=True)
        visitors.filter(key__in=missing, has_consented=False, has_objected=False).update(is_pseudonymous=True)
    return {user_of[key]: key for key in marked.all().values_list("key", flat=True)}


def _not_understood(decided: object, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"RECOMMENDER['ORDER_CONSENT'] is {decided!r}: {why}. "
        'Expected "required", "pseudonymous", or the dotted path of a callable that takes primary keys of users, as '
        "text, and returns those that have agreed."
    )
