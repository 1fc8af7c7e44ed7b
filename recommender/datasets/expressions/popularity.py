"""How often and when items were wanted, as in `recommender.features.shop_state.build_state`."""

from __future__ import annotations

from dataclasses import dataclass

import ibis
import numpy as np
from ibis import _
from ibis.expr import types as ir

from recommender.datasets.expressions.credibility import with_weights
from recommender.datasets.expressions.engine import Engine
from recommender.datasets.expressions.events import DAY, SECOND
from recommender.datasets.expressions.words import coded_by, position
from recommender.features.shop_state import COUNT_DAYS
from recommender.features.weights import EVENT_WEIGHTS
from recommender.types import FloatArray, TimeArray


@dataclass(frozen=True, slots=True)
class Popularity:
    """Columns of a `ShopState`: counts (n_items, 4) float32; last_event_at and first_event_at (n_items,) float64."""

    counts: FloatArray
    last_event_at: TimeArray
    first_event_at: TimeArray


def wanted(engine: Engine, clean: ir.Table, *, at: float) -> ir.Table:
    """Store the events before `at` that speak for an item, with their `weight`, that of their `person`, and whether
    they say when an item was last wanted."""
    before = with_weights(engine, clean.filter(clean.at < int(at * SECOND)))
    of_type = coded_by(before.type, EVENT_WEIGHTS)
    used = before.mutate(weight=of_type * before.person).filter((before.item >= 0) & (of_type > 0))
    return engine.stored(
        used.select("key", "visitor", "item", "type", "at", "basket", "claim", "person", "weight", "is_trusted")
    )


def popularity(engine: Engine, clean: ir.Table, used: ir.Table, *, n_items: int, at: float) -> Popularity:
    """Count the used events of each item; `first_event_at` is that of any event of `clean`."""
    strongest = [ibis.desc("weight"), ibis.desc("at"), ibis.desc("key")]
    ranked = used.mutate(rank=position(["claim", "item"], strongest))
    counted = ibis.ifelse((ranked.claim < 0) | (ranked.rank == 0), ranked.weight, 0.0)
    moment = int(at * SECOND)
    windows = {
        f"within_{days}": ibis.ifelse(ranked.at >= moment - days * DAY, counted, 0.0).sum() for days in COUNT_DAYS
    }
    rows = engine.columns(
        ranked.group_by("item").agg(**windows, ever=counted.sum(), last=ranked.at.max(where=ranked.is_trusted))
    )
    counts = np.zeros((n_items, len(COUNT_DAYS) + 1), np.float32)
    names = [*windows, "ever"]
    counts[rows["item"]] = np.stack([rows[name] for name in names], axis=1) if len(rows["item"]) else 0
    before = clean.filter((clean.item >= 0) & (clean.at < moment)).group_by("item").agg(first=_.at.min())
    first = engine.columns(before)
    last_event_at = _moments(rows["item"], rows["last"], n_items, -np.inf)
    return Popularity(counts, last_event_at, _moments(first["item"], first["first"], n_items, np.inf))


def _moments(item: np.ndarray, at: np.ndarray, n_items: int, never: float) -> TimeArray:
    moments = np.full(n_items, never)
    moments[item] = np.where(at > 0, at / SECOND, never)
    return moments
