"""Which items go with which, as in `recommender.features.neighbours` and `recommender.features.publishing`.

Pairs of items are added up for a range of items at a time: their number grows with the square of a history, and would
otherwise fill the disk.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import ibis
import numpy as np
import numpy.typing as npt
from ibis import _
from ibis.expr import types as ir

from recommender.datasets.expressions.engine import Engine, n_rows
from recommender.datasets.expressions.events import SECOND
from recommender.datasets.expressions.words import position
from recommender.features.neighbours import (
    GAP_DECAY,
    GAPS,
    LONGEST_HISTORY,
    MOST_ITEMS,
    N_NEIGHBOURS,
    RECENT_ORDERS,
    SHRINKAGE,
    Neighbours,
    regression_of,
)

Columns = dict[str, npt.NDArray[Any]]
PAIRS_PER_STEP = 50_000_000
"""Pairs that are added up at a time: some GB in the engine."""


def incidence(engine: Engine, used: ir.Table, group: str) -> ir.Table:
    """Store (group, item, weight, who, is_new): each item of a group, by its largest weight, and whether it is among
    the `LONGEST_HISTORY` newest. who: the visitor of the newest event, and of a group without one the group itself."""
    newest = [ibis.desc("at"), ibis.desc("key")]
    events = used.filter(used[group] >= 0).select("item", "weight", "at", "key", "visitor", group=group)
    owners = events.mutate(rank=position(["group"], newest)).filter(_["rank"] == 0).select("group", "visitor")
    cells = events.group_by("group", "item").agg(weight=_.weight.max(), at=_.at.max(), key=_.key.max())
    ranked = cells.mutate(rank=position(["group"], newest)).inner_join(owners, "group")
    who = ibis.ifelse(ranked.visitor >= 0, ranked.visitor, -1 - ranked.group)
    return engine.stored(ranked.select("group", "item", "weight", who=who, is_new=ranked["rank"] < LONGEST_HISTORY))


def basket_neighbours(engine: Engine, cells: ir.Table, *, n_items: int, fewest: int) -> Neighbours:
    """As `features.neighbours.cosine_neighbours` over orders; public where `fewest` people bought both in one order."""
    neighbours, n_people = _cosine_neighbours(engine, cells, _shared_by_people, n_items=n_items)
    return dataclasses.replace(neighbours, is_public=n_people >= fewest)


def visitor_neighbours(engine: Engine, cells: ir.Table, *, n_items: int, fewest: int) -> Neighbours:
    """The same over visitors; public where `fewest` of them chose both.

    A long history counts whole for what is public, though only its newest items count for the score.
    """
    new = engine.stored(cells.filter(cells.is_new))
    neighbours, n_people = _cosine_neighbours(engine, new, _shared, n_items=n_items)
    long = cells.semi_join(cells.filter(~cells.is_new).select("group").distinct(), "group")
    if n_rows(engine, long):
        newest = long.filter(long.is_new)
        n_people = n_people + _n_groups(engine, long, neighbours) - _n_groups(engine, newest, neighbours)
    engine.drop(new)
    return dataclasses.replace(neighbours, is_public=n_people >= fewest)


def _cosine_neighbours(
    engine: Engine, cells: ir.Table, shared_by: Callable[[ir.Table, int, int], ir.Table], *, n_items: int
) -> tuple[Neighbours, npt.NDArray[np.int64]]:
    """Return the neighbours, and for each pair how many people stand behind it."""
    new = cells.filter(cells.is_new)
    norms = engine.stored(new.group_by("item").agg(norm=(_.weight * _.weight).sum().sqrt()))
    parts = []
    for first, last in _steps(engine, cells):
        shared = shared_by(cells, first, last)
        joined = shared.inner_join(norms.rename(first_norm="norm"), shared.first == norms.item).drop("item")
        joined = joined.inner_join(norms, joined.second == norms.item).drop("item")
        score = joined.total / (joined.first_norm * joined.norm + SHRINKAGE)
        parts.append(engine.columns(_best(joined.select("first", "second", "n", score=score))))
    engine.drop(norms)
    return _compressed(parts, n_items)


def regression_neighbours(engine: Engine, cells: ir.Table, *, n_items: int) -> Neighbours:
    """As `features.neighbours.regression_neighbours`: the sums of the pairs of popular items come from the engine, the
    inverse of their matrix does not fit it."""
    new = cells.filter(cells.is_new)
    sums = engine.columns(new.group_by("item").agg(total=_.weight.sum()))
    n_buyers = np.zeros(n_items)
    n_buyers[sums["item"]] = sums["total"]
    popular = np.sort(np.argsort(-n_buyers, kind="stable")[:MOST_ITEMS])
    popular = popular[n_buyers[popular] > 0].astype(np.int32)
    if not len(popular):
        return Neighbours.none(n_items)
    rows = engine.table({"item": popular.astype(np.int64), "number": np.arange(len(popular), dtype=np.int64)})
    chosen = engine.stored(new.inner_join(rows, "item").select("group", "who", "weight", "is_new", item="number"))
    gram = np.zeros((len(popular), len(popular)), np.float32)
    for first, last in _steps(engine, chosen):
        sums = _pairs(chosen, first, last).group_by("first", "second").agg(total=_.product.sum())
        pairs = engine.columns(sums)
        gram[pairs["first"], pairs["second"]] = pairs["total"]
    engine.drop(chosen)
    return regression_of(gram, popular, n_items=n_items)


def sequel_neighbours(engine: Engine, used: ir.Table, *, n_items: int) -> Neighbours:
    """As `features.neighbours.sequel_neighbours`."""
    orders = engine.stored(_orders(used))
    totals = engine.stored(orders.group_by("item").agg(total=_.weight.sum()))
    parts = []
    for first, last in _ranges(n_items, n_rows(engine, orders) * len(GAPS) * 8):
        steps = [_step(orders, gap, first, last) for gap in GAPS]
        summed = ibis.union(*steps).group_by("first", "second").agg(total=_.weight.sum(), n=_.count())
        joined = summed.inner_join(totals.rename(first_total="total"), summed.first == totals.item).drop("item")
        joined = joined.inner_join(totals.rename(second_total="total"), joined.second == totals.item).drop("item")
        scale = ((joined.first_total + 1) * (joined.second_total + 1)).sqrt()
        parts.append(engine.columns(_best(joined.select("first", "second", "n", score=joined.total / scale))))
    engine.drop(orders, totals)
    return _compressed(parts, n_items)[0]


def _pairs(cells: ir.Table, first: int, last: int) -> ir.Table:
    """Each two items of a group, also twice the same, whose first is in the range; what is not new has no product."""
    ours = cells.filter((cells.item >= first) & (cells.item < last))
    ours = ours.select("group", "who", first="item", ours=ibis.ifelse(ours.is_new, ours.weight, 0.0))
    theirs = cells.select(other="group", second="item", theirs=ibis.ifelse(cells.is_new, cells.weight, 0.0))
    return ours.inner_join(theirs, ours.group == theirs.other).mutate(product=_.ours * _.theirs)


def _shared(cells: ir.Table, first: int, last: int) -> ir.Table:
    """The sum over all groups of the products of the weights, and the number of groups."""
    pairs = _pairs(cells, first, last)
    return pairs.filter(pairs.first != pairs.second).group_by("first", "second").agg(total=_.product.sum(), n=_.count())


def _shared_by_people(cells: ir.Table, first: int, last: int) -> ir.Table:
    """The same sum, and the number of people behind the groups."""
    pairs = _pairs(cells, first, last)
    of_people = pairs.filter(pairs.first != pairs.second).group_by("first", "second", "who")
    return of_people.agg(total=_.product.sum()).group_by("first", "second").agg(total=_.total.sum(), n=_.count())


def _n_groups(engine: Engine, cells: ir.Table, neighbours: Neighbours) -> npt.NDArray[np.int64]:
    """Return for each pair of neighbours how many groups have both."""
    owner = np.repeat(np.arange(len(neighbours.start) - 1), np.diff(neighbours.start))
    number = np.arange(len(owner))
    pairs = engine.table({"number": number, "first": owner, "second": neighbours.item.astype(np.int64)})
    ours = pairs.inner_join(cells, pairs.first == cells.item).select("number", "second", "group")
    theirs = cells.select(other_group="group", other="item")
    both = ours.inner_join(theirs, (ours.group == theirs.other_group) & (ours.second == theirs.other))
    counts = engine.columns(both.group_by("number").agg(n=_.count()))
    n_groups = np.zeros(len(owner), np.int64)
    n_groups[counts["number"]] = counts["n"]
    return n_groups


def _best(scored: ir.Table) -> ir.Table:
    best = scored.filter(scored.score > 0).mutate(rank=position(["first"], [ibis.desc("score"), ibis.asc("second")]))
    return best.filter(best["rank"] < N_NEIGHBOURS).drop("rank")


def _compressed(parts: list[Columns], n_items: int) -> tuple[Neighbours, npt.NDArray[np.int64]]:
    """Put the best pairs of all steps together; return them, and `n` of each pair."""

    def whole(name: str) -> npt.NDArray[Any]:
        return np.concatenate([np.empty(0), *(part[name] for part in parts)])

    first, second, score = whole("first"), whole("second"), whole("score")
    order = np.lexsort((second, -score, first))
    start = np.concatenate(([0], np.cumsum(np.bincount(first.astype(np.int64), minlength=n_items))))
    item, score = second[order].astype(np.int32), score[order].astype(np.float32)
    return Neighbours(start.astype(np.int64), item, score), whole("n")[order].astype(np.int64)


def _steps(engine: Engine, cells: ir.Table) -> list[tuple[int, int]]:
    """Ranges of items of about `PAIRS_PER_STEP` pairs each."""
    sizes = cells.group_by("group").agg(size=_.count())
    of_item = cells.inner_join(sizes, "group").group_by("item").agg(n=_.size.sum())
    rows = engine.columns(of_item.order_by("item"))
    if not len(rows["item"]):
        return []
    step = np.cumsum(rows["n"]) // PAIRS_PER_STEP
    first = rows["item"][np.flatnonzero(np.r_[True, np.diff(step) > 0])].tolist()
    return list(zip(first, [*first[1:], int(rows["item"][-1]) + 1], strict=True))


def _ranges(n_items: int, n_pairs: int) -> list[tuple[int, int]]:
    n_steps = max(1, -(-n_pairs // PAIRS_PER_STEP))
    edges = np.linspace(0, n_items, n_steps + 1).astype(int).tolist()
    return list(pairwise(edges))


def _orders(used: ir.Table) -> ir.Table:
    """(visitor, number, n_newer, item, weight): the items of each order of a visitor. What follows each other with the
    same basket, or outside an order in the same minute, is one order."""
    events = used.filter(used.visitor >= 0)
    events = events.mutate(number=ibis.ifelse(events.basket >= 0, events.basket, -1 - events.at // (60 * SECOND)))
    in_time = ibis.window(group_by="visitor", order_by=["at", "key"])
    before = events.number.lag().over(in_time)
    events = events.mutate(is_first=ibis.ifelse(before.isnull() | (before != events.number), 1, 0))
    until_here = ibis.window(group_by="visitor", order_by=["at", "key"], preceding=None, following=0)
    events = events.mutate(rank=events.is_first.sum().over(until_here))
    events = events.mutate(n_newer=events["rank"].max().over(ibis.window(group_by="visitor")) - events["rank"])
    return events.group_by("visitor", "rank", "n_newer", "item").agg(weight=_.person.max())


def _step(orders: ir.Table, gap: int, first: int, last: int) -> ir.Table:
    """What was bought `gap` orders later, as much as the person counts."""
    is_recent = (orders.n_newer >= gap) & (orders.n_newer <= RECENT_ORDERS)
    earlier = orders.filter(is_recent & (orders.item >= first) & (orders.item < last))
    earlier = earlier.select(who="visitor", then=earlier["rank"] + gap, first="item", ours="weight")
    pairs = earlier.inner_join(orders, (earlier.who == orders.visitor) & (earlier.then == orders["rank"]))
    return pairs.select("first", second=pairs.item, weight=pairs.ours * pairs.weight * GAP_DECAY ** (gap - 1))
