"""The gate's rule: from the figures of a test to a decision with its reason in words, without model, SQL or clock."""

from __future__ import annotations

import enum
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from django.utils.translation import gettext

from recommender.models import Run
from recommender.runs.comparisons import CHAMPION, GUARDRAILS, RANKER, SCOPES, SIMPLE, label_of
from recommender.runs.figures import Gain, Guardrail

LEAST_CASES = 500
"""Below this an interval of NDCG@10 is wider than any gain worth having."""

LEAST_SURE = 100
"""Cases of a list below which nothing about it is sure: a bootstrap of so few is too narrow."""

LEAST_RECONSIDERED = 10
"""Cases since its promotion, below which a provisional model is not judged again."""

LEVEL = 0.975
"""Of every interval that decides: two lists are two tries, and two intervals of 97.5 % are wrong together as often as
one of 95 %."""

SEARCH_TOLERANCE = 0.01
"""Most MRR that searches may seem to lose by fine-tuning: the half-width of the interval at 600 known-item queries,
twice the difference between two draws of them. Beyond it, training keeps the untuned encoder."""


@dataclass(frozen=True, slots=True)
class Measurements:
    """What a test measured, by scope: number of cases, and the ranker's gain by competitor, at `LEVEL`.

    arms: by scope, the simple competitor that is surely better on this list than both models, and can serve it.
    """

    n_cases: Mapping[str, int]
    gains: Mapping[str, Mapping[str, Gain]]
    guardrails: Sequence[Guardrail] = ()
    arms: Mapping[str, str] = field(default_factory=dict)

    def is_sure(self, scope: str) -> bool:
        """Whether the list has enough cases for an interval."""
        return self.n_cases.get(scope, 0) >= LEAST_SURE

    def over_champion(self) -> dict[str, Gain]:
        """The gain over what serves now, by list."""
        return {scope: gains[CHAMPION] for scope in SCOPES if CHAMPION in (gains := self.gains.get(scope, {}))}

    def expected_gain(self) -> float:
        """The mean of the gains over what serves now; NaN where none was measured."""
        lists = [scope for scope, n in self.n_cases.items() if n and scope not in self.arms]
        means = [gain.mean for scope, gain in self.over_champion().items() if scope in lists]
        return sum(means) / len(means) if means else math.nan

    def better_lists(self) -> list[str]:
        """The lists that the ranker would serve and on which it is surely better than what serves now."""
        gains = self.over_champion()
        return [scope for scope in gains if self.is_judged(scope) and is_better(gains[scope])]

    def is_judged(self, scope: str) -> bool:
        """Whether something is sure about the ranker on a list, and no arm serves the list in its place."""
        return self.is_sure(scope) and scope not in self.arms


@dataclass(frozen=True, slots=True)
class Decision:
    """`served` names what serves from now on, the ranker or the champion; `sentence` says it with the reason.

    arms: by scope, the simple competitor that serves a list in its place.
    """

    verdict: Run.Verdict
    served: str
    sentence: str
    figures: str = ""
    arms: Mapping[str, str] = field(default_factory=dict)

    @property
    def reason(self) -> str:
        """What the run tells: first the sentence, then the figures."""
        return f"{self.sentence} {self.figures}".strip()


@dataclass(frozen=True, slots=True)
class Review:
    """What becomes of a provisional model, and the sentence that says so."""

    class Result(enum.Enum):
        """Serves like any other; goes on provisionally; the model before it serves again."""

        CONFIRMED = "confirmed"
        CONTINUED = "continued"
        TAKEN_BACK = "taken back"

    outcome: Result
    sentence: str


@dataclass(frozen=True, slots=True)
class Fault:
    """What speaks against a promotion: a clause for a sentence, and the figures behind it."""

    clause: str
    figures: str


def decide(measured: Measurements, *, least_cases: int = LEAST_CASES) -> Decision:
    """Promote a ranker that is surely better than what serves now on one list and surely worse nowhere.

    A list on which a simple competitor is surely better than both models is served by the competitor: there the ranker
    can neither gain nor lose. With fewer than `least_cases` nothing is sure enough: the model with the better
    expectation serves provisionally.

    Sure means that the whole interval of the paired bootstrap lies on one side of 0. Better: than the champion (bundle
    0 included), on all items or on items new to the visitor. Worse nowhere: neither than the champion on the other
    list, nor than any simple competitor on either, and no guardrail is broken.

    Why not "surely better than every simple competitor": a tie with habit, on a list that is mostly habit, would keep
    a model in service that is surely worse than the new one. Why not the mean of both lists: a visitor's habits and
    news are two questions, and their mean answers neither.
    """
    n_cases = measured.n_cases.get("all", 0)
    if not n_cases:
        return Decision(Run.Verdict.INSUFFICIENT, CHAMPION, _why_insufficient())
    is_enough = n_cases >= least_cases
    no_gain = _without_gain(measured) if is_enough else _without_expected_gain(measured, least_cases)
    if faults := [*_faults(measured), *no_gain]:
        verdict, served, (sentence, figures) = Run.Verdict.REFUSED, CHAMPION, _why_refused(measured, faults)
    elif not is_enough:
        verdict, served = Run.Verdict.PROVISIONAL, RANKER
        sentence, figures = _why_provisional(measured, least_cases)
    else:
        verdict, served, (sentence, figures) = Run.Verdict.PROMOTED, RANKER, _why_promoted(measured)
    return Decision(verdict, served, sentence.removesuffix(".") + _arms_in_words(measured.arms), figures, measured.arms)


def reconsider(before: Measurements, since: Measurements, *, least_cases: int = LEAST_CASES) -> Review:
    """Judge a provisional model again, by its gain over the model before it on what came since its promotion.

    Taken back: it is surely worse since then, or its expected gain on all cases, those of its promotion included, is
    negative. Confirmed: it is surely better since then, or all cases together are enough and the gain is not negative.
    """
    n_since = since.n_cases.get("all", 0)
    expected, n_cases = _joined_gain(before, since), before.n_cases.get("all", 0) + n_since
    words = {"gain": f"{expected:+.4f}", "n": f"{n_since:,}", "figures": _gains_in_words(since)}
    if n_since < LEAST_RECONSIDERED:
        text = gettext("The model that serves provisionally is not judged again yet: %(n)s test cases came since.")
        return Review(Review.Result.CONTINUED, text % words)
    if any(since.is_sure(scope) and is_worse(gain) for scope, gain in since.over_champion().items()):
        text = gettext(
            "The model that served provisionally was taken back, because on the %(n)s test cases since it is surely "
            "worse than the model before it: %(figures)s."
        )
        return Review(Review.Result.TAKEN_BACK, text % words)
    if not expected >= 0:
        text = gettext(
            "The model that served provisionally was taken back, because with the %(n)s test cases since its expected "
            "gain turned negative: %(gain)s NDCG@10."
        )
        return Review(Review.Result.TAKEN_BACK, text % words)
    if since.better_lists() or n_cases >= least_cases:
        text = gettext("The model that served provisionally is confirmed by %(n)s test cases since: %(gain)s NDCG@10.")
        return Review(Review.Result.CONFIRMED, text % words)
    text = gettext("The model stays provisional: %(gain)s NDCG@10 are expected with %(n)s test cases since.")
    return Review(Review.Result.CONTINUED, text % words)


def is_better(gain: Gain) -> bool:
    """Whether a gain is surely above 0; one that is no number is not."""
    return gain.low > 0


def is_worse(gain: Gain) -> bool:
    """Whether a gain is surely below 0; one that is no number counts as worse."""
    return not gain.high >= 0


def best_competitor(ndcg: Mapping[str, float]) -> str:
    """The simple competitor with the best NDCG; ties go to the one named first in `SIMPLE`."""
    return max((name for name in SIMPLE if name in ndcg), key=lambda name: ndcg[name], default="")


def in_words(gain: Gain) -> str:
    """A gain with its interval."""
    words = {**gain._asdict(), "level": f"{LEVEL * 100:g} %"}
    return gettext("%(mean)+.4f, %(level)s interval %(low)+.4f to %(high)+.4f") % words


def _faults(measured: Measurements) -> Iterator[Fault]:
    """Every list on which it is surely worse than somebody, the champion first, and every broken guardrail."""
    worse = gettext("the new model is surely worse than %(name)s on %(scope)s")
    for scope, label in SCOPES.items():
        for name, gain in _champion_first(measured, scope):
            if measured.is_judged(scope) and is_worse(gain):
                yield Fault(worse % {"scope": label, "name": label_of(name)}, in_words(gain))
    broken = gettext("the new model breaks the guardrail “%(name)s”")
    for rail in measured.guardrails:
        if rail.verdict == "broken":
            yield Fault(broken % {"name": label_of(rail.name)}, _harm(rail))


def _without_gain(measured: Measurements) -> Iterator[Fault]:
    """That it is surely better on neither list."""
    if not measured.better_lists():
        clause = gettext("the new model is surely better on neither list")
        yield Fault(clause, _gains_in_words(measured))


def _without_expected_gain(measured: Measurements, least_cases: int) -> Iterator[Fault]:
    """That too few cases do not even make a gain likely."""
    if not measured.expected_gain() > 0:
        clause = gettext(
            "the new model is not expected to be better on the %(n)s test cases, fewer than the %(least)s that are sure"
        )
        words = {"n": f"{measured.n_cases.get('all', 0):,}", "least": f"{least_cases:,}"}
        yield Fault(clause % words, _gains_in_words(measured))


def _joined_gain(before: Measurements, since: Measurements) -> float:
    """The expected gain on the cases of both, as the mean over the lists."""
    gains = []
    for scope in SCOPES:
        parts = [
            (n, gain.mean)
            for part in (before, since)
            if (n := part.n_cases.get(scope, 0)) and (gain := part.over_champion().get(scope)) is not None
        ]
        if parts:
            gains.append(sum(n * mean for n, mean in parts) / sum(n for n, _ in parts))
    return sum(gains) / len(gains) if gains else math.nan


def _champion_first(measured: Measurements, scope: str) -> list[tuple[str, Gain]]:
    gains = measured.gains.get(scope, {})
    return sorted(gains.items(), key=lambda pair: (pair[0] != CHAMPION, pair[1].mean))


def _gains_in_words(measured: Measurements) -> str:
    """The gain over the champion on each list."""
    words = gettext("on %(scope)s %(gain)s")
    gains = [
        words % {"scope": SCOPES[scope], "gain": in_words(gain)} for scope, gain in measured.over_champion().items()
    ]
    return "; ".join(gains) or gettext("none was measured")


def _harm(rail: Guardrail) -> str:
    numbers = {"value": rail.value, "baseline": rail.baseline, "bound": rail.bound, "tolerance": rail.tolerance}
    limit = GUARDRAILS.get(rail.name)
    if limit is not None and limit.is_absolute:
        return gettext("%(value).4f, at worst %(bound).4f, the absolute limit is %(tolerance).4f") % numbers
    words = gettext(
        "%(value).4f against %(baseline).4f of the previous model, at worst %(bound).4f worse, at most "
        "%(tolerance).4f is tolerated"
    )
    return words % numbers


def _why_insufficient() -> str:
    return gettext("The previous model keeps serving, because there was no test case to judge the new one on.")


def _why_provisional(measured: Measurements, least_cases: int) -> tuple[str, str]:
    sentence = gettext(
        "The new model serves provisionally, because it is expected to be better than the previous model (%(gain)+.4f "
        "NDCG@10), and %(n)s test cases are too few to be sure (%(least)s would do)."
    ) % {
        "gain": measured.expected_gain(),
        "n": f"{measured.n_cases.get('all', 0):,}",
        "least": f"{least_cases:,}",
    }
    rest = gettext(
        "Gain in NDCG@10 over the previous model: %(figures)s. The next run judges it again on what came since, and "
        "takes it back if it was worse. Test cases: %(cases)s."
    )
    return sentence, rest % {"figures": _gains_in_words(measured), "cases": _cases(measured)}


def _why_refused(measured: Measurements, faults: Sequence[Fault]) -> tuple[str, str]:
    sentence = gettext("The previous model keeps serving, because %s.") % faults[0].clause
    first, *others = faults
    figures = [first.figures, *(f"{fault.clause} ({fault.figures})" for fault in others)]
    against = gettext("Gain in NDCG@10 or harm: %(figures)s. Test cases: %(cases)s.")
    return sentence, against % {"cases": _cases(measured), "figures": "; ".join(figures)}


def _why_promoted(measured: Measurements) -> tuple[str, str]:
    better = gettext(" and ").join(str(SCOPES[scope]) for scope in measured.better_lists())
    sentence = gettext("The new model serves now, because it is surely better than the previous model on %s.") % better
    nearest = [
        gettext("%(name)s on %(scope)s (%(gain)s)")
        % {"scope": SCOPES[scope], "name": label_of(name), "gain": in_words(gain)}
        for scope in SCOPES
        for name, gain in _nearest_first(measured, scope)[:1]
    ]
    rest = gettext(
        "Gain in NDCG@10 over the previous model: %(figures)s. It is nowhere surely worse than a simple competitor, of "
        "which the nearest are %(nearest)s, and no guardrail is broken. Test cases: %(cases)s."
    )
    words = {"figures": _gains_in_words(measured), "nearest": "; ".join(nearest) or "—", "cases": _cases(measured)}
    return sentence, rest % words


def _nearest_first(measured: Measurements, scope: str) -> list[tuple[str, Gain]]:
    simple = [pair for pair in measured.gains.get(scope, {}).items() if pair[0] != CHAMPION]
    return sorted(simple, key=lambda pair: pair[1].mean)


def _arms_in_words(arms: Mapping[str, str]) -> str:
    """What follows the sentence about the models: which competitor serves which list, and why."""
    words = gettext("; on %(scope)s a simple ranker serves, %(name)s, because it is surely better than both models")
    parts = [words % {"scope": SCOPES[scope], "name": label_of(name)} for scope, name in arms.items()]
    return "".join(parts) + "."


def _cases(measured: Measurements) -> str:
    counts = [
        gettext("%(n)s on %(scope)s") % {"n": f"{n:,}", "scope": label}
        for scope, label in SCOPES.items()
        if (n := measured.n_cases.get(scope, 0))
    ]
    return ", ".join(counts)
