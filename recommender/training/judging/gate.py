"""Figures of a test in, a decision with its reason in words out. Pure: no model, no SQL, no clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from recommender.models import Run

RANKER, CHAMPION = "ranker", "champion"
SIMPLE = (
    "random", "popularity", "own_frequency", "item_knn", "tifu_knn", "ease", "blend", "lexical", "untuned_encoder",
    "linear_baseline",
)  # fmt: skip
LEAST_CASES = 500
"""Below this a 95 % interval of NDCG@10 is wider than any gain worth having (DESIGN, section 5)."""

PRIMARY = "all"
"""The list that decides: all items, as the home page shows it. One figure, named before the test, so that chance has
one try and not two."""

TOLERANCE = 0.015
"""Most NDCG@10 that may be lost on items new to the visitor, by the lower bound: the half-width of the interval at 500
cases of the demo, so that an equal model passes from about 900 cases on and one that loses .01 seldom does."""

SEARCH_TOLERANCE = 0.01
"""Most MRR that whole searches may seem to lose: the half-width of the interval at 600 known-item queries, twice the
difference between two draws of them. The encoder alone is held to more: training keeps the untuned one if it loses."""

SCOPES = {"all": "all items", "new": "items new to the shopper"}
WORDS = {
    CHAMPION: "the champion",
    "random": "random order",
    "popularity": "recent bestsellers",
    "own_frequency": "what the shopper buys most",
    "item_knn": "what the same people bought",
    "tifu_knn": "TIFU-KNN",
    "ease": "EASE",
    "blend": "habit, co-purchase and bestsellers, weighed",
    "lexical": "matching words",
    "untuned_encoder": "BERT before fine-tuning",
    "linear_baseline": "the linear model without BERT",
}

GUARDRAILS = {
    "known_item_search": "known items found by search",
    "cold_visitor": "lists of visitors without a past",
    "cold_item": "items without a past",
    "head_query": "frequent queries",
    "torso_query": "queries of middling frequency",
    "tail_query": "rare queries",
    "zero_results": "searches that find nothing",
    "calibration": "probabilities against what happened",
    "coverage": "share of the catalogue shown",
    "popularity_share": "share of bestsellers shown",
    "attack": "places gained by fake visitors",
    "latency_p50": "time of half the lists",
    "latency_p99": "time of the slowest lists",
    "parity": "trainer and server compute the same",
    "future": "nothing after the moment is used",
}


STAYS = "The champion keeps serving."


@dataclass(frozen=True, slots=True)
class Gain:
    """Mean gain in NDCG@10 over a competitor on the same cases, with the bounds of its 95 % interval."""

    low: float
    mean: float
    high: float


@dataclass(frozen=True, slots=True)
class Guardrail:
    """What must not get worse: the ranker's value, what it is held against, and the harm done.

    bound: the upper end of the 95 % interval of the harm, in the unit of the value; tolerance: the most harm allowed.
    With `note` it was not measured, and the note says why; that breaks nothing. n: cases that it was measured on.
    """

    name: str
    value: float = 0.0
    baseline: float | None = None
    bound: float = 0.0
    tolerance: float = 0.0
    n: int = 0
    note: str = ""

    @property
    def verdict(self) -> str:
        """held, broken or unmeasured; a bound that is no number is broken."""
        if self.note:
            return "unmeasured"
        return "held" if self.bound <= self.tolerance else "broken"


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a test found, per list ("all" items, "new" to the visitor): cases, and the ranker's gain by competitor."""

    n_cases: Mapping[str, int]
    gains: Mapping[str, Mapping[str, Gain]]
    guardrails: Sequence[Guardrail] = ()


@dataclass(frozen=True, slots=True)
class Decision:
    """`served` names what serves from now on: the ranker, the champion or a rung below."""

    verdict: Run.Verdict
    reason: str
    served: str


def decide(evidence: Evidence, *, least_cases: int = LEAST_CASES) -> Decision:
    """Strict on all items, safe elsewhere: promote a ranker that surely wins the primary list and harms nothing.

    Wins: on all items the lower bound of its gain in NDCG@10 is above 0 against the champion and against each simple
    competitor; against each and not only the best, because which one is best is itself chance. Harms nothing: on items
    new to the visitor no lower bound is below -`TOLERANCE`, and no guardrail's bound is beyond its tolerance.

    Why not "surely better on one list, worse on none": that gives chance two tries, about 5 % instead of 2.5 % of equal
    models, and lets a gain on the list that is seldom shown pay for a tie on the one that is. Why not the mean of both:
    a visitor's habits and news are two questions, and their mean answers neither.
    """
    kept = CHAMPION if CHAMPION in evidence.gains.get(PRIMARY, {}) else "lexical"
    n_cases = evidence.n_cases.get(PRIMARY, 0)
    if n_cases < least_cases:
        reason = (
            f"Insufficient data: {n_cases:,} test cases, {least_cases:,} are needed to tell a gain from chance. "
            f"{_stays(kept)}"
        )
        return Decision(Run.Verdict.INSUFFICIENT, reason, kept)
    faults = [*_not_won(evidence), *_lost(evidence), *_broken(evidence)]
    if faults:
        return Decision(Run.Verdict.REFUSED, f"Not promoted: {'; '.join(faults)}. {_stays(kept)}", kept)
    return Decision(Run.Verdict.PROMOTED, _why_promoted(evidence), RANKER)


def best_competitor(ndcg: Mapping[str, float]) -> str:
    """The simple competitor with the best NDCG; ties go to the one named first in `SIMPLE`."""
    known = [name for name in SIMPLE if name in ndcg]
    return max(known, key=lambda name: ndcg[name], default="")


def _not_won(evidence: Evidence) -> list[str]:
    return [
        f"on {SCOPES[PRIMARY]} it is {'worse than' if gain.high < 0 else 'not surely better than'} {_words(name)} "
        f"({_bounds(gain)})"
        for name, gain in _nearest_first(evidence, PRIMARY)
        if not gain.low > 0
    ]


def _lost(evidence: Evidence) -> list[str]:
    return [
        f"on {words} it may lose more than {TOLERANCE} to {_words(name)} ({_bounds(gain)})"
        for scope, words in SCOPES.items()
        if scope != PRIMARY
        for name, gain in _nearest_first(evidence, scope)
        if not gain.low >= -TOLERANCE
    ]


def _broken(evidence: Evidence) -> list[str]:
    return [
        f"the guardrail “{GUARDRAILS.get(rail.name, rail.name)}” is broken ({_harm(rail)})"
        for rail in evidence.guardrails
        if rail.verdict == "broken"
    ]


def _nearest_first(evidence: Evidence, scope: str) -> list[tuple[str, Gain]]:
    return sorted(evidence.gains.get(scope, {}).items(), key=lambda pair: pair[1].mean)


def _harm(rail: Guardrail) -> str:
    against = "" if rail.baseline is None else f" against {rail.baseline:.4f}"
    return f"{rail.value:.4f}{against}, harm up to {rail.bound:.4f}, allowed {rail.tolerance:.4f}"


def _why_promoted(evidence: Evidence) -> str:
    parts = []
    for scope, words in SCOPES.items():
        gains = evidence.gains.get(scope, {})
        if gains:
            nearest = min(gains, key=lambda name: gains[name].mean)
            cases = f"{evidence.n_cases[scope]:,} test cases"
            parts.append(f"on {words} ({cases}) the nearest is {_words(nearest)}: {_bounds(gains[nearest])} NDCG@10")
    return (
        "Promoted: surely better than the champion and every simple competitor on all items, no guardrail is broken; "
        f"{'; '.join(parts)}."
    )


def _stays(kept: str) -> str:
    return STAYS if kept == CHAMPION else "The untrained rungs keep serving."


def _words(name: str) -> str:
    return WORDS.get(name, name.replace("_", " "))


def _bounds(gain: Gain) -> str:
    return f"{gain.mean:+.4f}, 95 % interval {gain.low:+.4f} to {gain.high:+.4f}"
