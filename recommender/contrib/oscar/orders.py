"""Oscar's order lines: each is a purchase, and also a refund once it or its order has been cancelled."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

from django.db import models
from django.db.models import OuterRef, Q, Subquery
from django.db.models.functions import Coalesce, Lower

from recommender.catalog import Constant
from recommender.tracking.orders import OrderRows

REFUNDED = ("cancelled", "canceled", "refunded", "returned")
"""Oscar leaves the names of statuses to the shop; these are the usual ones, in small letters."""


class Purchases(OrderRows):
    """Every line of a product that still exists, of users and of guests alike."""

    item_id = "product"
    order_id = "order.number"
    user = "order.user_id"
    occurred_at: Any = "order.date_placed"
    quantity = "quantity"
    currency = "order.currency"

    def queryset(self) -> models.QuerySet[Any]:
        return super().queryset().filter(product__isnull=False)

    def price(self, line: Any) -> Decimal:
        """What was paid for one, after discounts and with tax."""
        paid: Decimal = line.line_price_incl_tax / (line.quantity or 1)
        return paid


class Refunds(Purchases):
    """The lines whose own status, or whose order's, is one of `statuses`; dated by Oscar's note of the change."""

    kind = "refund"
    statuses: tuple[str, ...] = REFUNDED
    refunded = Constant(True)

    def queryset(self) -> models.QuerySet[Any]:
        from oscar.core.loading import get_model

        changes = get_model("order", "OrderStatusChange")._default_manager.annotate(status=Lower("new_status"))
        noted = changes.filter(order=OuterRef("order"), status__in=self.statuses)
        latest = Subquery(noted.order_by("-date_created").values("date_created")[:1])
        lines = super().queryset().annotate(own=Lower("status"), of_order=Lower("order__status"))
        refunded = lines.filter(Q(own__in=self.statuses) | Q(of_order__in=self.statuses))
        return refunded.annotate(refunded_at=Coalesce(latest, "order__date_placed"))

    def since(self, rows: models.QuerySet[Any], at: dt.datetime | None) -> models.QuerySet[Any]:
        return rows if at is None else rows.filter(refunded_at__gte=at)

    def occurred_at(self, line: Any) -> dt.datetime:
        moment: dt.datetime = line.refunded_at
        return moment
