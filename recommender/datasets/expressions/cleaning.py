"""Cleaning as in `recommender.datasets.cleaning`, which has the reasons: the same steps, and the same counts."""

from __future__ import annotations

from collections.abc import Sequence

import ibis
import numpy as np
from ibis import _
from ibis.expr import types as ir

from recommender.datasets.cleaning import (
    CAPPED_SHARE,
    CLOCK_SKEW_SECONDS,
    DUPLICATE_SECONDS,
    FEWEST_TO_CAP,
    LOOKS,
    MAX_CLAIMS_PER_DAY,
    MAX_VIEWS_PER_DAY,
    ORDER_TYPES,
    SEARCH,
    CleaningReport,
)
from recommender.datasets.expressions.credibility import without_excess
from recommender.datasets.expressions.engine import Engine, n_rows
from recommender.datasets.expressions.events import DAY, SECOND, UNKNOWN_ITEM
from recommender.datasets.expressions.words import position
from recommender.features.returns import PURCHASE, REFUND, remaining_quantities

COLUMNS = ("key", "visitor", "item", "type", "at", "quantity", "basket", "query", "subject", "claim", "day")


def cleaned(
    engine: Engine, events: ir.Table, subjects: Sequence[str], *, now: float
) -> tuple[ir.Table, CleaningReport]:
    """Store the events that shoppers caused, and count what was left out by reason."""
    report = CleaningReport()
    clean = _without_faults(engine, events, report, latest=now + CLOCK_SKEW_SECONDS)
    for reason, step in (
        ("view_flood", _without_floods),
        ("duplicate", _without_duplicates),
        ("claimed_too_often", _without_repeated_claims),
    ):
        clean = _step(engine, clean, engine.stored(step(clean)), reason, report)
    fewer, report.bursts = without_excess(engine, clean, subjects)
    clean = _step(engine, clean, fewer, "burst", report)
    clean = _step(engine, clean, engine.stored(_with_merged_lines(clean)), "merged_order_line", report)
    clean = _step(engine, clean, _without_refunded(engine, _with_buyers(clean)), "refunded_purchase", report)
    clean = _capped(engine, clean, report)
    report.n_clean = n_rows(engine, clean)
    return clean, report


def _step(engine: Engine, before: ir.Table, after: ir.Table, reason: str, report: CleaningReport) -> ir.Table:
    report.count(reason, n_rows(engine, before) - n_rows(engine, after))
    engine.drop(before)
    return after


def _without_faults(engine: Engine, events: ir.Table, report: CleaningReport, *, latest: float) -> ir.Table:
    """The faults that each event shows by itself, in one pass; the first that applies is the one that counts."""
    is_search = (events.type == SEARCH) & (events.query >= 0)
    fault = ibis.cases(
        (events.is_bot, "bot"),
        (events.at > int(latest * SECOND), "future_time"),
        (events.item == UNKNOWN_ITEM, "unknown_item"),
        ((events.item < 0) & ~is_search, "neither_item_nor_query"),
        (events.type.isin(ORDER_TYPES) & ~(events.quantity > 0), "quantity_not_positive"),
        else_="",
    )
    judged = events.mutate(fault=fault)
    counts = engine.columns(judged.group_by("fault").agg(n=_.count()))
    for reason, n in zip(counts["fault"].tolist(), counts["n"].tolist(), strict=True):
        report.n_read += n
        if reason:
            report.count(reason, n)
    return engine.stored(judged.filter(judged.fault == "").select(*COLUMNS))


def _without_floods(events: ir.Table) -> ir.Table:
    """As `cleaning._floods`."""
    looks = events.filter(events.type.isin(LOOKS) & ((events.visitor >= 0) | (events.claim >= 0)))
    is_claim = looks.claim >= 0
    looks = looks.mutate(
        who=ibis.ifelse(is_claim, looks.claim, looks.visitor),
        on=ibis.ifelse(is_claim, -1, looks.at // DAY).cast("int64"),
    )
    floods = looks.group_by("who", "on").agg(n=_.count()).filter(_.n > MAX_VIEWS_PER_DAY)
    return events.anti_join(looks.semi_join(floods, ["who", "on"]).select("key"), "key")


def _without_duplicates(events: ir.Table) -> ir.Table:
    """As `cleaning._duplicates`."""
    within = ibis.window(group_by=["visitor", "type", "item", "query"], order_by=["at", "key"])
    since = events.at - events.at.lag().over(within)
    is_repeated = (events.visitor >= 0) & ~events.type.isin(ORDER_TYPES) & (since <= int(DUPLICATE_SECONDS * SECOND))
    judged = events.mutate(is_repeated=ibis.coalesce(is_repeated, False))
    return judged.filter(~judged.is_repeated).drop("is_repeated")


def _without_repeated_claims(events: ir.Table) -> ir.Table:
    """As `cleaning.excess_claims`: the newest of each person, item, query and type stay."""
    newest = [ibis.desc("at"), ibis.desc("key")]
    judged = events.mutate(n_newer=position(["claim", "type", "item", "query"], newest))
    return judged.filter((judged.claim < 0) | (judged.n_newer < MAX_CLAIMS_PER_DAY)).drop("n_newer")


def _with_merged_lines(events: ir.Table) -> ir.Table:
    """As `cleaning._merge_order_lines`."""
    is_line = events.type.isin(ORDER_TYPES) & (events.basket >= 0)
    lines, group = events.filter(is_line), ["basket", "item", "type"]
    lines = lines.mutate(
        number=position(group, [ibis.asc("at"), ibis.asc("key")]),
        quantity=lines.quantity.sum().over(ibis.window(group_by=group)),
    )
    first = lines.filter(lines.number == 0).select(*COLUMNS)
    return events.filter(~is_line).select(*COLUMNS).union(first)


def _with_buyers(events: ir.Table) -> ir.Table:
    """As `cleaning._with_buyers`. After lines were merged, an order has one purchase of an item."""
    bought = events.filter((events.basket >= 0) & (events.type == PURCHASE) & (events.visitor >= 0))
    buyers = bought.select("basket", "item", buyer="visitor")
    joined = events.left_join(buyers, ["basket", "item"]).drop("basket_right", "item_right")
    is_nobodys = (joined.basket >= 0) & (joined.type == REFUND) & (joined.visitor < 0)
    return joined.mutate(
        visitor=ibis.ifelse(is_nobodys, ibis.coalesce(joined.buyer, joined.visitor), joined.visitor)
    ).select(*COLUMNS)


def _without_refunded(engine: Engine, events: ir.Table) -> ir.Table:
    """As `cleaning._cancel_refunded`. Only what was ever refunded leaves the engine: "the newest purchase first" goes
    from order to order, and refunds are few."""
    events = engine.stored(events)
    orders = events.filter(((events.visitor >= 0) | (events.basket >= 0)) & events.type.isin(ORDER_TYPES))
    orders = orders.mutate(buyer=ibis.ifelse(orders.visitor >= 0, orders.visitor, -2 - orders.basket))
    refunds = orders.filter(orders.type == REFUND).select("buyer", "item").distinct()
    rows = engine.columns(
        orders.semi_join(refunds, ["buyer", "item"])
        .order_by("at", "key")
        .select("key", "buyer", "item", "type", "quantity")
    )
    _buyer, group = np.unique(rows["buyer"], return_inverse=True)
    number = group.astype(np.int64) * (int(rows["item"].max(initial=0)) + 2) + rows["item"]
    left = remaining_quantities(number, rows["type"].astype(np.int8), rows["quantity"].astype(np.float32))
    changed = engine.table({"key": rows["key"].astype(np.int64), "left": left.astype(np.float64)})
    joined = events.left_join(changed, "key").drop("key_right")
    joined = joined.mutate(quantity=ibis.coalesce(joined.left, joined.quantity))
    return engine.stored(joined.filter(~((joined.type == PURCHASE) & (joined.quantity <= 0))).select(*COLUMNS))


def _capped(engine: Engine, events: ir.Table, report: CleaningReport) -> ir.Table:
    """As `cleaning._cap_quantities`: the quantile of the distinct quantities, each as often as it was bought."""
    bought = events.filter(events.type.isin(ORDER_TYPES))
    counts = engine.columns(bought.group_by("quantity").agg(n=_.count()).order_by("quantity"))
    if counts["n"].sum() < FEWEST_TO_CAP:
        return events
    cap = _quantile(counts["quantity"], counts["n"])
    report.n_quantities_capped = int(counts["n"][counts["quantity"] > cap].sum())
    is_beyond = events.type.isin(ORDER_TYPES) & (events.quantity > cap)
    return events.mutate(quantity=ibis.ifelse(is_beyond, cap, events.quantity))


def _quantile(values: np.ndarray, counts: np.ndarray) -> float:
    """The quantile `CAPPED_SHARE` of values, each `counts` times, ascending; linear between two."""
    position_of = CAPPED_SHARE * (counts.sum() - 1)
    last = np.cumsum(counts) - 1
    below, above = (values[np.searchsorted(last, edge)] for edge in (np.floor(position_of), np.ceil(position_of)))
    return float(below + (above - below) * (position_of - np.floor(position_of)))
