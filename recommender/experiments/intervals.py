"""How sure a figure is: 95 % intervals of rates, of means, and of their differences. No Django, no I/O."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

Z = 1.959964
"""Of the standard normal distribution: 95 % lie within."""

Values = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its interval. Where nothing can be divided by, there is no estimate."""

    value: float
    low: float
    high: float


def rate(n_hits: float, n: float) -> Estimate | None:
    """The share of `n` cases that are hits, with Wilson's score interval, which holds for few cases and near 0 and 1;
    None without a case. Source: Wilson 1927, "Probable inference, the law of succession, and statistical inference"."""
    if n <= 0:
        return None
    share = min(n_hits / n, 1.0)
    middle = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
    reach = Z / (1 + Z**2 / n) * math.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2))
    return Estimate(share, max(0.0, middle - reach), min(1.0, middle + reach))


def mean(total: float, squares: float, n: float) -> Estimate | None:
    """The mean of `n` amounts, from their sum and the sum of their squares, with a normal interval, which takes the
    amounts as independent; None below two."""
    if n < 2:
        return None
    value = total / n
    variance = max(0.0, (squares - n * value**2) / (n - 1))
    reach = Z * math.sqrt(variance / n)
    return Estimate(value, value - reach, value + reach)


def difference(now: Estimate | None, before: Estimate | None) -> Estimate | None:
    """How much more `now` is, with the interval that follows from both (Newcombe 1998, "Interval estimation for the
    difference between independent proportions", method 10; for means the usual one)."""
    if now is None or before is None:
        return None
    change = now.value - before.value
    below = math.hypot(now.value - now.low, before.high - before.value)
    above = math.hypot(now.high - now.value, before.value - before.low)
    return Estimate(change, change - below, change + above)


def difference_of_means(values: Values, others: Values) -> Estimate | None:
    """How much more the mean of `values` is, from the amounts of each case; None below two cases of either.

    Source: Welch 1947, "The generalization of Student's problem when several different population variances are
    involved", with Satterthwaite's degrees of freedom.
    """
    if min(len(values), len(others)) < 2:
        return None
    change = float(values.mean() - others.mean())
    parts = [float(group.var(ddof=1)) / len(group) for group in (values, others)]
    error = math.sqrt(sum(parts))
    if not error:
        return Estimate(change, change, change)
    degrees = sum(parts) ** 2 / sum(
        part * part / (len(group) - 1) for part, group in zip(parts, (values, others), strict=True)
    )
    reach = float(special.stdtrit(degrees, 0.975)) * error
    return Estimate(change, change - reach, change + reach)


def quantile(n_within: list[tuple[float, int]], share: float) -> float | None:
    """The value that `share` of the cases do not exceed, from the number of cases up to each bound (ascending; infinity
    for the rest), linear within its bound as Prometheus' `histogram_quantile`; None without a case.

    Beyond the last finite bound it is infinity: nobody has measured how far.
    """
    total = sum(n for _, n in n_within)
    if not total:
        return None
    wanted, passed, lower = share * total, 0, 0.0
    for bound, n in n_within:
        if passed + n >= wanted and n:
            return lower + (bound - lower) * (wanted - passed) / n if math.isfinite(bound) else math.inf
        passed, lower = passed + n, bound
    return math.inf
