"""A bench and two rankers in, how each serves where little is known out: cold visitors, cold items, queries."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recommender import pipeline
from recommender.durations import SESSION_SECONDS
from recommender.features.shop_state import ShopState
from recommender.features.weights import EVENT_WEIGHTS
from recommender.ml import metrics
from recommender.ml.head.examples import Histories
from recommender.serving import Served
from recommender.text.query import encoder_text
from recommender.training.judging.evaluation import N_LISTED, K, Results, wanted_type
from recommender.training.judging.gate import CHAMPION, RANKER
from recommender.training.split import Split
from recommender.types import EVENT_CODES, Context, EventType, Relaxation, Request, Slot

MOST_QUERIES = 150
"""Of one slice: two rankers answer 450 of them in about five seconds."""

SEARCH = EVENT_CODES[EventType.SEARCH]


@dataclass(frozen=True, slots=True)
class Paired:
    """Quality of the ranker and of the champion on the same cases, in the same order."""

    ours: Sequence[float]
    theirs: Sequence[float]


@dataclass(frozen=True, slots=True)
class Asked:
    """A query of the test window, what was wanted after it, and how often it was asked before: head, torso or tail."""

    query: str
    truth: frozenset[int]
    slice: str


def cold_visitors(split: Split, served: Served, champion: Served) -> Paired:
    """NDCG@10 for visitors of the window who had no telling event before it: all get the list of an empty history."""
    whole, past = split.whole, split.past
    told = past.visitor[(past.visitor >= 0) & (past.item >= 0) & (EVENT_WEIGHTS[past.type] > 0)]
    is_wanted = (whole.time >= split.test_start) & (whole.type == EVENT_CODES[wanted_type(split)])
    later = np.flatnonzero(is_wanted & (whole.visitor >= 0) & (whole.item >= 0))
    later = later[~np.isin(whole.visitor[later], told) & split.items.active[whole.item[later]]]
    truths: dict[int, set[int]] = {}
    for visitor, item in zip(whole.visitor[later].tolist(), whole.item[later].tolist(), strict=True):
        truths.setdefault(visitor, set()).add(item)
    request = Request(Slot.HOME, Context(dt.datetime.fromtimestamp(split.test_start, dt.UTC)), limit=N_LISTED)
    lists = [_rows(request, one) for one in (served, champion)]
    ours, theirs = ([metrics.ndcg_at_k(found, truth, K) for truth in truths.values()] for found in lists)
    return Paired(ours, theirs)


def cold_items(results: Results, state: ShopState) -> Paired:
    """Recall in the first 20 of what was wanted and had no event before the test, for whom that happened."""
    cold = frozenset(np.flatnonzero(state.counts[:, 3] == 0).tolist())
    truths = results.truths["all"]

    def recalls(name: str) -> list[float]:
        pairs = zip(results.lists["all"][name], truths, strict=True)
        return [metrics.recall_at_k(found, truth & cold, N_LISTED) for found, truth in pairs if truth & cold]

    return Paired(recalls(RANKER), recalls(CHAMPION))


def asked(split: Split, *, seed: int) -> list[Asked]:
    """Queries of the test window that somebody got an answer to, at most `MOST_QUERIES` of each slice."""
    whole, histories = split.whole, Histories(split.whole)
    wanted, slice_of = EVENT_CODES[wanted_type(split)], _slices(split)
    found: dict[str, list[Asked]] = {"head": [], "torso": [], "tail": []}
    searches = np.flatnonzero((whole.type == SEARCH) & (whole.time >= split.test_start) & (whole.visitor >= 0))
    for row in np.random.default_rng(seed).permutation(searches).tolist():
        query, at = whole.queries[whole.query[row]], float(whole.time[row])
        after = histories.between(int(whole.visitor[row]), at, min(at + SESSION_SECONDS, split.test_end))
        items = whole.item[after[whole.type[after] == wanted]]
        truth = frozenset(items[split.items.active[items]].tolist())
        part = found[slice_of.get(encoder_text(query), "tail")]
        if truth and len(part) < MOST_QUERIES:
            part.append(Asked(query, truth, slice_of.get(encoder_text(query), "tail")))
    return [one for part in found.values() for one in part]


def answers(some: Sequence[Asked], served: Served, *, at: float) -> tuple[list[float], list[float]]:
    """Return NDCG@10 of each query, and 1 for each that finds nothing, by the search that a page would use.

    A page that fills up with what many buy has found nothing.
    """
    context = Context(dt.datetime.fromtimestamp(at, dt.UTC))
    quality, is_empty = [], []
    for one in some:
        ranking = pipeline.rank(Request(Slot.SEARCH, context, query=one.query, limit=K), served=served)
        found = [served.shelf.index[entry.item_id] for entry in ranking.entries]
        answers_nothing = not found or ranking.relaxed is Relaxation.POPULAR
        quality.append(0.0 if answers_nothing else metrics.ndcg_at_k(found, one.truth, K))
        is_empty.append(float(answers_nothing))
    return quality, is_empty


def _slices(split: Split) -> dict[str, str]:
    """Head: the most frequent queries that make up a third of the searches before the test; torso: the next third."""
    past = split.past
    asked_before = past.query[(past.type == SEARCH) & (past.query >= 0)].tolist()
    counted = Counter(encoder_text(past.queries[row]) for row in asked_before).most_common()
    names, before, total = {}, 0, sum(n for _, n in counted)
    for query, n in counted:
        names[query] = ("head", "torso", "tail")[min(2, 3 * before // total)]
        before += n
    return names


def _rows(request: Request, served: Served) -> list[int]:
    return [served.shelf.index[entry.item_id] for entry in pipeline.rank(request, served=served).entries]
