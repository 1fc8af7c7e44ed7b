"""Notices arms of the wrong size: then people went missing on one side, and no figure of the experiment holds."""

from __future__ import annotations

import math
from collections.abc import Sequence

from scipy.special import gammaln

CONCENTRATION = 100.0
"""Weight of the prior, in people: how far off the shares are expected to be where they are off."""

SURE = 0.001
"""The chance of a false alarm over the whole life of an experiment. Source: Fabijan et al., KDD 2019, .001 or less."""


def imbalance(counts: Sequence[int], shares: Sequence[float]) -> float:
    """A p-value, valid at every look, of people being assigned to the arms by these shares.

    The Bayes factor of a Dirichlet-multinomial around the shares against the multinomial of the shares is a martingale
    under it. Source: Lindon and Malek, "Anytime-valid inference for multinomial count data", NeurIPS 2022, section 3.
    """
    n = sum(counts)
    prior = [CONCENTRATION * share for share in shares]
    log_factor = float(gammaln(CONCENTRATION) - gammaln(CONCENTRATION + n))
    for count, share, weight in zip(counts, shares, prior, strict=True):
        log_factor += float(gammaln(weight + count) - gammaln(weight)) - count * math.log(share)
    return min(1.0, math.exp(min(0.0, -log_factor)))
