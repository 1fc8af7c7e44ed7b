"""Clean recorded events: leave out what no shopper did, merge repetitions, take off refunds, and count why. No SQL."""

from __future__ import annotations

import dataclasses
import time
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from recommender.durations import DAY_SECONDS
from recommender.features.credibility import Burst, control
from recommender.features.returns import PURCHASE, REFUND, remaining_quantities
from recommender.tables import Interactions
from recommender.types import EVENT_CODES, EventType, FloatArray

CLOCK_SKEW_SECONDS = 300.0
"""How far ahead a client's clock may be: the tolerance of signed cloud requests."""

DUPLICATE_SECONDS = 1.0
"""The same event of the same visitor within a second is a double click or was sent twice."""

MAX_VIEWS_PER_DAY = 500
"""No shopper looks at more items on one day: it would be one a minute, all day and all evening."""

MAX_CLAIMS_PER_DAY = 5
"""Events of one type that one person may claim of one item or query per day of receipt: more than a shopper needs. In
popularity they count as one event anyhow (`shop_state.build_state`)."""

CAPPED_SHARE = 0.999
FEWEST_TO_CAP = 1_000
"""Quantities are winsorised at this quantile of the purchases, if there are at least so many."""

SEARCH = EVENT_CODES[EventType.SEARCH]
LOOKS = (EVENT_CODES[EventType.VIEW_ITEM], EVENT_CODES[EventType.SELECT_ITEM])
ORDER_TYPES = (PURCHASE, REFUND)

Mask = npt.NDArray[np.bool_]


@dataclasses.dataclass(frozen=True, slots=True)
class Recorded:
    """Events as they were stored, ascending by time; is_bot (n,) bool marks those of bots."""

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
        """Return the events with time < `at`."""
        return self.take(np.arange(np.searchsorted(self.interactions.time, at, side="left")))


@dataclasses.dataclass(slots=True)
class CleaningReport:
    """What cleaning did: `removed` counts the events left out by reason; events with a capped quantity stay.

    bursts: of items and queries that far more people claim than the orders make likely.
    """

    n_read: int = 0
    n_clean: int = 0
    removed: dict[str, int] = dataclasses.field(default_factory=dict)
    n_quantities_capped: int = 0
    bursts: tuple[Burst, ...] = ()

    def count(self, reason: str, n: int) -> None:
        """Add n events to a reason."""
        if n:
            self.removed[reason] = self.removed.get(reason, 0) + int(n)


def clean(recorded: Recorded, *, now: float | None = None) -> tuple[Interactions, CleaningReport]:
    """Leave out what no shopper did, merge repetitions, and take refunds off purchases.

    `now` in seconds since the epoch (default: the clock) is where the future begins. About a second for 400,000 events.
    To split in time, cut first and clean each part: a refund changes the purchase before it.
    """
    report = CleaningReport(n_read=len(recorded))
    latest = (time.time() if now is None else now) + CLOCK_SKEW_SECONDS
    events = recorded.interactions
    has_subject = (events.item >= 0) | ((events.type == SEARCH) & (events.query >= 0))
    is_clean = np.ones(len(events), bool)
    for reason, is_faulty in (
        ("bot", recorded.is_bot),
        ("future_time", ~(events.time <= latest)),
        ("unknown_item", events.item == Recorded.UNKNOWN_ITEM),
        ("neither_item_nor_query", ~has_subject & (events.item != Recorded.UNKNOWN_ITEM)),
        ("quantity_not_positive", np.isin(events.type, ORDER_TYPES) & ~(events.quantity > 0)),
    ):
        report.count(reason, int((is_clean & is_faulty).sum()))
        is_clean &= ~is_faulty
    events = events.take(is_clean)
    events = _without(events, _floods(events), "view_flood", report)
    events = _without(events, _duplicates(events), "duplicate", report)
    events = _without(events, excess_claims(events), "claimed_too_often", report)
    controlled = control(events)
    report.bursts = controlled.bursts
    events = _without(events, controlled.is_excess, "burst", report)
    events = _merge_order_lines(events, report)
    events = _cancel_refunded(_with_buyers(events), report)
    events = _cap_quantities(events, report)
    report.n_clean = len(events)
    return events, report


def excess_claims(events: Interactions) -> Mask:
    """Mark, (n,), the claims of one person about one item or query beyond the newest `MAX_CLAIMS_PER_DAY` of each type.

    Days are days of receipt: neither backdating nor spreading over many days makes a claim count more.
    """
    rows = np.flatnonzero(events.claim >= 0)[::-1]
    marked = np.zeros(len(events), bool)
    if not len(rows):
        return marked
    columns = [column[rows] for column in (events.query, events.item, events.type, events.claim)]
    order = np.lexsort(columns)  # stable: within a group the newest comes first
    is_first = np.ones(len(rows), bool)
    is_first[1:] = np.any([np.diff(column[order]) != 0 for column in columns], axis=0)
    position = np.arange(len(rows))
    n_newer = position - np.maximum.accumulate(np.where(is_first, position, 0))
    marked[rows[order]] = n_newer >= MAX_CLAIMS_PER_DAY
    return marked


def _floods(events: Interactions) -> Mask:
    """Mark all looks of a visitor on a day with more than `MAX_VIEWS_PER_DAY`; of claims the day of receipt counts."""
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
    """Mark events that repeat one of the same visitor, type, item and query within `DUPLICATE_SECONDS`.

    Not of orders: two equal lines of an order are two units, which `_merge_order_lines` adds up.
    """
    rows = np.flatnonzero((events.visitor >= 0) & ~np.isin(events.type, ORDER_TYPES))
    columns = [column[rows] for column in (events.time, events.query, events.item, events.type, events.visitor)]
    order = np.lexsort(columns)
    is_same = np.diff(columns[0][order]) <= DUPLICATE_SECONDS
    for column in columns[1:]:
        is_same &= np.diff(column[order]) == 0
    marked = np.zeros(len(events), bool)
    marked[rows[order[1:][is_same]]] = True
    return marked


def _merge_order_lines(events: Interactions, report: CleaningReport) -> Interactions:
    """Merge the lines of an order with the same item into one event; quantities add up."""
    rows = np.flatnonzero(np.isin(events.type, ORDER_TYPES) & (events.basket >= 0))
    key = np.stack([events.basket[rows], events.item[rows], events.type[rows].astype(np.int32)])
    _, first, group = np.unique(key, axis=1, return_index=True, return_inverse=True)
    total = np.bincount(group.ravel(), weights=events.quantity[rows], minlength=len(first))
    quantity = events.quantity.copy()
    quantity[rows[first]] = total
    is_left = np.ones(len(events), bool)
    is_left[rows] = False
    is_left[rows[first]] = True
    report.count("merged_order_line", len(rows) - len(first))
    return dataclasses.replace(events, quantity=quantity).take(is_left)


def _cap_quantities(events: Interactions, report: CleaningReport) -> Interactions:
    bought = np.isin(events.type, ORDER_TYPES)
    if bought.sum() < FEWEST_TO_CAP:
        return events
    cap = np.quantile(events.quantity[bought], CAPPED_SHARE)
    report.n_quantities_capped = int((events.quantity[bought] > cap).sum())
    quantity: FloatArray = np.where(bought, np.minimum(events.quantity, cap), events.quantity).astype(np.float32)
    return dataclasses.replace(events, quantity=quantity)


def _with_buyers(events: Interactions) -> Interactions:
    """Give an anonymous refund the visitor who bought the item in the same order."""
    key = events.basket.astype(np.int64) * (int(events.item.max(initial=0)) + 2) + events.item
    in_order = events.basket >= 0
    bought = np.flatnonzero(in_order & (events.type == PURCHASE) & (events.visitor >= 0))
    refunds = np.flatnonzero(in_order & (events.type == REFUND) & (events.visitor < 0))
    if not len(bought) or not len(refunds):
        return events
    bought = bought[np.argsort(key[bought], kind="stable")]
    match = bought[np.minimum(np.searchsorted(key[bought], key[refunds]), len(bought) - 1)]
    is_found = key[match] == key[refunds]
    visitor = events.visitor.copy()
    visitor[refunds[is_found]] = events.visitor[match[is_found]]
    return dataclasses.replace(events, visitor=visitor)


def _cancel_refunded(events: Interactions, report: CleaningReport) -> Interactions:
    """Take refunds off earlier purchases of the same visitor, or of the same order if anonymous (see `returns`).

    Purchases of which nothing is left are dropped.
    """
    buyer = np.where(events.visitor >= 0, events.visitor.astype(np.int64), -2 - events.basket.astype(np.int64))
    rows = np.flatnonzero(((events.visitor >= 0) | (events.basket >= 0)) & np.isin(events.type, ORDER_TYPES))
    key = buyer[rows] * (int(events.item.max(initial=0)) + 2) + events.item[rows]
    quantity = events.quantity.copy()
    quantity[rows] = remaining_quantities(key, events.type[rows], events.quantity[rows])
    cancelled = (events.type == PURCHASE) & (quantity <= 0)
    return _without(dataclasses.replace(events, quantity=quantity), cancelled, "refunded_purchase", report)


def _without(events: Interactions, is_faulty: Mask, reason: str, report: CleaningReport) -> Interactions:
    report.count(reason, int(is_faulty.sum()))
    return events.take(~is_faulty) if is_faulty.any() else events
