"""What profit costs: for weights of the margin, the expected profit of a list and the relevance of the same list."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from decimal import Decimal

import numpy as np

from recommender import pipeline
from recommender.exposure.sums import discounts
from recommender.ml import metrics
from recommender.models import Item
from recommender.models.connections import persistently
from recommender.runs.figures import ProfitPoint
from recommender.serving import Served
from recommender.serving.profit import buy_chances, margins_of
from recommender.serving.question import Question
from recommender.training.judging.evaluation import Case, K, mean, paired_gain
from recommender.types import IntArray

WEIGHTS = (0.0, 0.25, 0.5, 1.0, 2.0)
MOST_CASES = 150
"""Each is ranked once for every weight: six seconds in the demo."""


def profit_figures(
    served: Served, cases: Sequence[Case], *, seed: int, check: Callable[[], None] = lambda: None
) -> tuple[ProfitPoint, ...]:
    """One point for each of `WEIGHTS`, on lists of "for you" for the first cases; nothing where no margin is known or
    no head predicts. Two queries.

    The expected profit of a list is the sum of P(buy) * margin over its first places, discounted by position.
    """
    served = with_margins(served)
    margins = margins_of(served.shelf)
    if margins is None or served.ranker is None or served.ranker.head is None:
        return ()
    chosen = [case for case in cases if case.truth][:MOST_CASES]
    quality: dict[float, list[float]] = {weight: [] for weight in WEIGHTS}
    profit: dict[float, list[float]] = {weight: [] for weight in WEIGHTS}
    for case in chosen:
        check()
        for weight in WEIGHTS:
            rows = _rows(case, served, weight)
            quality[weight].append(metrics.ndcg_at_k(rows.tolist(), case.truth, K))
            profit[weight].append(_expected(case, served, rows[:K], margins[rows[:K]]))
    return tuple(
        ProfitPoint(
            weight, mean(profit[weight]), mean(quality[weight]),
            paired_gain(quality[weight], quality[0.0], seed=seed), len(chosen),
        )
        for weight in WEIGHTS
    ) if chosen else ()  # fmt: skip


def with_margins(served: Served) -> Served:
    """The same pair with what the shop earns now: those of the evaluation's moment are not stored."""
    rows = persistently(lambda: list(Item.objects.values_list("item_id", "margin", "currency")))
    margin: dict[str, Decimal | None] = {item_id: amount for item_id, amount, _currency in rows}
    currency = {item_id: name for item_id, _amount, name in rows}
    ids = served.shelf.items.ids
    shelf = dataclasses.replace(
        served.shelf,
        margins=tuple(margin.get(item_id) for item_id in ids),
        currency=tuple(currency.get(item_id, "") for item_id in ids),
    )
    return dataclasses.replace(served, shelf=shelf)


def _rows(case: Case, served: Served, weight: float) -> IntArray:
    ranking = pipeline.rank(dataclasses.replace(case.request, profit=weight), served=served)
    return np.array([served.shelf.index[entry.item_id] for entry in ranking.entries], np.int32)


def _expected(case: Case, served: Served, rows: IntArray, margins: np.ndarray) -> float:
    question = Question(case.request, served.shelf.profile(case.request), served)
    chances = buy_chances(question, rows) if len(rows) else None
    if chances is None:
        return 0.0
    return float((discounts(np.arange(1, len(rows) + 1, dtype=np.int32)) * chances * margins).sum())
