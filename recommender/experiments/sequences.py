"""Intervals that hold at every look: an experiment may be read each morning and stopped on what is read.

Asymptotic confidence sequences of Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, "Time-uniform central limit theory
and asymptotic confidence sequences", Annals of Statistics 52 (2024), theorem 2.2: the mean of n values with standard
deviation s lies within s * sqrt(2 (n r^2 + 1) / (n^2 r^2) * log(sqrt(n r^2 + 1) / alpha)) at all n at once. The
parameter r decides for which n the interval is narrowest; it is taken from the planned number of people.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy.special import lambertw, ndtri

ALPHA = 0.05
POWER = 0.8

FEWEST_PER_ARM = 100
"""Below so many people in an arm no interval is given: it relies on the central limit theorem."""


@dataclass(frozen=True, slots=True)
class Sums:
    """What an arm is judged by: how many people, and the sums of their values and of the squares of these."""

    n: int = 0
    total: float = 0.0
    squares: float = 0.0

    @property
    def mean(self) -> float:
        """The mean per person; 0 without people."""
        return self.total / self.n if self.n else 0.0

    @property
    def variance(self) -> float:
        """The sample variance; 0 below two people."""
        if self.n < 2:
            return 0.0
        return max(0.0, (self.squares - self.n * self.mean**2) / (self.n - 1))


@dataclass(frozen=True, slots=True)
class Effect:
    """The mean of the variant less that of the control, with its interval; `low` and `high` are infinite below
    `FEWEST_PER_ARM` people."""

    estimate: float
    low: float
    high: float

    @property
    def is_gain(self) -> bool:
        """Is the variant surely better?"""
        return self.low > 0

    @property
    def is_loss(self) -> bool:
        """Is the variant surely worse?"""
        return self.high < 0


def difference(control: Sums, variant: Sums, *, planned: int, alpha: float = ALPHA) -> Effect:
    """The difference of two means with an interval that holds at every look.

    planned: people of both arms for which the interval is to be narrowest, see `sample_size`.
    """
    estimate = variant.mean - control.mean
    if min(control.n, variant.n) < FEWEST_PER_ARM:
        return Effect(estimate, -math.inf, math.inf)
    error = math.sqrt(control.variance / control.n + variant.variance / variant.n)
    width = error * _errors(control.n + variant.n, planned, alpha)
    return Effect(estimate, estimate - width, estimate + width)


def mean(values: Sums, *, planned: int, alpha: float = ALPHA) -> Effect:
    """The mean of one sample as a difference from 0, with an interval that holds at every look."""
    if values.n < FEWEST_PER_ARM:
        return Effect(values.mean, -math.inf, math.inf)
    width = math.sqrt(values.variance / values.n) * _errors(values.n, planned, alpha)
    return Effect(values.mean, values.mean - width, values.mean + width)


def sample_size(
    mean: float, variance: float, *, lift: float, variant_share: float, alpha: float = ALPHA, power: float = POWER
) -> int:
    """How many people of both arms are needed to be sure of a relative lift with this power.

    mean, variance: of the values of one person without the change; the variance is taken to grow as the mean does. At
    the planned number the interval is sqrt(x + 1) standard errors wide to each side, x from `_narrowest`; a fixed test
    of 5 % would be 1.96, at the price that it may be read only once. Raises ValueError for a mean or lift of 0 and a
    share outside (0, 1).
    """
    if mean <= 0 or lift <= 0:
        raise ValueError("A sample size needs a mean and a lift above 0.")
    if not 0 < variant_share < 1:
        raise ValueError("The share of the variant must lie between 0 and 1.")
    errors = math.sqrt(_narrowest(alpha) + 1) + float(ndtri(power))
    spread = variance / (1 - variant_share) + variance * (1 + lift) / variant_share
    return math.ceil(errors**2 * spread / (mean * lift) ** 2)


def _errors(n: int, planned: int, alpha: float) -> float:
    """How many standard errors the interval is wide, to each side, at n people."""
    x = n * _narrowest(alpha) / max(planned, 2 * FEWEST_PER_ARM)
    return math.sqrt((x + 1) / x * math.log((x + 1) / alpha**2))


def _narrowest(alpha: float) -> float:
    """The x = n r^2 at which the interval is narrowest: the root of x = log((x + 1) / alpha^2)."""
    return float(-lambertw(-(alpha**2) / math.e, -1).real) - 1
