"""May an order teach the model? The shop's decision, `ORDER_CONSENT`, applied to the buyers of its order rows.

The shop's orders are its own records. Whether they may be tied to the person who bought is a question of law that
only the shop can answer, so the setting has three answers: only people who have consented here ("required"), everybody
under a number that nothing is ever shown from ("pseudonymous"), or whoever the shop's own record says has agreed (a
callable).
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.base_user import BaseUserManager
from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Lower
from django.utils.module_loading import import_string

from recommender import conf
from recommender.exceptions import ConfigurationError
from recommender.identity import grant_consent, own_key
from recommender.models import Event, Visitor
from recommender.types import EventType

logger = logging.getLogger(__name__)

REQUIRED, PSEUDONYMOUS = "required", "pseudonymous"
ADDRESSES_PER_QUERY = 500
CHUNK_SIZE = 1000
"""Rows of one statement: SQLite takes 32,766 parameters since 3.32, and a visitor has about ten."""

ShopRecord = Callable[[Collection[str]], Iterable[object]]
"""Primary keys of users, as text, to those of them that have agreed, as text or as they are."""


def decision() -> str | ShopRecord:
    """What the shop has decided. Raises `ConfigurationError` that names the three answers."""
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
    """May orders of people who have not consented here teach at all? False where the setting cannot be understood."""
    try:
        return decision() != REQUIRED
    except ConfigurationError:
        return False


def buyers(user_keys: Collection[str], *, alias: str) -> dict[str, uuid.UUID]:
    """The visitor under which the orders of each of these users enter, though no visitor of theirs has consented.

    A user without an entry buys as nobody. No query where consent is required; else at most five per 1,000 users.
    """
    try:
        decided = decision()
    except ConfigurationError:
        logger.exception("orders of people who have not consented stay nobody's")
        return {}
    if not user_keys or decided == REQUIRED:
        return {}
    objected = Visitor.objects.using(alias).filter(user_key__in=user_keys, has_objected=True)
    asked = sorted(set(user_keys) - set(objected.values_list("user_key", flat=True)))
    return _pseudonyms(asked, alias=alias) if isinstance(decided, str) else _agreed(asked, decided, alias=alias)


def attach(buyer_of: Mapping[str, uuid.UUID], *, alias: str) -> int:
    """Give orders that were stored as nobody's to the visitors of their buyers; return how many.

    `buyer_of` names the visitor by the message id of the event. One query where all of them have a visitor already.
    """
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
    visitor_ids = dict(willing.values_list("key", "pk"))
    theirs = [event for event in orphans if buyer_of[event.message_id] in visitor_ids]
    for event in theirs:
        event.visitor_id = visitor_ids[buyer_of[event.message_id]]
    return Event.objects.using(alias).bulk_update(theirs, ["visitor"], batch_size=CHUNK_SIZE)


def n_waiting() -> int:
    """How many recorded orders are nobody's. One query."""
    nobodys = Event.objects.filter(source="order", type=EventType.PURCHASE, visitor__isnull=True).exclude(order_id="")
    return nobodys.values("order_id").distinct().count()


def welcome() -> int:
    """Give people who have consented by now the orders that only taught until then; return how many. One query."""
    consenting = Visitor.objects.filter(has_consented=True, user_key__isnull=False).values("user_key")
    waiting = Visitor.objects.filter(user_key__in=consenting, is_pseudonymous=True)
    return waiting.update(has_consented=True, is_pseudonymous=False)


def remember_objection(user_key: str) -> None:
    """Keep that orders which a person made without consent must neither teach nor become theirs later.

    Where such orders may teach, on the visitor of their own, though all else of theirs may be gone; else on the
    visitors that there are. At most two queries.
    """
    if not is_open():
        Visitor.objects.filter(user_key=user_key).update(has_objected=True)
        return
    Visitor.objects.update_or_create(
        key=own_key(user_key),
        defaults={"is_pseudonymous": False, "has_objected": True},
        create_defaults={"user_key": user_key, "has_consented": False, "has_objected": True},
    )


def _agreed(user_keys: list[str], record: ShopRecord, *, alias: str) -> dict[str, uuid.UUID]:
    """Those who have agreed by the shop's record; the visitor of their own is noted as consenting."""
    try:
        with transaction.atomic(using=alias):  # a query of the shop's that fails must not take the events along
            agreed = sorted({str(key) for key in record(user_keys)} & set(user_keys))
    except Exception:  # the shop's own code: a record that fails says no
        logger.exception("RECOMMENDER['ORDER_CONSENT'] failed; these orders stay nobody's until the next reconcile")
        return {}
    grant_consent(agreed)
    return {user_key: own_key(user_key) for user_key in agreed}


def _pseudonyms(user_keys: list[str], *, alias: str) -> dict[str, uuid.UUID]:
    """The visitor of each user's own, marked as one that teaches and is never served; made where missing."""
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


def who_bought(purchases: Iterable[tuple[str, str]]) -> dict[tuple[str, str], uuid.UUID]:
    """By order and item the visitor of the purchase that is stored; of refunds that name nobody. One query."""
    named = {(order_id, item_id) for order_id, item_id in purchases if order_id}
    if not named:
        return {}
    orders, items = {order_id for order_id, _ in named}, {item_id for _, item_id in named}
    bought = Event.objects.filter(source="order", type=EventType.PURCHASE, visitor__isnull=False)
    found = bought.filter(item_id__in=items, order_id__in=orders).values_list("order_id", "item_id", "visitor__key")
    return {(order_id, item_id): key for order_id, item_id, key in found}


def users_by_address(addresses: Iterable[Any]) -> dict[Any, Any]:
    """The user's primary key of each address that has one, without regard to case. A query for each 500 addresses."""
    written = list(dict.fromkeys(address for address in addresses if address))
    user_model = get_user_model()
    field = user_model.get_email_field_name()
    found: dict[str, Any] = {}
    exact: dict[str, Any] = {}
    for start in range(0, len(written), ADDRESSES_PER_QUERY):
        part = written[start : start + ADDRESSES_PER_QUERY]
        users = user_model._default_manager.annotate(recommender_address=Lower(field))
        same = Q(recommender_address__in=[address.lower() for address in part]) | Q(**{f"{field}__in": part})
        for pk, address in users.filter(same).order_by("-pk").values_list("pk", field):
            found[address.lower()] = exact[address] = pk
    normalised = {address: BaseUserManager.normalize_email(address) for address in written}
    return {address: exact.get(normalised[address], found.get(address.lower())) for address in written}
