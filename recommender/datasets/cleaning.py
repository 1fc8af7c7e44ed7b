"""Recorded behaviour in, cleaned behaviour out, with a count of what was left out and why. Arrays only, no SQL."""

from __future__ import annotations

import dataclasses
import time
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from recommender.durations import DAY_SECONDS
from recommender.features.returns import PURCHASE, REFUND, remaining_quantities
from recommender.tables import Interactions
from recommender.types import EVENT_CODES, EventType, FloatArray

CLOCK_SKEW_SECONDS = 300.0
"""How far ahead a client's clock may be; the same tolerance as signed cloud requests allow."""

DUPLICATE_SECONDS = 1.0
"""The same act of the same visitor within a second is a double click or a sensor that fired twice."""

MAX_VIEWS_PER_DAY = 500
"""More views than this by one visitor on one day are no shopper's: one a minute, all day and all evening."""

MAX_CLAIMS_PER_DAY = 5
"""Events of one type that count of what one person claims of one item or query, by the day on which they came in: more
than a shopper looks at one thing. In popularity they count as one anyhow, see `state.build_state`."""

CAPPED_SHARE = 0.999
FEWEST_TO_CAP = 1_000
"""Quantities are winsorised at this quantile of the purchases, but not from fewer purchases than this."""

SEARCH = EVENT_CODES[EventType.SEARCH]
LOOKS = (EVENT_CODES[EventType.VIEW_ITEM], EVENT_CODES[EventType.SELECT_ITEM])
ORDER_TYPES = (PURCHASE, REFUND)

Mask = npt.NDArray[np.bool_]


@dataclasses.dataclass(frozen=True, slots=True)
class Recorded:
    """Events as they were stored, ascending by time, with marks that cleaning reads; is_bot (n,) bool."""

    NO_ITEM: ClassVar[int] = -1
    UNKNOWN_ITEM: ClassVar[int] = -2

    interactions: Interactions
    is_bot: Mask

    def __len__(self) -> int:
        return len(self.interactions)

    def take(self, rows: npt.NDArray[np.integer] | Mask) -> Recorded:
        """Return these rows, in this order."""
        return Recorded(self.interactions.take(rows), self.is_bot[rows])

    def before(self, at: float) -> Recorded:
        """Return the events with time < `at`: what could be known at that moment."""
        return self.take(np.arange(np.searchsorted(self.interactions.time, at, side="left")))


@dataclasses.dataclass(slots=True)
class CleaningReport:
    """What cleaning found: `removed` counts events by reason, capped quantities stay in."""

    n_read: int = 0
    n_clean: int = 0
    removed: dict[str, int] = dataclasses.field(default_factory=dict)
    n_quantities_capped: int = 0

    def count(self, reason: str, n: int) -> None:
        """Add n events to a reason; nothing for none."""
        if n:
            self.removed[reason] = self.removed.get(reason, 0) + int(n)


def clean(recorded: Recorded, *, now: float | None = None) -> tuple[Interactions, CleaningReport]:
    """Leave out what no shopper did, merge what is one, and let refunds cancel purchases.

    `now` in seconds since the epoch (default: the clock) tells what lies in the future. About a second for 400,000
    events. Whoever splits in time cuts first and cleans each part, for a refund reaches back to its purchase.
    """
    report = CleaningReport(n_read=len(recorded))
    latest = (time.time() if now is None else now) + CLOCK_SKEW_SECONDS
    events = recorded.interactions
    names_something = (events.item >= 0) | ((events.type == SEARCH) & (events.query >= 0))
    kept = np.ones(len(events), bool)
    for reason, fault in (
        ("bot", recorded.is_bot),
        ("future_time", ~(events.time <= latest)),
        ("unknown_item", events.item == Recorded.UNKNOWN_ITEM),
        ("neither_item_nor_query", ~names_something & (events.item != Recorded.UNKNOWN_ITEM)),
        ("quantity_not_positive", np.isin(events.type, ORDER_TYPES) & ~(events.quantity > 0)),
    ):
        report.count(reason, int((kept & fault).sum()))
        kept &= ~fault
    events = events.take(kept)
    events = _without(events, _floods(events), "view_flood", report)
    events = _without(events, _duplicates(events), "duplicate", report)
    events = _without(events, excess_claims(events), "claimed_too_often", report)
    events = _merge_order_lines(events, report)
    events = _cancel_refunded(_with_buyers(events), report)
    events = _cap_quantities(events, report)
    report.n_clean = len(events)
    return events, report


def excess_claims(events: Interactions) -> Mask:
    """Mark what one person claims of one item or query beyond `MAX_CLAIMS_PER_DAY`, the oldest first; (n,) bool.

    The day is that of receipt: neither backdating nor spreading over many days makes a claim count more.
    """
    rows = np.flatnonzero(events.claim >= 0)[::-1]
    marked = np.zeros(len(events), bool)
    if not len(rows):
        return marked
    columns = [column[rows] for column in (events.query, events.item, events.type, events.claim)]
    order = np.lexsort(columns)  # stable: within a group the newest comes first
    is_first = np.ones(len(rows), bool)
    is_first[1:] = np.any([np.diff(column[order]) != 0 for column in columns], axis=0)
    place = np.arange(len(rows))
    n_newer = place - np.maximum.accumulate(np.where(is_first, place, 0))
    marked[rows[order]] = n_newer >= MAX_CLAIMS_PER_DAY
    return marked


def _floods(events: Interactions) -> Mask:
    """Mark every look of a visitor on a day with more than `MAX_VIEWS_PER_DAY` of them; a claim's day is of receipt."""
    claim = events.claim.astype(np.int64)
    looks = np.flatnonzero(np.isin(events.type, LOOKS) & ((events.visitor >= 0) | (claim >= 0)))
    is_claim, day = claim[looks] >= 0, (events.time[looks] // DAY_SECONDS).astype(np.int64)
    _, group, count = np.unique(
        np.stack([np.where(is_claim, claim[looks], events.visitor[looks]), np.where(is_claim, -1, day)]),
        axis=1, return_inverse=True, return_counts=True,
    )  # fmt: skip
    marked = np.zeros(len(events), bool)
    marked[looks] = count[group.ravel()] > MAX_VIEWS_PER_DAY
    return marked


def _duplicates(events: Interactions) -> Mask:
    """Mark an event that repeats the one before of the same visitor, type, item and query within a second.

    Orders are left to the merging of their lines: two equal lines of an order are two goods, not one.
    """
    rows = np.flatnonzero((events.visitor >= 0) & ~np.isin(events.type, ORDER_TYPES))
    columns = [column[rows] for column in (events.time, events.query, events.item, events.type, events.visitor)]
    order = np.lexsort(columns)
    same = np.ones(max(len(rows) - 1, 0), bool)
    for column in columns[1:]:
        same &= column[order][1:] == column[order][:-1]
    same &= np.diff(columns[0][order]) <= DUPLICATE_SECONDS
    marked = np.zeros(len(events), bool)
    marked[rows[order[1:][same]]] = True
    return marked


def _merge_order_lines(events: Interactions, report: CleaningReport) -> Interactions:
    """Make one event of the lines of an order with the same item; quantities add up."""
    rows = np.flatnonzero(np.isin(events.type, ORDER_TYPES) & (events.basket >= 0))
    key = np.stack([events.basket[rows], events.item[rows], events.type[rows].astype(np.int32)])
    _, first, group = np.unique(key, axis=1, return_index=True, return_inverse=True)
    total = np.bincount(group.ravel(), weights=events.quantity[rows], minlength=len(first))
    quantity = events.quantity.copy()
    quantity[rows[first]] = total
    kept = np.ones(len(events), bool)
    kept[rows] = False
    kept[rows[first]] = True
    report.count("merged_order_line", len(rows) - len(first))
    return dataclasses.replace(events, quantity=quantity).take(kept)


def _cap_quantities(events: Interactions, report: CleaningReport) -> Interactions:
    bought = np.isin(events.type, ORDER_TYPES)
    if bought.sum() < FEWEST_TO_CAP:
        return events
    cap = np.quantile(events.quantity[bought], CAPPED_SHARE)
    report.n_quantities_capped = int((events.quantity[bought] > cap).sum())
    quantity: FloatArray = np.where(bought, np.minimum(events.quantity, cap), events.quantity).astype(np.float32)
    return dataclasses.replace(events, quantity=quantity)


def _with_buyers(events: Interactions) -> Interactions:
    """Give a refund that names nobody the visitor who bought the item in the same order."""
    key = events.basket.astype(np.int64) * (int(events.item.max(initial=0)) + 2) + events.item
    in_order = events.basket >= 0
    bought = np.flatnonzero(in_order & (events.type == PURCHASE) & (events.visitor >= 0))
    refunds = np.flatnonzero(in_order & (events.type == REFUND) & (events.visitor < 0))
    if not len(bought) or not len(refunds):
        return events
    bought = bought[np.argsort(key[bought], kind="stable")]
    match = bought[np.minimum(np.searchsorted(key[bought], key[refunds]), len(bought) - 1)]
    same = key[match] == key[refunds]
    visitor = events.visitor.copy()
    visitor[refunds[same]] = events.visitor[match[same]]
    return dataclasses.replace(events, visitor=visitor)


def _cancel_refunded(events: Interactions, report: CleaningReport) -> Interactions:
    """Take what came back off the newest purchases of the item before it; a purchase of 0 is left out.

    Of the same visitor; where nobody is known, of the same order.
    """
    buyer = np.where(events.visitor >= 0, events.visitor.astype(np.int64), -2 - events.basket.astype(np.int64))
    known = np.flatnonzero(((events.visitor >= 0) | (events.basket >= 0)) & np.isin(events.type, ORDER_TYPES))
    key = buyer[known] * (int(events.item.max(initial=0)) + 2) + events.item[known]
    quantity = events.quantity.copy()
    quantity[known] = remaining_quantities(key, events.type[known], events.quantity[known])
    cancelled = (events.type == PURCHASE) & (quantity <= 0)
    return _without(dataclasses.replace(events, quantity=quantity), cancelled, "refunded_purchase", report)


def _without(events: Interactions, fault: Mask, reason: str, report: CleaningReport) -> Interactions:
    report.count(reason, int(fault.sum()))
    return events.take(~fault) if fault.any() else events
