"""Turns a cart into an order, in one transaction that also reduces the stock."""

from __future__ import annotations

from collections.abc import Sequence

from django.db import transaction
from django.db.models import F
from django.utils.crypto import get_random_string
from django.utils.translation import gettext

from shopreco.shop.cart import CartLine
from shopreco.shop.models import Customer, Order, OrderLine, Product

NUMBER_ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
"""Without characters that are easily confused on the telephone."""


class SoldOut(Exception):
    """The stock of `product` is smaller than the ordered quantity."""

    def __init__(self, product: Product) -> None:
        super().__init__(gettext("%s is no longer available in that quantity.") % product.localised_title)
        self.product = product


@transaction.atomic
def place_order(lines: Sequence[CartLine], *, name: str, email: str, customer: Customer | None = None) -> Order:
    """Write an order with its lines, one by one so that `post_save` is sent for each. Raises `SoldOut`."""
    order = Order.objects.create(
        number=f"W{get_random_string(8, NUMBER_ALPHABET)}", customer=customer, name=name, email=email
    )
    for line in sorted(lines, key=lambda line: line.product.pk):
        _take_from_stock(line)
        OrderLine.objects.create(
            order=order, product=line.product, quantity=line.quantity, unit_price=line.product.price
        )
    return order


def _take_from_stock(line: CartLine) -> None:
    enough = Product.objects.filter(pk=line.product.pk, stock__gte=line.quantity)
    if not enough.update(stock=F("stock") - line.quantity, n_sold=F("n_sold") + 1):
        raise SoldOut(line.product)
