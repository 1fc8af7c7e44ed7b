"""Figures per case of rankings that people judged, and the interval of the difference between two rankings."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.workbench import InputError, number, read
from recommender.ml.metrics import Interval, ndcg_at_k

Values = npt.NDArray[np.float64]
Scores = Mapping[str, Mapping[str, float]]
"""Query to product to score, higher is better."""

LEAST_GAP = 0.5
"""Pairs whose grades differ by less are ignored: raters disagree by as much."""

RELEVANT = 2.5
UNJUDGED_GRADE = 1.0
N_RESAMPLES = 2_000


@dataclass(frozen=True, slots=True)
class Figure:
    """One quality of one ranker by case: its value is sum(part) / sum(whole), so that pairs are pooled over queries.

    part and whole (n_cases,) float64; a whole of 0: the case does not count. For a plain mean every whole is 1.
    """

    part: Values
    whole: Values

    @classmethod
    def of(cls, cases: Sequence[tuple[float, float]]) -> Figure:
        """Build from (part, whole) of each case."""
        columns = np.asarray(cases, np.float64).reshape(-1, 2)
        return cls(columns[:, 0], columns[:, 1])

    @property
    def value(self) -> float:
        """The figure over all cases; NaN without one."""
        total = float(self.whole.sum())
        return float(self.part.sum()) / total if total else float("nan")

    @property
    def n_cases(self) -> int:
        """How many cases count."""
        return int((self.whole > 0).sum())


def difference(ours: Figure, theirs: Figure, *, seed: int = 0) -> Interval:
    """Percentile interval of ours - theirs over resampled cases (Efron and Tibshirani 1993, chapter 13).

    Cases that either lacks are left out of both. Both must hold the same cases in the same order.
    """
    both = (ours.whole > 0) & (theirs.whole > 0)
    n = int(both.sum())
    if not n:
        return Interval(float("nan"), float("nan"), float("nan"))
    times = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=N_RESAMPLES).astype(np.float64)
    times = np.concatenate([np.ones((1, n)), times])
    columns = (ours.part, ours.whole, theirs.part, theirs.whole)
    our_part, our_whole, their_part, their_whole = (times @ column[both] for column in columns)
    gap = our_part / our_whole - their_part / their_whole
    lower, upper = np.quantile(gap[1:], [0.025, 0.975])
    return Interval(float(gap[0]), float(lower), float(upper))


def pairs_in_order(scores: Mapping[str, float], grades: Mapping[str, float]) -> tuple[float, float]:
    """Return how many pairs of judged products are ordered as people did, equal scores as a half, and how many are.

    A pair is two products of one query whose grades differ by `LEAST_GAP`; a product without a score is last.
    """
    score = np.asarray([scores.get(product, -np.inf) for product in grades])
    grade = np.asarray(list(grades.values()))
    above = grade[:, None] - grade[None, :] >= LEAST_GAP - 1e-9
    right = (score[:, None] > score[None, :])[above].sum() + 0.5 * (score[:, None] == score[None, :])[above].sum()
    return float(right), float(above.sum())


def graded_ndcg(
    scores: Mapping[str, float], grades: Mapping[str, float], candidates: Collection[str], *, k: int = 10
) -> tuple[float, float]:
    """Return (NDCG@k, 1), or (0, 0) where no candidate has a gain: gain 2^(grade - 1) - 1, discount log2(position + 1).

    Products of equal score share the mean of their gains, so the order of the file does not matter (McSherry and Najork
    2008, "Computing information retrieval performance measures efficiently in the presence of tied scores"). What was
    not judged has `UNJUDGED_GRADE`; candidates without a score are last.
    """
    gain = np.asarray([2 ** (grades.get(product, UNJUDGED_GRADE) - 1) - 1 for product in candidates])
    score = np.asarray([scores.get(product, -np.inf) for product in candidates])
    discount = 1 / np.log2(np.arange(min(k, len(gain))) + 2)
    best = float(np.sort(gain)[::-1][:k] @ discount)
    if best <= 0:
        return 0.0, 0.0
    _, group, size = np.unique(-score, return_inverse=True, return_counts=True)
    mean = np.bincount(group, weights=gain) / size
    return float(np.repeat(mean, size)[:k] @ discount) / best, 1.0


def recall(ranked: Sequence[str], grades: Mapping[str, float], *, k: int) -> tuple[float, float]:
    """Return (hits in the first k / min(k, n_relevant), 1), or (0, 0) without a grade of `RELEVANT`."""
    relevant = {product for product, grade in grades.items() if grade >= RELEVANT}
    if not relevant:
        return 0.0, 0.0
    return len(relevant & set(ranked[:k])) / min(k, len(relevant)), 1.0


def list_ndcg(ranked: Sequence[int], bought: Collection[int], *, k: int = 10) -> tuple[float, float]:
    """Return (NDCG@k, 1) over that of the best list of min(k, n_bought) hits, or (0, 0) where nothing was bought."""
    return (ndcg_at_k(ranked, bought, k), 1.0) if bought else (0.0, 0.0)


def list_hit(ranked: Sequence[int], bought: Collection[int], *, k: int = 10) -> tuple[float, float]:
    """Return (1, 1) where any of the first k was bought, (0, 0) where nothing was."""
    return (float(any(item in bought for item in ranked[:k])), 1.0) if bought else (0.0, 0.0)


def read_scores(path: Path) -> dict[str, dict[str, float]]:
    """Read a ranking of queries, `query_id,product_id,score`; of a product named twice the first row counts."""
    scores: dict[str, dict[str, float]] = {}
    for row in read(path, "query_id", "product_id", "score"):
        scores.setdefault(row["query_id"], {}).setdefault(row["product_id"], number(row["score"], default=-np.inf))
    return scores


def read_lists(path: Path) -> dict[str, list[str]]:
    """Read a list per user, `user_id,rank,item_id`, best first."""
    lists: dict[str, list[tuple[float, str]]] = {}
    for row in read(path, "user_id", "rank", "item_id"):
        lists.setdefault(row["user_id"], []).append((number(row["rank"], default=np.inf), row["item_id"]))
    return {user: [item for _, item in sorted(ranked, key=lambda pair: pair[0])] for user, ranked in lists.items()}


def read_named(text: str) -> tuple[str, Path]:
    """Read NAME=FILE. Raises InputError where it is something else or the file is missing."""
    name, _, path = text.partition("=")
    if not name or not path:
        raise InputError(f"{text!r} is no run: write NAME=run.csv.")
    if not Path(path).is_file():
        raise InputError(f"{path} does not exist.")
    return name, Path(path)


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay a table out, names left and figures right."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def figure_text(figure: Figure | None, *, digits: int = 4) -> str:
    """Write a figure as .1234, and – for none."""
    if figure is None or not figure.n_cases:
        return "–"
    return f"{figure.value:.{digits}f}".removeprefix("0")


def gain_text(ours: Figure | None, theirs: Figure | None, *, seed: int = 0) -> str:
    """Write the difference with its interval, and – where either is missing."""
    if ours is None or theirs is None or not ((ours.whole > 0) & (theirs.whole > 0)).any():
        return "–"
    gap = difference(ours, theirs, seed=seed)
    return " ".join([_signed(gap.mean), f"[{_signed(gap.lower)}, {_signed(gap.upper)}]"])


def _signed(value: float) -> str:
    return f"{value:+.4f}".replace("0.", ".", 1)
