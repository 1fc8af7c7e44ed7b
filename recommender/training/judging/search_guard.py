"""The search guard: does the fine-tuned encoder still find known items? The queries are synthetic, made from titles."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence

import numpy as np

from recommender import pipeline
from recommender.ml import metrics
from recommender.ml.encoder.pairs import known_items
from recommender.ml.processes import shared_out
from recommender.ml.progress import UNWATCHED, Progress
from recommender.runs.figures import SearchFigures, SearchQuality
from recommender.serving import Served
from recommender.tables import ItemTable
from recommender.training.judging.evaluation import mean, paired_gain
from recommender.types import Context, Request, Slot

N_QUERIES = 600
N_LISTED = 10


def search_figures(
    searchers: Mapping[str, Served],
    items: ItemTable,
    *,
    at: float,
    seed: int,
    n: int = 1,
    progress: Progress = UNWATCHED,
) -> SearchFigures:
    """MRR and recall at 10 of the item whose title each query was made from, by the search that a page would use.

    `n` processes take a part of the queries each.

    searchers: "tuned", "untuned", perhaps "lexical", and "champion" where what serves now is trained -> what they
    search in, rows as in `items`.
    """
    queries, truths = _queries(items, seed=seed)
    answers = _answers(searchers, queries, Context(dt.datetime.fromtimestamp(at, dt.UTC)), n=n, progress=progress)
    quality: dict[str, SearchQuality] = {}
    ranks: dict[str, list[float]] = {}
    for name in searchers:
        pairs = list(zip(answers[name], truths, strict=True))
        ranks[name] = [metrics.reciprocal_rank(ranked, truth) for ranked, truth in pairs]
        hits = [float(any(row in truth for row in ranked)) for ranked, truth in pairs]
        quality[name] = SearchQuality(mean(ranks[name]), mean(hits))
    return SearchFigures(
        n_queries=len(queries),
        tuned=quality["tuned"],
        untuned=quality["untuned"],
        lexical=quality.get("lexical"),
        champion=quality.get("champion"),
        interval=paired_gain(ranks["tuned"], ranks.get("champion", ranks["untuned"]), seed=seed),
    )


def _queries(items: ItemTable, *, seed: int) -> tuple[list[str], list[set[int]]]:
    """Queries with the rows that each may find: items of equal text are one."""
    active = np.flatnonzero(items.active)
    texts = [items.texts[row] for row in active]
    alike: dict[str, set[int]] = {}
    for row, text in zip(active.tolist(), texts, strict=True):
        alike.setdefault(text, set()).add(row)
    queries, rows = known_items(texts, N_QUERIES, seed=seed)
    return queries, [alike[texts[row]] for row in rows]


def _answers(
    searchers: Mapping[str, Served], queries: Sequence[str], context: Context, *, n: int, progress: Progress
) -> dict[str, list[list[int]]]:
    """By searcher, the rows that it lists for each query."""

    def answer(part: Sequence[str], progress: Progress) -> dict[str, list[list[int]]]:
        lists: dict[str, list[list[int]]] = {name: [] for name in searchers}
        for done, query in enumerate(part, 1):
            for name, served in searchers.items():
                lists[name].append(_ranked(query, served, context))
            progress.step(done, len(part))
        return lists

    size = max(1, -(-len(queries) // n))
    parts = [queries[start : start + size] for start in range(0, len(queries), size)]
    answers = shared_out(answer, parts, n=n, progress=progress)
    return {name: [ranked for part in answers for ranked in part[name]] for name in searchers}


def _ranked(query: str, served: Served, context: Context) -> list[int]:
    ranking = pipeline.rank(Request(Slot.SEARCH, context, query=query, limit=N_LISTED), served=served)
    return [served.shelf.index[entry.item_id] for entry in ranking.entries]
