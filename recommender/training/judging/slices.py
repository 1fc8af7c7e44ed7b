"""Slices of the test that an average would hide: first-time visitors, new items, and queries by their frequency."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recommender import pipeline
from recommender.durations import SESSION_SECONDS
from recommender.features.shop_state import ShopState
from recommender.ml import metrics
from recommender.ml.histories import Histories
from recommender.runs.comparisons import CHAMPION, RANKER
from recommender.serving import Served
from recommender.text.query import encoder_text
from recommender.training.judging.evaluation import N_LISTED, K, Results, active_visitors, wanted_type
from recommender.training.split import Split
from recommender.types import EVENT_CODES, Context, EventType, Relaxation, Request, Slot

MOST_QUERIES = 150
"""Of each slice: two rankers answer 450 of them in about five seconds."""

PARTS = ("head", "torso", "tail")
SEARCH = EVENT_CODES[EventType.SEARCH]


@dataclass(frozen=True, slots=True)
class Paired:
    """Quality of the ranker and of the champion on the same cases, in the same order."""

    ours: Sequence[float]
    theirs: Sequence[float]


@dataclass(frozen=True, slots=True)
class SearchCase:
    """A query of the test window, what was wanted after it, and whether it was frequent before: head, torso or tail."""

    query: str
    truth: frozenset[int]
    part: str


def cold_visitors(split: Split, served: Served, champion: Served) -> Paired:
    """NDCG@10 for visitors of the window without a weighted event before it: all get the list of an empty history."""
    whole = split.whole
    is_wanted = (whole.time >= split.test_start) & (whole.type == EVENT_CODES[wanted_type(split)])
    later = np.flatnonzero(is_wanted & (whole.visitor >= 0) & (whole.item >= 0))
    is_first_visit = ~np.isin(whole.visitor[later], active_visitors(split.past))
    later = later[is_first_visit & split.items.active[whole.item[later]]]
    truths: dict[int, set[int]] = {}
    for visitor, item in zip(whole.visitor[later].tolist(), whole.item[later].tolist(), strict=True):
        truths.setdefault(visitor, set()).add(item)
    request = Request(Slot.HOME, Context(dt.datetime.fromtimestamp(split.test_start, dt.UTC)), limit=N_LISTED)
    lists = [_rows(request, ranker) for ranker in (served, champion)]
    return Paired(*([metrics.ndcg_at_k(ranked, truth, K) for truth in truths.values()] for ranked in lists))


def cold_items(results: Results, state: ShopState) -> Paired:
    """Recall in the first 20 of the wanted items that had no event before the test, for visitors who wanted one."""
    cold = frozenset(np.flatnonzero(state.counts[:, 3] == 0).tolist())
    truths = results.truths["all"]

    def recalls(name: str) -> list[float]:
        pairs = zip(results.lists["all"][name], truths, strict=True)
        return [metrics.recall_at_k(ranked, truth & cold, N_LISTED) for ranked, truth in pairs if truth & cold]

    return Paired(recalls(RANKER), recalls(CHAMPION))


def search_cases(split: Split, *, seed: int) -> list[SearchCase]:
    """Queries of the test window after which something was wanted, at most `MOST_QUERIES` of each part."""
    whole, histories = split.whole, Histories(split.whole)
    wanted, part_of = EVENT_CODES[wanted_type(split)], _parts(split)
    queries: dict[str, list[SearchCase]] = {part: [] for part in PARTS}
    searches = np.flatnonzero((whole.type == SEARCH) & (whole.time >= split.test_start) & (whole.visitor >= 0))
    for row in np.random.default_rng(seed).permutation(searches).tolist():
        query, at = whole.queries[whole.query[row]], float(whole.time[row])
        after = histories.between(int(whole.visitor[row]), at, min(at + SESSION_SECONDS, split.test_end))
        items = whole.item[after[whole.type[after] == wanted]]
        truth = frozenset(items[split.items.active[items]].tolist())
        part = part_of.get(encoder_text(query), "tail")
        if truth and len(queries[part]) < MOST_QUERIES:
            queries[part].append(SearchCase(query, truth, part))
    return [query for part in queries.values() for query in part]


def answers(queries: Sequence[SearchCase], served: Served, *, at: float) -> tuple[list[float], list[float]]:
    """Return NDCG@10 of each query, and 1 for each without results, by the search that a page would use.

    A page filled up with bestsellers counts as no result.
    """
    context = Context(dt.datetime.fromtimestamp(at, dt.UTC))
    quality, is_empty = [], []
    for query in queries:
        ranking = pipeline.rank(Request(Slot.SEARCH, context, query=query.query, limit=K), served=served)
        ranked = [served.shelf.index[entry.item_id] for entry in ranking.entries]
        has_no_result = not ranked or ranking.relaxed is Relaxation.POPULAR
        quality.append(0.0 if has_no_result else metrics.ndcg_at_k(ranked, query.truth, K))
        is_empty.append(float(has_no_result))
    return quality, is_empty


def _parts(split: Split) -> dict[str, str]:
    """Head: the most frequent queries that make up a third of the searches before the test; torso: the next third."""
    past = split.past
    earlier = past.query[(past.type == SEARCH) & (past.query >= 0)].tolist()
    counts = Counter(encoder_text(past.queries[row]) for row in earlier).most_common()
    part_of, n_before, total = {}, 0, sum(n for _, n in counts)
    for query, n in counts:
        part_of[query] = PARTS[min(2, 3 * n_before // total)]
        n_before += n
    return part_of


def _rows(request: Request, served: Served) -> list[int]:
    return [served.shelf.index[entry.item_id] for entry in pipeline.rank(request, served=served).entries]
