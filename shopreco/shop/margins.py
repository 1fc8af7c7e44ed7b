"""What the demo says it earns with a product: invented, because its data has prices only."""

from __future__ import annotations

import hashlib
from decimal import Decimal

LEAST, MOST = 0.15, 0.6
"""Shares of the price between which margins lie. A choice, not a measurement."""


def invented_margin(stock_code: str, price: Decimal) -> Decimal:
    """A share of the price that is drawn from the stock code, always the same: it has nothing to do with what sells."""
    drawn = int.from_bytes(hashlib.blake2b(stock_code.encode(), digest_size=4).digest(), "big") / 2**32
    return round(price * Decimal(LEAST + (MOST - LEAST) * drawn), 2)
