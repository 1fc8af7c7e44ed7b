"""What another ranker would have earned at the explored places, estimated from what was logged there.

Each logged place has the item shown, the chance with which it was chosen, and its reward. `weight` is the chance of
that item under the other ranker over the logged one; its mean is 1 where the log can answer the question at all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

Values = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class OffPolicyEstimate:
    """A mean reward per place with its 95 % interval, and how many equally weighted places it is worth."""

    value: float
    low: float
    high: float
    n_effective: float


def ips(reward: Values, weight: Values) -> OffPolicyEstimate:
    """Inverse propensity scoring: unbiased, and wide where weights are. reward, weight (n,).

    Source: Horvitz and Thompson, JASA 47 (1952); Bottou et al., JMLR 14 (2013), section 4.
    """
    return _estimate(weight * reward, weight)


def snips(reward: Values, weight: Values) -> OffPolicyEstimate:
    """The same, over the sum of the weights: a little biased, and much narrower.

    Source: Swaminathan and Joachims, NeurIPS 2015, equation 5. The interval is by the delta method.
    """
    total = float(weight.sum())
    if total <= 0:
        return OffPolicyEstimate(math.nan, -math.inf, math.inf, 0.0)
    value = float((weight * reward).sum()) / total
    influence = value + weight * (reward - value) * len(weight) / total
    return _estimate(influence, weight)


def doubly_robust(reward: Values, weight: Values, *, predicted: Values, expected: Values) -> OffPolicyEstimate:
    """A prediction of the reward, corrected by what was logged: right where either it or the propensities are.

    predicted (n,): of the item shown; expected (n,): of what the other ranker would show. Source: Dudík, Langford and
    Li, ICML 2011, equation 1.
    """
    return _estimate(expected + weight * (reward - predicted), weight)


def _estimate(values: Values, weight: Values) -> OffPolicyEstimate:
    if len(values) < 2:
        return OffPolicyEstimate(
            float(values.mean()) if len(values) else math.nan, -math.inf, math.inf, float(len(values))
        )
    value = float(values.mean())
    width = float(ndtri(0.975)) * float(values.std(ddof=1)) / math.sqrt(len(values))
    squares = float(np.square(weight).sum())
    n_effective = float(weight.sum()) ** 2 / squares if squares else 0.0
    return OffPolicyEstimate(value, value - width, value + width, n_effective)
