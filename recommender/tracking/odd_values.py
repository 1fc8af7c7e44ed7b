"""Leaves out the values of an order row that make no sense, and says why: no purchase is lost to one of them."""

from __future__ import annotations

import dataclasses
import uuid
from decimal import Decimal
from typing import Any

from recommender import capture
from recommender.capture import EventDraft
from recommender.catalog import values
from recommender.identity import claims_of, visitor_key_from_cookie
from recommender.types import EventType


def sound(draft: EventDraft) -> EventDraft:
    """A draft of a row with values that can be stored; `emptied` says what was left out and why. A quantity below 0 is
    a refund. Applied twice it changes nothing more."""
    units, odd_quantity = _units(draft.quantity)
    is_refund = draft.type == EventType.REFUND or units < 0
    amount, code, odd_price = _price(draft.price, draft.currency, is_refund=is_refund)
    return dataclasses.replace(
        draft,
        type=EventType.REFUND if is_refund else draft.type,
        quantity=abs(units),
        price=amount,
        currency=code,
        emptied=(*draft.emptied, *odd_quantity, *odd_price),
    )


def _units(quantity: Any) -> tuple[float, list[str]]:
    """The number of units, below 0 for a refund; one if it makes no sense, and then the reason."""
    number = values.number(quantity)
    if number is not None and 0 < abs(number) <= capture.MAX_QUANTITY:
        return float(number), []
    return 1.0, [f"quantity {quantity!r} is no number of units: counted as one"]


def _price(price: Any, currency: Any, *, is_refund: bool) -> tuple[Decimal | None, str, list[str]]:
    """The price of a unit and its currency, each empty if it makes no sense, and the reasons."""
    declared, reasons = values.currency(currency), []
    amount, own_code = values.money(price, declared)
    code = declared or own_code
    if not code and str(currency or "").strip():
        reasons.append(f"currency {str(currency)!r} is neither three letters nor a sign of one currency: left out")
    if amount is not None and is_refund:
        amount = abs(amount)
    if amount is None or not 0 <= amount < values.MAX_PRICE:
        if price not in (None, ""):
            reasons.append(f"price {str(price)[:40]!r} is no price of a unit: left out")
        return None, code, reasons
    return amount, code, reasons


def visitor_key(stored: Any) -> uuid.UUID | None:
    """The key, the cookie or the token, also one that has expired, that a shop kept with an order; None for anything
    else."""
    if isinstance(stored, uuid.UUID) or not stored:
        return stored or None
    text = str(stored)
    if (claims := claims_of(text)) is not None:
        return claims.visitor_key
    try:
        return visitor_key_from_cookie(text) or uuid.UUID(text)
    except ValueError:
        return None
