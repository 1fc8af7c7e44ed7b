"""CUPED: takes out of a figure what was known of the person before, so that fewer people suffice.

Source: Deng, Xu, Kohavi and Walker, "Improving the sensitivity of online controlled experiments by utilizing
pre-experiment data", WSDM 2013, equation 4.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from recommender.experiments.sequences import Sums

Values = npt.NDArray[np.floating[Any]]


def adjusted(after: Values, before: Values) -> Values:
    """The values (n,) after the start, less what those before it explain; of the same mean over all n people.

    `before` comes from the time before a person was first in the experiment, so that no arm can have changed it. Both
    arms are handed in together: one slope for both.
    """
    centred = before - before.mean() if len(before) else before
    spread = float(np.square(centred).mean()) if len(before) else 0.0
    if spread <= 0:
        return after
    slope = float((centred * (after - after.mean())).mean()) / spread
    adjusted_values: Values = after - slope * centred
    return adjusted_values


def sums(values: Values) -> Sums:
    """The number, sum and sum of squares of values (n,)."""
    return Sums(len(values), float(values.sum()), float(np.square(values).sum()))
