"""Records order rows that were saved: at the end of their request, or when their transaction commits."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from django.db import transaction
from django.http import HttpRequest

from recommender import capture
from recommender.capture import EventDraft, order_consent
from recommender.identity import Shopper, tombstones
from recommender.models import UnpaidRow
from recommender.models.connections import apart
from recommender.tracking.buyers import row_ids, under_browser, with_buyers
from recommender.tracking.orders import OrderRows

logger = logging.getLogger(__name__)

Saved = tuple[Iterable[Any], bool]
"""Primary keys of rows that were saved, and whether the rows are new."""


def follow(rows: OrderRows, pks: Iterable[Any], using: str | None, *, are_new: bool = False) -> None:
    request = capture.current_request.get()
    transaction.on_commit(lambda: _on_commit(rows, pks, request, are_new=are_new), using=using, robust=True)


def _remember_guest(message_ids: Iterable[str], shopper: Shopper) -> None:
    """Remember who placed unpaid orders, unless this visitor was erased. Two queries."""
    key = shopper.visitor_key
    if key is not None and not tombstones.erased([tombstones.name_of_visitor(key)]):
        UnpaidRow.remember(message_ids, shopper)


def _on_commit(rows: OrderRows, pks: Iterable[Any], request: HttpRequest | None, *, are_new: bool) -> None:
    """Keep saved rows until the end of their request; store them now if there is no request."""
    if request is not None and capture.current_request.get() is request:
        pending: dict[OrderRows, list[Saved]] = vars(request).setdefault("recommender_rows", {})
        if rows not in pending:
            pending[rows] = []
            capture.record_later(request, lambda shopper: _saved(rows, pending.pop(rows), shopper))
        pending[rows].append((pks, are_new))
        return
    try:
        with apart():
            capture.ingest(_saved(rows, [(pks, are_new)], None))
    except Exception:  # the shop's order is placed and must stay so
        capture.counts["failed"] += 1
        logger.exception("rows of %s were not recorded; recommender_reconcile will find them", rows.label)


def _saved(rows: OrderRows, saved: list[Saved], shopper: Shopper | None) -> list[EventDraft]:
    """The events of rows just saved. A refusal in this browser is remembered, so that they never get this buyer later.
    One query, and three more for rows that may be paid or returned later."""
    groups = [(list(pks), are_new) for pks, are_new in saved]
    objects = rows.with_users(rows.objects().filter(pk__in=list({pk for pks, _ in groups for pk in pks})))
    drafts = with_buyers(rows, [draft for row in objects for draft in rows.drafts(row)])
    for reason in (reason for draft in drafts for reason in draft.emptied):
        logger.warning("a row of %s is recorded without a value: %s", rows.label, reason)
    if shopper is None:
        return drafts
    new = [rows.message_id(pk) for pks, are_new in groups if are_new for pk in pks]
    if rows.may_change and shopper.user_key is None and shopper.has_consented:  # users are found by the order itself
        _remember_guest(set(new) - {row_id for draft in drafts for row_id in row_ids(draft)}, shopper)
    if shopper.refuses and shopper.user_key in {draft.user_key for draft in drafts if draft.user_key}:
        order_consent.remember_objection(shopper.user_key or "")
    return [under_browser(draft, shopper) for draft in drafts]
