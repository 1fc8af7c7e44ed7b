"""Estimates how often each position of a list is looked at, so that clicks can be corrected for position bias."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import optimize, special

from recommender.types import SLOT_CODES, FloatArray, IntArray

MOST_POSITIONS = 50
"""Lower positions count as looked at as often as the 50th."""

MOST_WEIGHT = 10.0
"""Inverse propensities are clipped here: a little bias for much less variance (Strehl et al. 2010)."""

MOST_ENTRIES = 200_000
"""Shown items that the estimate uses; of more, a random sample."""

RIDGE, PRIOR, SLOT_PRIOR = 1.0, 1.0, 10.0
"""Precisions of the normal priors in log-odds: of the weights of features, of the common curve around 1 / position
(where position-bias studies start), and of a slot's curve around the common one. With a dozen clicks a slot keeps
the common curve; with hundreds it gets its own."""

N_SLOTS = len(SLOT_CODES)


@dataclass(frozen=True, slots=True)
class Examination:
    """curves (n_slots, MOST_POSITIONS) float32 in (0, 1]: how often a position is looked at, relative to the first."""

    curves: FloatArray

    def at(self, slot: npt.NDArray[np.integer], position: npt.NDArray[np.integer]) -> FloatArray:
        """Return (m,) float32; slot (m,) `SLOT_CODES`, position (m,) from 1."""
        return self.curves[slot, np.clip(position, 1, MOST_POSITIONS) - 1]

    def weights(self, slot: npt.NDArray[np.integer], position: npt.NDArray[np.integer]) -> FloatArray:
        """Return (m,) float32: inverse propensities, at most `MOST_WEIGHT`."""
        return np.minimum(1 / self.at(slot, position), MOST_WEIGHT).astype(np.float32)


def exploration_weights(propensity: FloatArray) -> FloatArray:
    """Return (m,) float32: 1 where nothing was explored, at most `MOST_WEIGHT`.

    An explored item represents all items that might have been drawn instead (Horvitz and Thompson 1952).
    """
    return np.minimum(1 / propensity, MOST_WEIGHT).astype(np.float32)


def estimate(
    rows: FloatArray,
    slot: npt.NDArray[np.integer],
    position: IntArray,
    clicked: FloatArray,
    *,
    weight: FloatArray | None = None,
    seed: int = 0,
) -> Examination:
    """Fit P(click) = P(looked at | slot, position) · P(click | looked at, features).

    The position bias model with a regression of relevance (Wang et al. 2018, "regression-based EM"). They maximise the
    likelihood of the clicks by EM; L-BFGS maximises the same likelihood in fewer steps. The first position counts as
    always looked at, so the second factor is the click rate there. The two factors can be separated only because
    similar items stood at different positions, by exploration or because lists differ.
    rows (m, f); slot, position, clicked, weight (m,).
    """
    if len(rows) > MOST_ENTRIES:
        sample = np.random.default_rng(seed).permutation(len(rows))[:MOST_ENTRIES]
        rows, slot, position, clicked = rows[sample], slot[sample], position[sample], clicked[sample]
        weight = None if weight is None else weight[sample]
    weights = np.ones(len(rows)) if weight is None else weight / max(float(weight.mean()), 1e-9)
    problem = _Likelihood(_design(rows, slot), slot.astype(np.int64), position, clicked.astype(np.float64), weights)
    solution = optimize.minimize(problem, problem.start(), jac=True, method="L-BFGS-B", options={"maxiter": 200})
    return Examination(problem.curves(solution.x).astype(np.float32))


class _Likelihood:
    """The negative penalised log-likelihood and its gradient, over (common curve, slot curves, feature weights).

    The log-odds of a position are those of the common curve plus those that its slot adds; the first is fixed at 1.
    """

    def __init__(
        self,
        design: npt.NDArray[np.float64],
        slot: npt.NDArray[np.int64],
        position: IntArray,
        clicked: npt.NDArray[np.float64],
        weight: npt.NDArray[np.floating],
    ) -> None:
        self.design, self.clicked, self.weight = design, clicked, weight
        self.cell = slot * MOST_POSITIONS + np.clip(position, 1, MOST_POSITIONS) - 1
        self.prior = special.logit(1 / np.arange(2, MOST_POSITIONS + 1))
        self.n_common = MOST_POSITIONS - 1

    def start(self) -> npt.NDArray[np.float64]:
        beta = np.zeros(self.design.shape[1])
        share = float(np.clip(np.average(self.clicked, weights=self.weight), 1e-4, 0.5))
        beta[0] = special.logit(share)
        return np.concatenate([self.prior, np.zeros(N_SLOTS * self.n_common), beta])

    def parts(self, values: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], ...]:
        n = self.n_common
        return values[:n], values[n : n * (N_SLOTS + 1)].reshape(N_SLOTS, n), values[n * (N_SLOTS + 1) :]

    def curves(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        common, own, _ = self.parts(values)
        return np.concatenate([np.ones((N_SLOTS, 1)), special.expit(common + own)], axis=1)

    def __call__(self, values: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        common, own, beta = self.parts(values)
        looked = self.curves(values).ravel()[self.cell]
        taken = special.expit(self.design @ beta)
        chance = np.clip(looked * taken, 1e-9, 1 - 1e-9)
        clicked, weight = self.clicked, self.weight
        likelihood = float(weight @ (clicked * np.log(chance) + (1 - clicked) * np.log1p(-chance)))
        slope = weight * (clicked - chance) / (1 - chance)  # by the log-odds of either factor, up to (1 - factor)
        by_cell = np.bincount(self.cell, weights=slope * (1 - looked), minlength=N_SLOTS * MOST_POSITIONS)
        by_slot = by_cell.reshape(N_SLOTS, MOST_POSITIONS)[:, 1:]
        by_beta = self.design.T @ (slope * (1 - taken))
        deviation, ridge = common - self.prior, np.where(np.arange(len(beta)) == 0, 0.0, RIDGE)
        penalty = PRIOR * deviation @ deviation + SLOT_PRIOR * float((own**2).sum()) + ridge @ beta**2
        gradient = np.concatenate(
            [by_slot.sum(axis=0) - PRIOR * deviation, (by_slot - SLOT_PRIOR * own).ravel(), by_beta - ridge * beta]
        )
        return penalty / 2 - likelihood, -gradient


def _design(rows: FloatArray, slot: npt.NDArray[np.integer]) -> npt.NDArray[np.float64]:
    """Return (m, 1 + f + n_slots): a constant, the standardised features, and the slot as indicator columns."""
    mean, scale = rows.mean(axis=0, dtype=np.float64), rows.std(axis=0, dtype=np.float64)
    varied = scale > 1e-6
    value = np.clip((rows[:, varied] - mean[varied]) / scale[varied], -8, 8)
    return np.concatenate([np.ones((len(rows), 1)), value, np.eye(N_SLOTS)[slot]], axis=1)
