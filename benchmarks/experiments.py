"""The statistics of experiments on planted effects: nothing, a lift of 2 %, a loss; interleaving; off-policy estimates.

    python -m benchmarks.experiments [--runs 200] [--seed 0]

People arrive in equal parts on each of 28 mornings, and the experiment is read every morning. Peers of the same run: a
test of 5 % that is read as often (what many tools show), and for interleaving an A/B experiment on the same shoppers.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.figures import Figure, show
from recommender.experiments import covariates, exploring, off_policy
from recommender.experiments.assignment import VARIANT
from recommender.experiments.interleaving import preference, team_draft
from recommender.experiments.sequences import Effect, Sums, difference, mean, sample_size

Array = npt.NDArray[Any]

N_MORNINGS = 28
RATE, LIFT = 0.05, 0.02
"""Share of people who order, and the planted relative lift."""

N_REVENUE = 20_000
"""People of an experiment on revenue, half of them in each arm."""

MARGINS, SHIFT = (0.1, 0.5), 0.4
"""Margins of two kinds of items, as shares of their price, and of the variant's orders that take the better kind; the
control's take each as often. Orders and revenue are the same in both arms."""

N_MARGIN_RUNS_OVER = 2
"""Of the runs, one in so many is made for margins, whose people are drawn one by one."""

DISCOUNT = (1.0, 0.6, 0.4, 0.3, 0.2, 0.15, 0.1, 0.1)
"""The chance that a place of the list is looked at."""

MOST_SESSIONS, MOST_DRAFTED = 400_000, 40_000
"""Sessions after which an A/B experiment and an interleaving are given up."""

POOL = 5
FIXED = 1.96


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    generator, runs = np.random.default_rng(options.seed), options.runs
    planned = sample_size(RATE, RATE * (1 - RATE), lift=LIFT, variant_share=0.5)
    show("experiments", _figures(runs, planned, generator))


def _figures(runs: int, planned: int, generator: np.random.Generator) -> Iterator[Figure]:
    print(f"planned for a lift of {LIFT:.0%} on {RATE:.0%}: {planned:,} people of both arms, at a power of 80 %")
    same = [_looks(planned, RATE, generator) for _run in range(runs)]
    yield Figure("A/A, orders: false alarms, %", _share(same), 5, "%")
    naive = 100 * sum(any(look.is_naive for look in looks) for looks in same) / runs
    print(f"  peer: a fixed test of 5 % read every morning, {naive:.1f} % false alarms")
    revenue = [_revenue_looks(generator, gain=0.0) for _run in range(runs)]
    yield Figure("A/A, revenue per visitor: false alarms, %", _share(revenue), 5, "%")
    yield from _margins(max(10, runs // N_MARGIN_RUNS_OVER), generator)
    lifted = [_looks(planned, RATE * (1 + LIFT), generator) for _run in range(runs)]
    yield Figure(f"lift of {LIFT:.0%} missed in the stated sample, %", 100 - _share(lifted, "is_gain"), 20, "%")
    lost = [_looks(planned, RATE * (1 - 0.05), generator) for _run in range(runs)]
    yield Figure("arm that loses 5 % not stopped, %", 100 - _share(lost, "is_loss"), 5, "%")
    yield _cuped(generator)
    yield from _interleaved(max(10, runs // 10), generator)
    yield from _off_policy(max(100, runs // 2), generator)


@dataclass(frozen=True, slots=True)
class Look:
    """What one morning shows: the interval, and what a fixed test of 5 % would say."""

    interval: Effect
    is_naive: bool


def _looks(planned: int, rate: float, generator: np.random.Generator) -> list[Look]:
    """Orders: 0 or 1 of each person, of the control at `RATE`."""
    n = planned // 2 // N_MORNINGS
    ordered = np.cumsum(generator.binomial(n, (RATE, rate), size=(N_MORNINGS, 2)), axis=0)
    looks = []
    for morning, (control, variant) in enumerate(ordered.tolist(), 1):
        looks.append(_look(Sums(n * morning, control, control), Sums(n * morning, variant, variant), planned))
    return looks


def _revenue_looks(generator: np.random.Generator, *, gain: float) -> list[Look]:
    """Revenue: most people spend nothing, some spend much (log-normal)."""
    spent = [_spent(generator, N_REVENUE // 2, RATE * (1 + side * gain)) for side in (0, 1)]
    cuts = np.linspace(0, N_REVENUE // 2, N_MORNINGS + 1).astype(int)[1:]
    control, variant = spent
    return [_look(covariates.sums(control[:cut]), covariates.sums(variant[:cut]), N_REVENUE) for cut in cuts.tolist()]


def _spent(generator: np.random.Generator, n: int, rate: float) -> Array:
    return (generator.random(n) < rate) * generator.lognormal(3.0, 1.0, n)


def _margins(runs: int, generator: np.random.Generator) -> Iterator[Figure]:
    """Margin per visitor with what was earned before taken out: equal arms, and a variant that sells as much at more
    margin, with the people that the plan states for it."""
    _past, now = _earned(generator, 100_000, 0.5)
    earned = covariates.sums(now)
    lift = float(np.dot(MARGINS, (1 - SHIFT - 0.5, SHIFT + 0.5)) / np.mean(MARGINS)) - 1
    planned = sample_size(earned.mean, earned.variance, lift=lift, variant_share=0.5)
    same = [_margin_looks(generator, planned, better=0.5) for _run in range(runs)]
    yield Figure("A/A, margin per visitor: false alarms, %", _share(same), 5, "%")
    shifted = [_margin_looks(generator, planned, better=0.5 + SHIFT) for _run in range(runs)]
    print(f"  margin {lift:+.0%} at equal revenue: {planned:,} people of both arms")
    yield Figure(f"margin of {lift:+.0%} missed in the stated sample, %", 100 - _share(shifted, "is_gain"), 20, "%")
    naive = 100 * sum(any(look.is_naive for look in looks) for looks in same) / runs
    print(f"  peer: a fixed test of 5 % read every morning, {naive:.1f} % false alarms")


def _margin_looks(generator: np.random.Generator, planned: int, *, better: float) -> list[Look]:
    n = planned // 2
    arms = [_earned(generator, n, share) for share in (0.5, better)]
    looks = []
    for cut in np.linspace(0, n, N_MORNINGS + 1).astype(int)[1:].tolist():
        before, after = (np.concatenate([arm[time][:cut] for arm in arms]) for time in (0, 1))
        adjusted = covariates.adjusted(after, before)
        looks.append(_look(covariates.sums(adjusted[:cut]), covariates.sums(adjusted[cut:]), planned))
    return looks


def _earned(generator: np.random.Generator, n: int, better: float) -> tuple[Array, Array]:
    """What n people earned the shop before, and in the experiment, where `better` of the orders have the greater
    margin; who likes to buy does so at both times."""
    liking = generator.lognormal(-0.5, 1.0, n) * RATE
    earned = []
    for share in (0.5, better):
        spent = generator.poisson(liking) * generator.lognormal(3.0, 1.0, n)
        earned.append(spent * np.where(generator.random(n) < share, MARGINS[1], MARGINS[0]))
    return earned[0], earned[1]


def _look(control: Sums, variant: Sums, planned: int) -> Look:
    interval = difference(control, variant, planned=planned)
    error = math.sqrt(control.variance / control.n + variant.variance / variant.n)
    return Look(interval, abs(interval.estimate) > FIXED * error)


def _share(runs: list[list[Look]], verdict: str = "") -> float:
    """Percent of the runs that came to the verdict on some morning; to either verdict where none is given."""
    names = (verdict,) if verdict else ("is_gain", "is_loss")
    n_decided = sum(any(getattr(look.interval, name) for look in looks for name in names) for looks in runs)
    return 100 * n_decided / len(runs)


def _cuped(generator: np.random.Generator) -> Figure:
    """People who differ in how much they spend: the width with what they spent before, over that without."""
    liking = generator.lognormal(0.0, 1.0, N_REVENUE)
    before, after = (generator.poisson(liking).astype(float) for _time in range(2))
    is_variant = np.arange(N_REVENUE) % 2 == 1
    widths = []
    for values in (after, covariates.adjusted(after, before)):
        sides = (covariates.sums(values[~is_variant]), covariates.sums(values[is_variant]))
        interval = difference(*sides, planned=N_REVENUE)
        widths.append(interval.high - interval.low)
    return Figure("CUPED: width of the interval, %", 100 * widths[1] / widths[0], 100, "%")


def _interleaved(runs: int, generator: np.random.Generator) -> Iterator[Figure]:
    """Sessions until one is sure which of two rankers is better, by interleaving and by an A/B experiment."""
    rankers = [_rankers(generator) for _run in range(runs)]
    drafted = [_sessions_drafted(utility, lists, generator) for utility, lists in rankers]
    halved = [_sessions_halved(utility, lists, generator) for utility, lists in rankers]
    rounds = f"{sum(n < MOST_DRAFTED for n in drafted)} and {sum(n < MOST_SESSIONS for n in halved)} of {runs} decided"
    print(f"  sessions at the median: interleaving {np.median(drafted):,.0f}, A/B {np.median(halved):,.0f}; {rounds}")
    yield Figure("interleaving: sessions, % of an A/B", 100 * float(np.median(drafted) / np.median(halved)), 100, "%")
    same = [_sessions_drafted(utility, (lists[0], lists[0]), generator) for utility, lists in rankers]
    wrong = 100 * sum(n < MOST_DRAFTED for n in same) / runs
    yield Figure("interleaving of equal rankers decided, %", wrong, 5, "%")


def _rankers(generator: np.random.Generator) -> tuple[Array, tuple[list[int], list[int]]]:
    """The true chance of a click of 40 items, and the eight best by a noisy score and by a less noisy one."""
    utility = generator.beta(1.0, 9.0, 40)
    noise = generator.normal(0, 1, 40)
    lists = [np.argsort(-(utility + spread * noise))[: len(DISCOUNT)].tolist() for spread in (0.10, 0.09)]
    if utility[lists[0]] @ DISCOUNT >= utility[lists[1]] @ DISCOUNT:  # by luck of the noise no better
        return _rankers(generator)
    return utility, (lists[0], lists[1])


def _sessions_drafted(utility: Array, lists: tuple[list[int], list[int]], generator: np.random.Generator) -> int:
    """Sessions until the preference of the sessions that are no tie is sure; each session has coins of its own."""
    score, size = Sums(), 500
    for n in range(size, MOST_DRAFTED + 1, size):
        for session in range(n - size, n):
            items, is_variant = _drafted(lists, f"{lists}{session}")
            clicked = generator.random(len(items)) < utility[items] * DISCOUNT
            sign = preference(float(clicked[~is_variant].sum()), float(clicked[is_variant].sum()))
            score = Sums(score.n + abs(sign), score.total + sign, score.squares + abs(sign))
        interval = mean(score, planned=5_000)
        if interval.is_gain or interval.is_loss:
            return n
    return MOST_DRAFTED


def _drafted(lists: tuple[list[int], list[int]], seed: str) -> tuple[Array, Array]:
    pairs = team_draft(*([str(item) for item in items] for items in lists), limit=len(DISCOUNT), seed=seed)
    return np.array([int(item) for item, _team in pairs]), np.array([team == VARIANT for _item, team in pairs])


def _sessions_halved(utility: Array, lists: tuple[list[int], list[int]], generator: np.random.Generator) -> int:
    """Sessions until the difference in clicks per session of two halves is sure."""
    sides, size = [Sums(), Sums()], 250
    for n in range(2 * size, MOST_SESSIONS + 1, 2 * size):
        for side, items in enumerate(lists):
            clicks = (generator.random((size, len(items))) < utility[items] * DISCOUNT).sum(axis=1).astype(float)
            part = covariates.sums(clicks)
            whole = sides[side]
            sides[side] = Sums(whole.n + part.n, whole.total + part.total, whole.squares + part.squares)
        interval = difference(*sides, planned=20_000)
        if interval.is_gain or interval.is_loss:
            return n
    return MOST_SESSIONS


def _off_policy(runs: int, generator: np.random.Generator) -> Iterator[Figure]:
    """Intervals of three estimators that miss the planted truth, of logs by each way of exploring."""
    for way in (exploring.EPSILON, exploring.THOMPSON):
        missed = dict.fromkeys(("IPS", "SNIPS", "doubly robust"), 0)
        for _run in range(runs):
            truth, estimates = _logged(way, generator)
            for name, estimate in estimates.items():
                missed[name] += not estimate.low <= truth <= estimate.high
        for name, n_missed in missed.items():
            yield Figure(f"{way}, {name}: truth outside, %", 100 * n_missed / runs, 7, "%")


def _logged(
    way: str, generator: np.random.Generator, n: int = 3_000
) -> tuple[float, dict[str, off_policy.OffPolicyEstimate]]:
    """What a ranker by another score would earn, and what the log of the present one says of it."""
    rates = generator.beta(2.0, 18.0, (n, POOL))
    present, other = (rates + generator.normal(0, 0.05, rates.shape) for _ranker in range(2))
    order = np.argsort(-present, axis=1)
    rates, other = np.take_along_axis(rates, order, 1), np.take_along_axis(other, order, 1)
    if way == exploring.EPSILON:
        chances = np.tile(exploring.epsilon_chances(POOL, 0.5), (n, 1))
    else:
        n_events = np.full(POOL, 10.0)
        seen = np.clip(np.take_along_axis(present, order, 1), 0.01, 0.99)
        drawn = [exploring.thompson_chances(row, n_events, generator=generator) for row in seen]
        chances = 0.5 * np.array(drawn) + 0.5 / POOL
    shown = np.array([exploring.draw(row, generator=generator) for row in chances])
    rows, chosen = np.arange(n), other.argmax(axis=1)
    reward = (generator.random(n) < rates[rows, shown]).astype(float)
    weight = (shown == chosen) / chances[rows, shown]
    guess = np.clip(rates + generator.normal(0, 0.03, rates.shape), 0, 1)
    estimates = {
        "IPS": off_policy.ips(reward, weight),
        "SNIPS": off_policy.snips(reward, weight),
        "doubly robust": off_policy.doubly_robust(
            reward, weight, predicted=guess[rows, shown], expected=guess[rows, chosen]
        ),
    }
    return float(rates[rows, chosen].mean()), estimates


if __name__ == "__main__":
    main()
