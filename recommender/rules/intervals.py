"""Intervals of the difference between two groups of people: of shares, and of means."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy import special

Z = 1.959963984540054
"""95 %, two-sided."""

Values = npt.NDArray[np.float64]


def wilson(n_with: int, n: int) -> tuple[float, float]:
    """The interval of a share. Source: Wilson 1927, "Probable inference, the law of succession"."""
    share = n_with / n
    middle = share + Z * Z / (2 * n)
    reach = Z * math.sqrt(share * (1 - share) / n + Z * Z / (4 * n * n))
    return (middle - reach) / (1 + Z * Z / n), (middle + reach) / (1 + Z * Z / n)


def difference_of_shares(n_with: int, n: int, other_n_with: int, other_n: int) -> tuple[float, float, float]:
    """The difference of two shares with its interval, (low, difference, high); n and other_n above 0.

    Source: Newcombe 1998, "Interval estimation for the difference between independent proportions", method 10.
    """
    share, other = n_with / n, other_n_with / other_n
    low, high = wilson(n_with, n)
    other_low, other_high = wilson(other_n_with, other_n)
    down = math.hypot(share - low, other_high - other)
    up = math.hypot(high - share, other - other_low)
    return share - other - down, share - other, share - other + up


def difference_of_means(values: Values, others: Values) -> tuple[float, float, float]:
    """The difference of two means with its interval, (low, difference, high); two values each at least.

    Source: Welch 1947, "The generalization of Student's problem when several different population variances are
    involved", with Satterthwaite's degrees of freedom.
    """
    difference = float(values.mean() - others.mean())
    parts = [float(group.var(ddof=1)) / len(group) for group in (values, others)]
    error = math.sqrt(sum(parts))
    if not error:
        return difference, difference, difference
    degrees = sum(parts) ** 2 / sum(
        part * part / (len(group) - 1) for part, group in zip(parts, (values, others), strict=True)
    )
    reach = float(special.stdtrit(degrees, 0.975)) * error
    return difference - reach, difference, difference + reach
