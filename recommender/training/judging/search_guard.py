"""Titles in, the quality of search by known-item queries out. The queries are synthetic, and the figures say so."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

import numpy as np

from recommender import pipeline
from recommender.ml import metrics
from recommender.ml.encoder.pairs import known_items
from recommender.serving import Served
from recommender.tables import ItemTable
from recommender.types import Context, Request, Slot

N_QUERIES = 600
N_LISTED = 10


def search_figures(searchers: Mapping[str, Served], items: ItemTable, *, at: float, seed: int) -> dict[str, Any]:
    """MRR and recall at 10 of the item whose title each query was made from, by the search that a page would use.

    searchers: "tuned" (or "kept"), "untuned", "lexical" -> what they search in, rows as in `items`. "interval" is that
    of the first one's gain in MRR over the untuned, as low, mean, high.
    """
    queries, truths = _queries(items, seed=seed)
    context = Context(dt.datetime.fromtimestamp(at, dt.UTC))
    figures: dict[str, Any] = {"n_queries": len(queries)}
    ranks: dict[str, list[float]] = {}
    for name, served in searchers.items():
        lists = [_found(query, served, context) for query in queries]
        pairs = list(zip(lists, truths, strict=True))
        ranks[name] = [metrics.reciprocal_rank(found, truth) for found, truth in pairs]
        figures[name] = {
            "mrr": _mean(ranks[name]),
            "recall": _mean([float(any(row in truth for row in found)) for found, truth in pairs]),
        }
    gain = metrics.paired_bootstrap(next(iter(ranks.values())), ranks["untuned"], seed=seed)
    return {**figures, "interval": [gain.lower, gain.mean, gain.upper]}


def search_gain(figures: Mapping[str, Any]) -> float:
    """How much MRR the encoder that is kept finds more than the untuned one."""
    kept = figures.get("kept_mrr", figures["tuned"]["mrr"])
    return float(kept - figures["untuned"]["mrr"])


def _queries(items: ItemTable, *, seed: int) -> tuple[list[str], list[set[int]]]:
    """Queries with the rows that they name: items of equal text are one."""
    shown = np.flatnonzero(items.active)
    alike: dict[str, set[int]] = {}
    for row in shown.tolist():
        alike.setdefault(items.texts[row], set()).add(row)
    queries, places = known_items([items.texts[row] for row in shown], N_QUERIES, seed=seed)
    return queries, [alike[items.texts[shown[place]]] for place in places]


def _found(query: str, served: Served, context: Context) -> list[int]:
    ranking = pipeline.rank(Request(Slot.SEARCH, context, query=query, limit=N_LISTED), served=served)
    return [served.shelf.index[entry.item_id] for entry in ranking.entries]


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else 0.0
