"""Records pages and order rows when Oscar sends its signals. No receiver raises or adds a query before the response."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any

from django.db.models.signals import post_delete, post_save
from oscar.apps.basket.signals import basket_addition
from oscar.apps.catalogue.signals import product_viewed
from oscar.apps.order.signals import order_line_status_changed, order_placed
from oscar.apps.search.signals import user_search

from recommender import capture
from recommender.catalog import item_id_of
from recommender.tracking import ACTED, SHOWN, record_page, record_rows, tell_by_signals
from recommender.types import EventType

logger = logging.getLogger(__name__)

LINES = "order.Line"
STATUS_CHANGE = "order.orderstatuschange"
BASKET_LINE = "basket.line"
BASKET_PAGE = "basket:summary"
PAGES = {
    "catalogue:detail": EventType.VIEW_ITEM,
    "search:search": EventType.SEARCH,
    "basket:add": EventType.ADD_TO_CART,
    BASKET_PAGE: EventType.REMOVE_FROM_CART,
}
"""What the receivers below record, by the page that sends the signal."""

Receiver = Callable[..., None]

_complaints: set[str] = set()
"""What has been logged with its traceback in this process."""


def connect() -> None:
    """Listen to Oscar; safe to call again."""
    for signal, receiver in (
        (product_viewed, on_view),
        (user_search, on_search),
        (basket_addition, on_addition),
        (order_placed, on_order),
        (order_line_status_changed, on_line),
        (post_save, on_status),
        (post_delete, on_removal),
    ):
        signal.connect(receiver, dispatch_uid=f"recommender_oscar.{receiver.__name__}")
    tell_by_signals(**PAGES)


def _harmless(receiver: Receiver) -> Receiver:
    """Oscar sends its signals in the middle of a page, and not robustly."""

    @functools.wraps(receiver)
    def guarded(**arguments: Any) -> None:
        try:
            receiver(**arguments)
        except Exception:
            capture.counts["failed"] += 1
            if receiver.__name__ in _complaints:
                logger.debug("again: %s", receiver.__name__, exc_info=True)
                return
            _complaints.add(receiver.__name__)
            logger.exception("%s failed; further failures are counted in recommender.capture.counts", receiver.__name__)

    return guarded


@_harmless
def on_view(*, product: Any, request: Any, **_: Any) -> None:
    """`product_viewed` comes before the page is rendered; what staff alone may see is nothing that shoppers do."""
    if product.is_public:
        record_page(request, EventType.VIEW_ITEM, item_id=item_id_of(product))


@_harmless
def on_search(*, sender: Any, query: str, **_: Any) -> None:
    """`user_search` has no request, and comes before the results, for every page of them: the first one counts."""
    request = getattr(sender, "request", None) or capture.current_request.get()
    if request is not None and request.GET.get("page", "1") in ("", "1"):
        record_page(request, EventType.SEARCH, query=query)


@_harmless
def on_addition(*, product: Any, request: Any, **_: Any) -> None:
    """`basket_addition` comes when the line is saved, and does not say how many: the form does."""
    quantity = getattr(request, "data", request.POST).get("quantity")
    statuses = tuple(SHOWN | ACTED)
    record_page(
        request, EventType.ADD_TO_CART, item_id=item_id_of(product), quantity=quantity, statuses=statuses
    )  # fmt: skip


@_harmless
def on_removal(*, sender: Any, instance: Any, **_: Any) -> None:
    """No signal of Oscar's tells of a removal: a basket line that a shopper's basket form deletes is one."""
    if sender._meta.label_lower != BASKET_LINE:
        return
    request = capture.current_request.get()
    match = request.resolver_match if request is not None else None
    if match is not None and match.view_name == BASKET_PAGE:
        record_page(
            request,
            EventType.REMOVE_FROM_CART,
            item_id=lambda request: item_id_of(instance.product),
            quantity=instance.quantity,
        )


@_harmless
def on_order(*, order: Any, **_: Any) -> None:
    """`order_placed` has no request and may be within its transaction; the lines are read when that is committed."""
    record_rows(LINES, order.lines.values_list("pk", flat=True))


@_harmless
def on_status(*, sender: Any, instance: Any, **_: Any) -> None:
    """Oscar notes each change of an order's status after it has sent `order_status_changed`; a refund has its date."""
    if sender._meta.label_lower == STATUS_CHANGE:
        record_rows(LINES, instance.order.lines.values_list("pk", flat=True))


@_harmless
def on_line(*, line: Any, **_: Any) -> None:
    record_rows(LINES, [line.pk])
