"""Trains the head, an additive model that scores candidates, on labelled lists, and calibrates its probabilities."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np
import torch
from sklearn.isotonic import IsotonicRegression
from torch import Tensor

from recommender.features import FEATURE_NAMES
from recommender.features.head import Head
from recommender.ml.head.lists import Lists
from recommender.ml.metrics import ProbabilityScores, ndcg_of_scores, score_probabilities
from recommender.ml.progress import UNWATCHED, Progress
from recommender.types import FloatArray

QUANTILES = (0.1, 0.35, 0.65, 0.9)
"""Where the hinges of a feature sit among its non-zero values: two in the body, two before the tails."""

CALIBRATOR_STEPS = 64
TOP = 10
MOST_HITS = 24
"""Hits of one list that enter pairs, drawn anew at each step: the cost grows with them, and few lists have more."""

LEAST_STEPS = 300
"""A shop with few lists goes through them more often: below about 300 steps the weights have not settled."""

NEWCOMER_STANDARD_ERRORS = 1.64
"""Lower bound of a one-sided 95 % interval, as for the circumstances of the context model."""

LEAST_NEWCOMER_LISTS = 30
COLD, WEEK, MONTH = (FEATURE_NAMES.index(name) for name in ("is_cold", "popular_7", "popular_30"))


@dataclass(frozen=True, slots=True)
class HeadSettings:
    """How the head is fitted. weight_decay: L2 of AdamW; listwise and pointwise: weights of the two losses."""

    n_epochs: int = 9
    batch_lists: int = 48
    learning_rate: float = 0.02
    weight_decay: float = 0.02
    listwise: float = 1.0
    pointwise: float = 1.0
    seed: int = 0


def fit_head(
    lists: Lists,
    *,
    horizon_days: float = 30.0,
    without: frozenset[str] = frozenset(),
    settings: HeadSettings | None = None,
    progress: Progress = UNWATCHED,
) -> Head:
    """Fit by AdamW on cross-entropy (is it bought?) plus LambdaRank (does it rank above what is not bought?).

    `without` names features whose weights stay 0: the linear baseline is the head without the BERT features.
    """
    settings = settings or HeadSettings()
    torch.manual_seed(settings.seed)  # the random pairs must not depend on what was trained before
    head = blank_head(*lists.flat(), event="purchase", horizon_days=horizon_days, without=without)
    model = Additive(head)
    parts = (lists.rows, lists.labels, lists.mask)
    rows, labels, mask = (torch.from_numpy(np.ascontiguousarray(part)) for part in parts)
    minimise(
        lambda batch: _loss(model(rows[batch]), labels[batch], mask[batch], settings),
        model.parameters(),
        len(lists),
        HeadSchedule(
            settings.batch_lists, settings.n_epochs, LEAST_STEPS, settings.learning_rate, settings.weight_decay,
            settings.seed,
        ),
        progress,
    )  # fmt: skip
    return model.head(head)


@dataclass(frozen=True, slots=True)
class HeadSchedule:
    """How long `minimise` goes on, at least `least_steps`; `batch` cases are a step, `learning_rate` is the highest."""

    batch: int
    n_epochs: int
    least_steps: int
    learning_rate: float
    weight_decay: float
    seed: int


def minimise(
    loss_of: Callable[[Tensor], Tensor],
    parameters: Iterable[Tensor],
    n_cases: int,
    schedule: HeadSchedule,
    progress: Progress,
) -> None:
    """Minimise `loss_of` the indices (b,) of a batch, by AdamW and one cycle of the learning rate."""
    n_batches = -(-n_cases // schedule.batch)
    n_epochs = max(schedule.n_epochs, -(-schedule.least_steps // max(n_batches, 1)))
    total, step = n_epochs * n_batches, 0
    generator = torch.Generator().manual_seed(schedule.seed)
    optimizer = torch.optim.AdamW(parameters, lr=schedule.learning_rate, weight_decay=schedule.weight_decay)
    rates = torch.optim.lr_scheduler.OneCycleLR(optimizer, schedule.learning_rate, total_steps=max(total, 1))
    for _ in range(n_epochs):
        for batch in torch.randperm(n_cases, generator=generator).split(schedule.batch):
            if progress.should_stop():
                return
            loss = loss_of(batch)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            rates.step()
            step += 1
            progress.step(step, total, float(loss.detach()))


def calibrated(head: Head, lists: Lists) -> Head:
    """Fit the calibrator on lists later than those of training: isotonic regression (Zadrozny and Elkan 2002).

    The steps of the isotonic fit become a strictly ascending table, so that calibration never reorders a list.
    """
    rows, labels = lists.flat()
    raw, probability = calibrator(head.logits(rows), labels)
    return replace(head, raw=raw, probability=probability)


def calibrator(scores: FloatArray, labels: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the table (m,), (m,) from score to probability; scores and labels (n,)."""
    logits = scores.astype(np.float64)
    isotonic = IsotonicRegression(y_min=1e-5, y_max=1 - 1e-5, out_of_bounds="clip").fit(logits, labels)
    # Edges are scores that occur, so that no step between two of them is empty where few scores differ.
    edges = np.unique(np.quantile(logits, np.linspace(0, 1, CALIBRATOR_STEPS), method="inverted_cdf"))
    middle = (edges[1:] + edges[:-1]) / 2
    step = np.clip(np.searchsorted(edges, logits, side="right") - 1, 0, len(middle) - 1)
    smooth = [float(isotonic.predict(logits[step == i]).mean()) for i in range(len(middle))]
    raw = np.concatenate(([-40.0], middle, [40.0]))
    probability = np.maximum.accumulate(np.concatenate(([0.0], smooth, [1.0])))
    probability = probability * (1 - 1e-4) + 1e-4 * np.linspace(0, 1, len(raw))
    return raw.astype(np.float32), probability.astype(np.float32)


def judge(head: Head, lists: Lists, *, threshold: float) -> ProbabilityScores:
    """Compare the probabilities of the head with the labels of the lists."""
    rows, labels = lists.flat()
    return score_probabilities(labels, head.calibrate(head.logits(rows)), threshold=threshold)


def newcomer_gain(lists: Lists, score: Callable[[FloatArray], FloatArray]) -> float:
    """Return the lower bound of the head's gain in NDCG@10 over bestsellers, on lists of visitors without a history.

    score: rows (n, n_features) -> (n,), as it would be served; lists later than those that the head learned from.
    Below `LEAST_NEWCOMER_LISTS` with a purchase it is -1, and newcomers are shown bestsellers.
    """
    gains = [
        ndcg_of_scores(score(rows[mask]), labels[mask])
        - ndcg_of_scores(rows[mask][:, WEEK] + rows[mask][:, MONTH], labels[mask])
        for rows, labels, mask in zip(lists.rows, lists.labels, lists.mask, strict=True)
        if labels[mask].any() and rows[mask][0, COLD] > 0
    ]
    if len(gains) < LEAST_NEWCOMER_LISTS:
        return -1.0
    return float(np.mean(gains) - NEWCOMER_STANDARD_ERRORS * np.std(gains) / np.sqrt(len(gains)))


class Additive(torch.nn.Module):
    """The trainable form of a `Head`: maps rows (..., f) to log-odds (...)."""

    def __init__(self, head: Head) -> None:
        super().__init__()
        self.mean, self.scale = torch.from_numpy(head.mean), torch.from_numpy(head.scale)
        self.knots = torch.from_numpy(head.knots)
        self.used = torch.tensor([name in head.seen for name in head.names], dtype=torch.float32)
        self.linear = torch.nn.Parameter(torch.zeros_like(self.mean))
        self.bends = torch.nn.Parameter(torch.zeros_like(self.knots))
        self.bias = torch.nn.Parameter(torch.tensor(head.bias))
        self._memory = torch.empty(0)

    def forward(self, rows: Tensor) -> Tensor:
        basis = self._basis(rows)
        bends = (self.bends * self.used[:, None]).T
        weights = torch.cat(((self.linear * self.used)[None, :], bends)).reshape(-1)
        return basis @ weights + self.bias

    @torch.no_grad()
    def _basis(self, rows: Tensor) -> Tensor:
        """Return (..., (1 + k) f): the standardised rows, then their hinges knot by knot.

        It is written into the memory of the last call: new memory for each batch takes longer than the sums.
        """
        n_features, n_parts = len(self.mean), 1 + self.knots.shape[1]
        wanted = rows.shape[:-1].numel() * n_parts * n_features
        if self._memory.numel() < wanted:
            self._memory = torch.empty(wanted)
        basis = self._memory[:wanted].view(*rows.shape[:-1], n_parts, n_features)
        value = basis[..., 0, :]
        torch.sub(rows, self.mean, out=value).div_(self.scale).clamp_(-8, 8)
        torch.sub(value.unsqueeze(-2), self.knots.T, out=basis[..., 1:, :]).relu_()
        return basis.flatten(-2)

    def head(self, blank: Head) -> Head:
        """Return `blank` with the learned weights."""
        used = self.used.numpy()
        return replace(
            blank,
            linear=self.linear.detach().numpy() * used,
            bends=self.bends.detach().numpy() * used[:, None],
            bias=float(self.bias.detach()),
        )


def _loss(logits: Tensor, labels: Tensor, mask: Tensor, settings: HeadSettings) -> Tensor:
    pointwise = torch.nn.functional.binary_cross_entropy_with_logits(logits[mask], labels[mask])
    loss = settings.pointwise * pointwise
    if settings.listwise:
        loss = loss + settings.listwise * _lambda_loss(logits.masked_fill(~mask, -1e9), labels, mask)
    return loss


def _lambda_loss(logits: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
    """Pairs of a hit and a miss, weighted by what swapping them does to NDCG@10 (Burges 2010, section 4.1)."""
    with torch.no_grad():
        rank = logits.argsort(dim=1, descending=True).argsort(dim=1)
        gain = torch.where(rank < TOP, 1 / torch.log2(rank + 2.0), 0.0)
        ideal = torch.cumsum(1 / torch.log2(torch.arange(TOP) + 2.0), dim=0)
        ideal = ideal[labels.sum(dim=1).clamp(1, TOP).long() - 1]
        hits = (labels * (1 + torch.rand_like(labels))).topk(min(MOST_HITS, labels.shape[1]), dim=1).indices
        is_pair = labels.gather(1, hits).bool().unsqueeze(2) & ((labels == 0) & mask).unsqueeze(1)
        weight = (gain.gather(1, hits).unsqueeze(2) - gain.unsqueeze(1)).abs() * is_pair / ideal[:, None, None]
    margin = logits.gather(1, hits).unsqueeze(2) - logits.unsqueeze(1)
    return (weight * torch.nn.functional.softplus(-margin)).sum(dim=(1, 2)).mean()


def blank_head(
    rows: FloatArray, labels: FloatArray, *, event: str, horizon_days: float, without: frozenset[str] = frozenset()
) -> Head:
    """Return an untrained head: scale and knots of the rows (n, f), base rate of the labels (n,), all weights 0."""
    mean, scale = rows.mean(axis=0, dtype=np.float64), rows.std(axis=0, dtype=np.float64)
    varied = scale > 1e-6
    scale = np.where(varied, scale, 1)
    seen = frozenset(name for name, use in zip(FEATURE_NAMES, varied, strict=True) if use and name not in without)
    share = float(np.clip(labels.mean(), 1e-4, 1 - 1e-4))
    raw = np.linspace(-12, 12, 97).astype(np.float32)
    return Head(
        event=event,
        horizon_days=horizon_days,
        names=FEATURE_NAMES,
        mean=mean.astype(np.float32),
        scale=scale.astype(np.float32),
        knots=_knots(rows, mean, scale),
        linear=np.zeros(len(mean), np.float32),
        bends=np.zeros((len(mean), len(QUANTILES)), np.float32),
        bias=float(np.log(share / (1 - share))),
        seen=seen,
        raw=raw,
        probability=(1 / (1 + np.exp(-raw))).astype(np.float32),
    )


def _knots(rows: FloatArray, mean: FloatArray, scale: FloatArray) -> FloatArray:
    """Return (f, k): quantiles of the values that are not 0, in standardised units."""
    knots = np.zeros((rows.shape[1], len(QUANTILES)), np.float32)
    for feature, column in enumerate(rows.T):
        knots[feature] = (np.quantile(column[column != 0], QUANTILES) if column.any() else 0.0) - mean[feature]
    return (knots / scale[:, None]).astype(np.float32)
