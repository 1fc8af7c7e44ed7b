"""The cart: stock codes and quantities in the session, with the products and sums for pages."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property

from django.http import HttpRequest

from shopreco.shop.models import Product

SESSION_KEY = "cart"
MAX_QUANTITY = 999
MAX_LINES = 100


@dataclass(frozen=True, slots=True)
class CartLine:
    """One product in the cart."""

    product: Product
    quantity: int

    @property
    def total(self) -> Decimal:
        return self.product.price * self.quantity


class Cart:
    """The cart of one request. Products that have left the shop since are neither shown nor counted."""

    def __init__(self, request: HttpRequest) -> None:
        self.session = request.session
        self.quantities: dict[str, int] = dict(self.session.get(SESSION_KEY, {}))

    @cached_property
    def lines(self) -> list[CartLine]:
        """The lines in the order in which they were added. One query, none for an empty cart."""
        if not self.quantities:
            return []
        products = Product.objects.filter(stock_code__in=self.quantities, is_visible=True).in_bulk(
            field_name="stock_code"
        )
        return [CartLine(products[code], n) for code, n in self.quantities.items() if code in products]

    @property
    def item_ids(self) -> tuple[str, ...]:
        """The recommender's ids of the items in the cart. No query."""
        return tuple(self.quantities)

    @property
    def total(self) -> Decimal:
        return sum((line.total for line in self.lines), Decimal(0))

    def __len__(self) -> int:
        return sum(self.quantities.values())

    def put(self, product: Product, quantity: int) -> int:
        """Set the quantity of a product, limited to the stock, and return it; 0 removes the product."""
        allowed_quantity = min(max(quantity, 0), product.stock, MAX_QUANTITY)
        is_full = len(self.quantities) >= MAX_LINES and product.stock_code not in self.quantities
        if allowed_quantity and not is_full:
            self.quantities[product.stock_code] = allowed_quantity
        else:
            self.quantities.pop(product.stock_code, None)
        self._save()
        return self.quantities.get(product.stock_code, 0)

    def empty(self) -> None:
        """Take everything out."""
        self.quantities = {}
        self._save()

    def _save(self) -> None:
        self.session[SESSION_KEY] = self.quantities
        self.__dict__.pop("lines", None)
