"""Judges the queries that staff watch: what the new bundle lists for each beside what serves, and how well by grades.

The grades may have taught the new bundle, and rules take no part: these figures are for people and decide nothing.
"""

from __future__ import annotations

import datetime as dt
import math
from collections import defaultdict
from collections.abc import Sequence

from django.db import router, transaction

from recommender.models import WatchedQuery, WatchedResult
from recommender.models.connections import persistently
from recommender.models.workbench import MOST_WATCHED
from recommender.serving import Served
from recommender.serving.ranking import rank
from recommender.tables import Judgements
from recommender.text.query import encoder_text
from recommender.types import Context, Request, Slot

N_LISTED = 10
N_RUNS = 20
"""Results that a watched query keeps, the newest."""

Grades = dict[str, float]
"""The grade of each item by its id."""


def rejudge(ranker: Served, champion: Served, judgements: Judgements, *, at: float) -> list[WatchedResult]:
    """Rank every watched query by both; the results belong to no run yet. One query, and two searches for each."""
    watched = persistently(lambda: list(WatchedQuery.objects.order_by("pk")[:MOST_WATCHED]))
    if not watched:
        return []
    context = Context(dt.datetime.fromtimestamp(at, dt.UTC))
    grades = _grades(judgements, ranker.shelf.items.ids)
    return [_result(one, ranker, champion, grades.get(encoder_text(one.query), {}), context) for one in watched]


def store(results: Sequence[WatchedResult], *, run_id: int) -> None:
    """Write the results of a run in the place of earlier ones of the same run; the oldest runs' are deleted."""
    present = set(
        WatchedQuery.objects.filter(pk__in=[result.watched_id for result in results]).values_list("pk", flat=True)
    )
    rows = [result for result in results if result.watched_id in present]  # others were deleted since
    for row in rows:
        row.run_id = run_id
    with transaction.atomic(using=router.db_for_write(WatchedResult)):
        WatchedResult.objects.filter(run_id=run_id).delete()
        WatchedResult.objects.bulk_create(rows)
        seen: defaultdict[int, int] = defaultdict(int)
        surplus = []
        for pk, watched_id in WatchedResult.objects.order_by("-judged_at", "-pk").values_list("pk", "watched_id"):
            seen[watched_id] += 1
            surplus += [pk] if seen[watched_id] > N_RUNS else []
        WatchedResult.objects.filter(pk__in=surplus).delete()


def graded_ndcg(item_ids: Sequence[str], grades: Grades) -> float | None:
    """NDCG of a list by the grades of people, where an item without a grade is worth nothing; None without a grade
    above 0, as then every order is as good."""
    best = _gain(sorted(grades.values(), reverse=True))
    return _gain([grades.get(item_id, 0.0) for item_id in item_ids]) / best if best else None


def _gain(grades: Sequence[float]) -> float:
    """The discounted gain of the first ten, as in `ml.metrics.ndcg_of_scores`."""
    return sum(grade / math.log2(index + 2) for index, grade in enumerate(grades[:N_LISTED]))


def _result(watched: WatchedQuery, ranker: Served, champion: Served, grades: Grades, context: Context) -> WatchedResult:
    listed, serving = _listed(watched.query, ranker, context), _listed(watched.query, champion, context)
    return WatchedResult(
        watched=watched,
        item_ids=listed,
        overlap=_overlap(listed, serving),
        overlap_saved=_overlap(listed, watched.item_ids),
        n_graded=len(grades),
        ndcg=graded_ndcg(listed, grades),
        ndcg_serving=graded_ndcg(serving, grades),
    )


def _listed(query: str, served: Served, context: Context) -> list[str]:
    ranking = rank(Request(Slot.SEARCH, context, query=query, limit=N_LISTED), served=served)
    return [entry.item_id for entry in ranking.entries]


def _overlap(one: Sequence[str], other: Sequence[str]) -> float:
    """The share of the longer list that both have; 1 for two empty ones."""
    longer = max(len(one), len(other))
    return len(set(one) & set(other)) / longer if longer else 1.0


def _grades(judgements: Judgements, ids: Sequence[str]) -> dict[str, Grades]:
    grades: defaultdict[str, Grades] = defaultdict(dict)
    columns = zip(judgements.query.tolist(), judgements.item.tolist(), judgements.grade.tolist(), strict=True)
    for query, item, grade in columns:
        grades[encoder_text(judgements.queries[query])][ids[item]] = grade
    return grades
