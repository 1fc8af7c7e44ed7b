"""Figures of a test in, a decision with its reason in words out. Pure: no model, no SQL, no clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from recommender.models import Run

RANKER, CHAMPION = "ranker", "champion"
SIMPLE = ("random", "popularity", "own_frequency", "item_knn", "lexical", "untuned_encoder", "linear_baseline")
LEAST_CASES = 500
"""Below this a 95 % interval of NDCG@10 is wider than any gain worth having (DESIGN, section 5)."""

TOLERANCE = 0.02
"""Most NDCG@10 that may be lost by chance on one list: twice the half-width of the interval at 500 cases of the demo,
so that an equal model passes and one that is clearly worse does not."""

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
    "lexical": "matching words",
    "untuned_encoder": "BERT before fine-tuning",
    "linear_baseline": "the linear model without BERT",
}


@dataclass(frozen=True, slots=True)
class Gain:
    """Mean gain in NDCG@10 over a competitor on the same cases, with the bounds of its 95 % interval."""

    low: float
    mean: float
    high: float


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a test found, per list ("all" items, "new" to the visitor): cases, and the ranker's gain by competitor."""

    n_cases: Mapping[str, int]
    gains: Mapping[str, Mapping[str, Gain]]
    search_gain: float = 0.0


@dataclass(frozen=True, slots=True)
class Decision:
    """`served` names what serves from now on: the ranker, the champion or a rung below."""

    verdict: Run.Verdict
    reason: str
    served: str


def decide(evidence: Evidence, *, least_cases: int = LEAST_CASES) -> Decision:
    """Promote a ranker that beats the champion and every simple competitor, each on one list, and is below on none.

    Beats: the lower bound of the gain is above 0 on all items or on new ones. Below: the whole interval is below 0, or
    its lower bound below -`TOLERANCE`. So a tie on one list is allowed where the other is surely better: a shop's
    habits are hard to beat on all items, and news is where a model has to earn its place.
    """
    kept = CHAMPION if CHAMPION in evidence.gains.get("all", {}) else "lexical"
    n_cases = evidence.n_cases.get("all", 0)
    if n_cases < least_cases:
        reason = (
            f"Insufficient data: {n_cases:,} test cases, {least_cases:,} are needed to tell a gain from chance. "
            f"{_stays(kept)}"
        )
        return Decision(Run.Verdict.INSUFFICIENT, reason, kept)
    faults = [*_below(evidence), *_not_above(evidence), *_faults_in_search(evidence)]
    if faults:
        return Decision(Run.Verdict.REFUSED, f"Not promoted: {'; '.join(faults)}. {_stays(kept)}", kept)
    return Decision(Run.Verdict.PROMOTED, _why_promoted(evidence), RANKER)


def best_competitor(ndcg: Mapping[str, float]) -> str:
    """The simple competitor with the best NDCG; ties go to the one named first in `SIMPLE`."""
    known = [name for name in SIMPLE if name in ndcg]
    return max(known, key=lambda name: ndcg[name], default="")


def _below(evidence: Evidence) -> list[str]:
    faults = []
    for scope, words in SCOPES.items():
        for name, gain in sorted(evidence.gains.get(scope, {}).items(), key=lambda pair: pair[1].mean):
            if not gain.high >= 0:
                faults.append(f"on {words} it is worse than {_words(name)} ({_bounds(gain)})")
            elif not gain.low >= -TOLERANCE:
                faults.append(f"on {words} it may lose too much to {_words(name)} ({_bounds(gain)})")
    return faults


def _not_above(evidence: Evidence) -> list[str]:
    faults = []
    for name, gain in evidence.gains["all"].items():
        on_new = evidence.gains.get("new", {}).get(name)
        if not gain.low > 0 and not (on_new is not None and on_new.low > 0):
            faults.append(f"it is not surely better than {_words(name)} on either list ({_bounds(gain)} on all items)")
    return faults


def _faults_in_search(evidence: Evidence) -> list[str]:
    if evidence.search_gain >= -SEARCH_TOLERANCE:
        return []
    return [f"it finds known items less well than BERT before fine-tuning ({evidence.search_gain:+.4f} MRR)"]


def _why_promoted(evidence: Evidence) -> str:
    parts = []
    for scope, words in SCOPES.items():
        gains = evidence.gains.get(scope, {})
        if gains:
            nearest = min(gains, key=lambda name: gains[name].mean)
            cases = f"{evidence.n_cases[scope]:,} test cases"
            parts.append(f"on {words} ({cases}) the nearest is {_words(nearest)}: {_bounds(gains[nearest])} NDCG@10")
    return (
        "Promoted: surely better than everything it was compared with on one list, below nothing on the other; "
        f"{'; '.join(parts)}."
    )


def _stays(kept: str) -> str:
    return "The champion keeps serving." if kept == CHAMPION else "The untrained rungs keep serving."


def _words(name: str) -> str:
    return WORDS.get(name, name.replace("_", " "))


def _bounds(gain: Gain) -> str:
    return f"{gain.mean:+.4f}, 95 % interval {gain.low:+.4f} to {gain.high:+.4f}"
