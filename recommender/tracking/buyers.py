"""Finds who bought: the browser, the user or the earlier purchase that an order row belongs to."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Iterable

from recommender.capture import EventDraft, order_consent, storage
from recommender.identity import Shopper
from recommender.models import Event, UnpaidRow
from recommender.tracking.odd_values import sound
from recommender.tracking.orders import RETURNED, OrderRows
from recommender.types import EventType


def under_browser(draft: EventDraft, shopper: Shopper) -> EventDraft:
    """The draft under the browser's visitor, if the order is theirs: staff may enter one for somebody else.

    Without consent it has no buyer or the one that `ORDER_CONSENT` allows; after a refusal it has none.
    """
    if draft.user_key != shopper.user_key:
        return draft
    if not shopper.has_consented:
        may_teach = order_consent.is_open() and not shopper.refuses
        return draft if may_teach else dataclasses.replace(draft, user_key=None)
    if draft.visitor_key not in (
        None,
        shopper.visitor_key,
    ):
        return draft
    return dataclasses.replace(
        draft,
        visitor_key=shopper.visitor_key,
        device=shopper.device,
        region=shopper.region,
        is_bot=shopper.is_bot,
        is_profiled=shopper.is_profiled,
    )


def with_buyers(rows: OrderRows, drafts: list[EventDraft]) -> list[EventDraft]:
    """Drafts of guests under the browser that ordered, refunds under that of their purchase; refunds that have grown
    since they were recorded are corrected. At most three queries, none for rows that never change."""
    if rows.makes_own_drafts:
        drafts = [sound(draft) for draft in drafts]
    if not rows.may_change and all(draft.type != EventType.REFUND for draft in drafts):
        return drafts
    returned = {draft.message_id: draft.quantity for draft in drafts if draft.message_id.startswith(RETURNED)}
    storage.correct_quantities(returned)
    guests = [draft for draft in drafts if draft.visitor_key is None and draft.user_key is None]
    wanted = {row_id for draft in guests for row_id in row_ids(draft)}
    unpaid = {row.message_id: row for row in UnpaidRow.objects.filter(message_id__in=wanted)} if wanted else {}
    refunds = [(draft.order_id, draft.item_id) for draft in guests if draft.type == EventType.REFUND]
    buyers = who_bought(refunds)
    return [_under_buyer(draft, unpaid, buyers) for draft in drafts]


def row_ids(draft: EventDraft) -> tuple[str, str]:
    """The id of the draft's row, and the one to use if the shop's class makes several drafts of one row."""
    row_id = draft.message_id.removeprefix(RETURNED)
    return row_id, row_id.rpartition(":")[0]


def _under_buyer(
    draft: EventDraft, unpaid: dict[str, UnpaidRow], buyers: dict[tuple[str, str], uuid.UUID]
) -> EventDraft:
    if draft.visitor_key is not None or draft.user_key is not None:
        return draft
    row = next((unpaid[row_id] for row_id in row_ids(draft) if row_id in unpaid), None)
    if row is not None:
        names = ("visitor_key", "device", "region", "is_bot", "is_profiled")
        return dataclasses.replace(draft, **{name: getattr(row, name) for name in names})
    buyer = buyers.get((draft.order_id, draft.item_id)) if draft.type == EventType.REFUND else None
    return draft if buyer is None else dataclasses.replace(draft, visitor_key=buyer)


def who_bought(purchases: Iterable[tuple[str, str]]) -> dict[tuple[str, str], uuid.UUID]:
    """By order and item the visitor of the stored purchase, for refunds that name nobody. One query."""
    named = {(order_id, item_id) for order_id, item_id in purchases if order_id}
    if not named:
        return {}
    orders, items = {order_id for order_id, _ in named}, {item_id for _, item_id in named}
    bought = Event.objects.filter(source="order", type=EventType.PURCHASE, visitor__isnull=False)
    rows = bought.filter(item_id__in=items, order_id__in=orders).values_list("order_id", "item_id", "visitor__key")
    return {(order_id, item_id): key for order_id, item_id, key in rows}
