"""The gate's rule: from the figures of a test to a decision with its reason in words, without model, SQL or clock."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from django.utils.translation import gettext

from recommender.models import Run
from recommender.runs.comparisons import CHAMPION, RANKER, SCOPES, SIMPLE, label_of
from recommender.runs.figures import Gain, Guardrail

LEAST_CASES = 500
"""Below this a 95 % interval of NDCG@10 is wider than any gain worth having."""

PRIMARY = "all"
"""The list that decides: all items, as the home page shows it. One figure, named before the test, so that chance has
one try and not two."""

TOLERANCE = 0.015
"""Most NDCG@10 that may be lost on items new to the visitor, by the lower bound: the half-width of the interval at 500
cases of the demo, so that an equal model passes from about 900 cases on and one that loses .01 seldom does."""

SEARCH_TOLERANCE = 0.01
"""Most MRR that searches may seem to lose by fine-tuning: the half-width of the interval at 600 known-item queries,
twice the difference between two draws of them. Beyond it, training keeps the untuned encoder."""


@dataclass(frozen=True, slots=True)
class Measurements:
    """What a test found, by scope: number of cases, and the ranker's gain by competitor."""

    n_cases: Mapping[str, int]
    gains: Mapping[str, Mapping[str, Gain]]
    guardrails: Sequence[Guardrail] = ()


@dataclass(frozen=True, slots=True)
class Decision:
    """`served` names what serves from now on: the ranker, the champion or a rung below."""

    verdict: Run.Verdict
    reason: str
    served: str


def decide(measured: Measurements, *, least_cases: int = LEAST_CASES) -> Decision:
    """Promote a ranker that is significantly better on the primary list and harms nothing else.

    Better: on all items the lower bound of its gain in NDCG@10 is above 0 against the champion and against each simple
    competitor; against each and not only the best, because which one is best is itself chance. Harms nothing: on items
    new to the visitor no lower bound is below -`TOLERANCE`, and no guardrail's bound is beyond its tolerance.

    Why not "better on one list, worse on none": that gives chance two tries, about 5 % instead of 2.5 % of equal
    models, and a gain on the list that is seldom shown could pay for a tie on the one that is. Why not the mean of
    both: a visitor's habits and news are two questions, and their mean answers neither.
    """
    has_champion = CHAMPION in measured.gains.get(PRIMARY, {})
    stays = champion_stays() if has_champion else gettext("The untrained search and lists keep serving.")
    served = CHAMPION if has_champion else "lexical"
    n_cases = measured.n_cases.get(PRIMARY, 0)
    if n_cases < least_cases:
        reason = gettext("Insufficient data: %(n)s test cases, %(least)s are needed to tell a gain from chance.")
        counts = {"n": f"{n_cases:,}", "least": f"{least_cases:,}"}
        return Decision(Run.Verdict.INSUFFICIENT, f"{reason % counts} {stays}", served)
    if faults := "; ".join(_faults(measured)):
        reason = gettext("Not promoted: %s.") % faults
        return Decision(Run.Verdict.REFUSED, f"{reason} {stays}", served)
    return Decision(Run.Verdict.PROMOTED, _why_promoted(measured), RANKER)


def champion_stays() -> str:
    """The last sentence of a refusal."""
    return gettext("The previous model keeps serving.")


def best_competitor(ndcg: Mapping[str, float]) -> str:
    """The simple competitor with the best NDCG; ties go to the one named first in `SIMPLE`."""
    return max((name for name in SIMPLE if name in ndcg), key=lambda name: ndcg[name], default="")


def in_words(gain: Gain) -> str:
    """A gain with its interval."""
    return gettext("%(mean)+.4f, 95 %% interval %(low)+.4f to %(high)+.4f") % gain._asdict()


def _faults(measured: Measurements) -> Iterator[str]:
    """What speaks against a promotion; a gain that is no number does."""
    worse = gettext("on %(scope)s it is worse than %(name)s (%(gain)s)")
    uncertain = gettext("on %(scope)s it is not significantly better than %(name)s (%(gain)s)")
    may_lose = gettext("on %(scope)s it may lose more than %(tolerance)s to %(name)s (%(gain)s)")
    for scope, label in SCOPES.items():
        for name, gain in _nearest_first(measured, scope):
            words = {"scope": label, "name": label_of(name), "gain": in_words(gain), "tolerance": TOLERANCE}
            if scope == PRIMARY and not gain.low > 0:
                yield (worse if gain.high < 0 else uncertain) % words
            if scope != PRIMARY and not gain.low >= -TOLERANCE:
                yield may_lose % words
    broken = (rail for rail in measured.guardrails if rail.verdict == "broken")
    yield from (
        gettext("the guardrail “%(name)s” is broken (%(harm)s)") % {"name": label_of(rail.name), "harm": _harm(rail)}
        for rail in broken
    )


def _nearest_first(measured: Measurements, scope: str) -> list[tuple[str, Gain]]:
    return sorted(measured.gains.get(scope, {}).items(), key=lambda pair: pair[1].mean)


def _harm(rail: Guardrail) -> str:
    has_baseline = rail.baseline == rail.baseline
    against = gettext(" against %.4f") % rail.baseline if has_baseline else ""
    bounds = gettext(", worst case %(bound).4f, limit %(tolerance).4f")
    return f"{rail.value:.4f}{against}{bounds % {'bound': rail.bound, 'tolerance': rail.tolerance}}"


def _why_promoted(measured: Measurements) -> str:
    parts = [
        gettext("on %(scope)s (%(n)s test cases) the nearest is %(name)s: %(gain)s NDCG@10")
        % {"scope": label, "n": f"{measured.n_cases[scope]:,}", "name": label_of(name), "gain": in_words(gain)}
        for scope, label in SCOPES.items()
        for name, gain in _nearest_first(measured, scope)[:1]
    ]
    return gettext(
        "Promoted: significantly better than the previous model and every simple competitor on all items, and no "
        "guardrail is broken; %s."
    ) % "; ".join(parts)
