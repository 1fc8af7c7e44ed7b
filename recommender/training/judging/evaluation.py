"""Evaluation on the test window: the pipeline as it serves and every competitor make lists for the same visitors."""

from __future__ import annotations

import dataclasses
import datetime as dt
import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from recommender import pipeline
from recommender.features.shop_state import ShopState
from recommender.features.weights import EVENT_WEIGHTS, positive_events
from recommender.ml import metrics
from recommender.ml.histories import Histories
from recommender.ml.processes import shared_out
from recommender.ml.progress import Progress
from recommender.ml.rivals.baselines import Scorer
from recommender.ml.rivals.competitors import best_rows
from recommender.runs.comparisons import RANKER, SCOPES
from recommender.runs.figures import Figures, Gain, ListQuality
from recommender.serving import Served
from recommender.tables import Interactions, ItemTable, Profile
from recommender.training.judging.gate import LEVEL, best_competitor
from recommender.training.split import Split
from recommender.types import EVENT_CODES, HISTORY_LIMIT, Context, EventType, IntArray, PastEvent, Request, Slot

K = 10
N_LISTED = 20
"""NDCG and coverage look at the first 10 places, recall and MRR at the first 20."""

BESTSELLER_SHARE = 0.01
STRONGEST = (EventType.PURCHASE, EventType.ADD_TO_CART, EventType.VIEW_ITEM)
"""What counts as wanted: purchases, or in a shop without enough of them the next strongest event."""

N_RESAMPLES = 2_000
TYPE_OF = {code: kind for kind, code in EVENT_CODES.items()}


@dataclasses.dataclass(frozen=True, slots=True)
class Case:
    """One visitor at the start of the test: the history, what was wanted later, and `own`, the items of the history."""

    request: Request
    profile: Profile
    truth: frozenset[int]
    own: IntArray

    def wanted(self, scope: str) -> frozenset[int]:
        """What counts on a list: everything, or only what is new to the visitor."""
        return self.truth if scope == "all" else self.truth - set(self.own.tolist())


ListMaker = Callable[[Case, str], Sequence[int]]
"""(case, scope) -> rows of the first `N_LISTED` items, best first."""


@dataclasses.dataclass(slots=True)
class Results:
    """Per scope and ranker, the lists of each case in the order of the cases."""

    truths: dict[str, list[frozenset[int]]]
    lists: dict[str, dict[str, list[Sequence[int]]]]

    def ndcg(self, scope: str, name: str) -> list[float]:
        """NDCG@10 of each case."""
        pairs = zip(self.lists[scope][name], self.truths[scope], strict=True)
        return [metrics.ndcg_at_k(ranked, truth, K) for ranked, truth in pairs]


def cases(split: Split, *, most: int, seed: int) -> list[Case]:
    """Up to `most` visitors with a past who wanted something in the test window, in random order."""
    histories = Histories(split.whole)
    wanted = wanted_type(split)
    visitors = np.random.default_rng(seed).permutation(_returning_visitors(split, wanted)).tolist()
    candidates = (_case(histories, split, visitor, wanted) for visitor in visitors)
    return list(itertools.islice((case for case in candidates if case.truth), most))


def _case(histories: Histories, split: Split, visitor: int, wanted: EventType) -> Case:
    rows = histories.between(visitor, split.test_start, split.test_end)
    rows = rows[split.whole.type[rows] == EVENT_CODES[wanted]]
    truth = frozenset(int(row) for row in split.whole.item[rows] if split.items.active[row])
    profile = histories.profile(visitor, at=split.test_start, limit=HISTORY_LIMIT)
    own = np.unique(profile.item[positive_events(profile)]).astype(np.int32)
    return Case(_request(profile, split.items.ids, split.test_start), profile, truth, own)


class PipelineLists:
    """Makes lists by the pipeline itself: the home list, as a page would show it.

    seconds: of each list; scores: by scope, of each list its entries' scores.
    """

    def __init__(self, served: Served) -> None:
        self.served = served
        self.seconds: list[float] = []
        self.scores: dict[str, list[list[float]]] = {scope: [] for scope in SCOPES}

    def __call__(self, case: Case, scope: str) -> Sequence[int]:
        request = dataclasses.replace(case.request, exclude_history=scope == "new")
        started = time.perf_counter()
        ranking = pipeline.rank(request, served=self.served)
        self.seconds.append(time.perf_counter() - started)
        self.scores[scope].append([entry.score for entry in ranking.entries])
        return [self.served.shelf.index[entry.item_id] for entry in ranking.entries]

    def take(self, seconds: Sequence[float], scores: Mapping[str, list[list[float]]]) -> None:
        """Add times and scores of further cases, which another maker of the same lists has answered."""
        self.seconds += seconds
        for scope, further in scores.items():
            self.scores[scope] += further


def scored(score: Scorer, state: ShopState, items: ItemTable) -> ListMaker:
    """Lists of a competitor that scores the whole catalogue; the last case's scores serve both scopes."""
    last: list[Any] = [None, None]

    def make(case: Case, scope: str) -> Sequence[int]:
        if last[0] is not case:
            last[:] = [case, np.where(items.active, score(case.profile, state, items), -np.inf)]
        values = last[1].copy()
        if scope == "new":
            values[case.own] = -np.inf
        return best_rows(values, N_LISTED)

    return make


def compare(
    rankers: Mapping[str, ListMaker],
    test_cases: Sequence[Case],
    *,
    on_case: Callable[[int, int], None] = lambda done, total: None,
) -> Results:
    """Let every ranker answer every case."""
    results = Results({scope: [] for scope in SCOPES}, {scope: {name: [] for name in rankers} for scope in SCOPES})
    for done, case in enumerate(test_cases):
        for scope in SCOPES:
            if wanted := case.wanted(scope):
                results.truths[scope].append(wanted)
                for name, make in rankers.items():
                    results.lists[scope][name].append(make(case, scope))
        on_case(done + 1, len(test_cases))
    return results


def compare_shared(
    pipelines: Mapping[str, PipelineLists],
    others: Mapping[str, ListMaker],
    test_cases: Sequence[Case],
    *,
    n: int,
    progress: Progress,
) -> Results:
    """As `compare`, by `n` processes that take a part of the cases each; `pipelines` have all times and scores then.

    Raises what `progress.check` raises where the run is to end.
    """

    def answer(part: Sequence[Case], progress: Progress) -> tuple[Results, dict[str, tuple[list[float], Any]]]:
        own = {name: PipelineLists(pipeline.served) for name, pipeline in pipelines.items()}
        results = compare({**others, **own}, part, on_case=partial(_stepped, progress))
        return results, {name: (lists.seconds, lists.scores) for name, lists in own.items()}

    size = max(1, -(-len(test_cases) // n))
    parts = [test_cases[start : start + size] for start in range(0, len(test_cases), size)] or [test_cases]
    answers = shared_out(answer, parts, n=n, progress=progress)
    for _, measured in answers:
        for name, (seconds, scores) in measured.items():
            pipelines[name].take(seconds, scores)
    return pooled([results for results, _ in answers])


def _stepped(progress: Progress, done: int, total: int) -> None:
    progress.step(done, total)
    if progress.should_stop():
        progress.check()


def names_in_all(windows: Sequence[Results], scope: str) -> list[str]:
    """The rankers that answered in every window: one that needs a head is missing where none was fitted."""
    first, *others = windows
    return [name for name in first.lists[scope] if all(name in window.lists[scope] for window in others)]


def pooled(windows: Sequence[Results]) -> Results:
    """The cases of several windows as one, for the rankers that answered in all of them."""
    scopes = windows[0].truths
    return Results(
        {scope: [truth for window in windows for truth in window.truths[scope]] for scope in scopes},
        {
            scope: {
                name: [ranked for window in windows for ranked in window.lists[scope][name]]
                for name in names_in_all(windows, scope)
            }
            for scope in scopes
        },
    )


def figures(results: Results, state: ShopState, items: ItemTable, *, seed: int) -> Figures:
    """The quality of every ranker's lists, and the gain of this one over each other."""
    popular = bestsellers(state, items)
    lists = {
        scope: {name: _quality(results, scope, name, popular, items) for name in results.lists[scope]}
        for scope in SCOPES
    }
    return Figures(
        lists=lists,
        intervals=gains(results, seed=seed),
        level=LEVEL,
        n_cases={scope: len(results.truths[scope]) for scope in SCOPES},
        best_competitor={
            scope: best_competitor({name: quality.ndcg for name, quality in lists[scope].items()}) for scope in SCOPES
        },
    )


def gains(results: Results, *, seed: int) -> dict[str, dict[str, Gain]]:
    """By scope and competitor, the gain of this ranker in NDCG@10 with the interval that decides."""
    return {
        scope: {
            name: paired_gain(results.ndcg(scope, RANKER), results.ndcg(scope, name), seed=seed, level=LEVEL)
            for name in results.lists[scope]
            if name != RANKER
        }
        for scope in SCOPES
    }


def paired_gain(
    ours: Sequence[float],
    theirs: Sequence[float],
    *,
    seed: int,
    n_resamples: int = N_RESAMPLES,
    level: float = metrics.LEVEL,
) -> Gain:
    """Mean difference of the same cases with its interval, by paired bootstrap."""
    interval = metrics.paired_bootstrap(ours, theirs, seed=seed, n_resamples=n_resamples, level=level)
    return Gain(interval.lower, interval.mean, interval.upper)


def _quality(results: Results, scope: str, name: str, popular: frozenset[int], items: ItemTable) -> ListQuality:
    lists, truths = results.lists[scope][name], results.truths[scope]
    pairs = list(zip(lists, truths, strict=True))
    first = [ranked[:K] for ranked in lists]
    return ListQuality(
        ndcg=mean(results.ndcg(scope, name)),
        recall=mean([metrics.recall_at_k(ranked, truth, N_LISTED) for ranked, truth in pairs]),
        mrr=mean([metrics.reciprocal_rank(ranked, truth) for ranked, truth in pairs]),
        coverage=metrics.coverage(first, int(items.active.sum())),
        popularity_share=metrics.popularity_share(first, popular),
    )


def bestsellers(state: ShopState, items: ItemTable) -> frozenset[int]:
    """The 1 % of the catalogue, but at least 10 items, with most events in the 30 days before the test."""
    n = max(10, round(int(items.active.sum()) * BESTSELLER_SHARE))
    return frozenset(np.argsort(-state.counts[:, 2], kind="stable")[:n].tolist())


def mean(values: Sequence[float]) -> float:
    """The mean; 0 of nothing."""
    return float(np.mean(values)) if len(values) else 0.0


def wanted_type(split: Split) -> EventType:
    """The strongest type by which most visitors can be judged: purchases, unless there are next to none."""
    n_visitors = {kind: len(_returning_visitors(split, kind)) for kind in STRONGEST}
    enough = [kind for kind in STRONGEST if n_visitors[kind] >= max(n_visitors.values()) / 10 and n_visitors[kind]]
    return enough[0] if enough else EventType.PURCHASE


def _returning_visitors(split: Split, kind: EventType) -> IntArray:
    """Visitors with a weighted event before the test and one of `kind` in it."""
    whole = split.whole
    later = (whole.time >= split.test_start) & (whole.type == EVENT_CODES[kind]) & (whole.visitor >= 0)
    return np.intersect1d(active_visitors(split.past), whole.visitor[later]).astype(np.int32)


def active_visitors(past: Interactions) -> IntArray:
    """(n,) visitor of each event that carries weight, repeated."""
    visitors: IntArray = past.visitor[(past.visitor >= 0) & (past.item >= 0) & (EVENT_WEIGHTS[past.type] > 0)]
    return visitors


def _request(profile: Profile, ids: Sequence[str], at: float) -> Request:
    return Request(
        slot=Slot.HOME,
        context=Context(dt.datetime.fromtimestamp(at, dt.UTC)),
        history=tuple(_past_event(profile, row, ids) for row in range(len(profile.item))),
        limit=N_LISTED,
    )


def _past_event(profile: Profile, row: int, ids: Sequence[str]) -> PastEvent:
    item, basket = int(profile.item[row]), int(profile.basket[row])
    return PastEvent(
        type=TYPE_OF[int(profile.type[row])],
        at=dt.datetime.fromtimestamp(float(profile.time[row]), dt.UTC),
        item_id=ids[item] if item >= 0 else "",
        query=profile.queries[row],
        quantity=float(profile.quantity[row]),
        order_id=str(basket) if basket >= 0 else "",
    )


def history_of(histories: Histories, visitor: int, ids: Sequence[str], *, at: float) -> tuple[PastEvent, ...]:
    """What a visitor did before `at`, as the pipeline takes it."""
    profile = histories.profile(visitor, at=at, limit=HISTORY_LIMIT)
    return tuple(_past_event(profile, row, ids) for row in range(len(profile.item)))
