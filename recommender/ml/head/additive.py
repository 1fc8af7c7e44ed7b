"""Trains the head: candidate lists with labels in, an additive calibrated model out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from recommender.features import FEATURE_NAMES
from recommender.features.head import Head
from recommender.ml import metrics
from recommender.ml.head.examples import Lists
from recommender.ml.progress import UNWATCHED, Progress
from recommender.types import FloatArray

QUANTILES = (0.1, 0.35, 0.65, 0.9)
"""Where the hinges of a feature sit among its non-zero values: two in the body, two before the tails."""

CALIBRATOR_STEPS = 64
TOP = 10
MOST_HITS = 24
"""Hits of one list that enter pairs, drawn anew each step: the cost grows with them, and few lists have more."""

LEAST_STEPS = 300
"""A shop with few lists goes through them more often: below about 300 steps the weights have not settled."""


@dataclass(frozen=True, slots=True)
class HeadSettings:
    """How the head is fitted; weight_decay is the L2 of AdamW, listwise the weight of the ranking loss."""

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
    event: str = "purchase",
    horizon_days: float = 30.0,
    without: frozenset[str] = frozenset(),
    settings: HeadSettings | None = None,
    progress: Progress = UNWATCHED,
) -> Head:
    """Fit by AdamW on cross-entropy (is it bought?) plus LambdaRank (is it above what is not?).

    `without` names features that are held at 0: the linear baseline is the head without BERT features.
    """
    settings = settings or HeadSettings()
    torch.manual_seed(settings.seed)  # the draws of pairs must not depend on what was trained before
    head = blank_head(lists, event, horizon_days, without)
    model = Additive(head)
    data = [torch.from_numpy(np.ascontiguousarray(part)) for part in (lists.rows, lists.labels, lists.mask)]
    generator = torch.Generator().manual_seed(settings.seed)
    n_batches = -(-len(lists) // settings.batch_lists)
    n_epochs = max(settings.n_epochs, -(-LEAST_STEPS // max(n_batches, 1)))
    total = n_epochs * n_batches
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.learning_rate, total_steps=max(total, 1))
    step = 0
    for _ in range(n_epochs):
        for places in torch.randperm(len(lists), generator=generator).split(settings.batch_lists):
            if progress.should_stop():
                return model.head(head)
            rows, labels, mask = (part[places] for part in data)
            loss = _loss(model(rows), labels, mask, settings)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            step += 1
            progress.step(step, total, float(loss.detach()))
    return model.head(head)


def calibrated(head: Head, lists: Lists) -> Head:
    """Fit the calibrator on lists later than those of training: isotonic regression (Zadrozny and Elkan 2002).

    The steps of the isotonic fit become a strictly ascending table, so that calibration never reorders a list.
    """
    rows, labels = lists.flat()
    return _with_table(head, *calibrator(head.logits(rows), labels))


def calibrator(scores: FloatArray, labels: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the table (m,), (m,) from score to probability; scores and labels (n,)."""
    from sklearn.isotonic import IsotonicRegression

    logits = scores.astype(np.float64)
    fitted = IsotonicRegression(y_min=1e-5, y_max=1 - 1e-5, out_of_bounds="clip").fit(logits, labels)
    # Edges are scores that occur, so that no step between two of them is empty where few scores differ.
    edges = np.unique(np.quantile(logits, np.linspace(0, 1, CALIBRATOR_STEPS), method="inverted_cdf"))
    middle = (edges[1:] + edges[:-1]) / 2
    place = np.clip(np.searchsorted(edges, logits, side="right") - 1, 0, len(middle) - 1)
    smooth = [float(fitted.predict(logits[place == i]).mean()) for i in range(len(middle))]
    raw = np.concatenate(([-40.0], middle, [40.0]))
    probability = np.maximum.accumulate(np.concatenate(([0.0], smooth, [1.0])))
    probability = probability * (1 - 1e-4) + 1e-4 * np.linspace(0, 1, len(raw))
    return raw.astype(np.float32), probability.astype(np.float32)


def judge(head: Head, lists: Lists, *, threshold: float) -> dict[str, float]:
    """Return accuracy, recall, F1, log-loss and calibration error of the probabilities."""
    rows, labels = lists.flat()
    return judged(labels, head.calibrate(head.logits(rows)), threshold=threshold)


def judged(labels: FloatArray, score: FloatArray, *, threshold: float) -> dict[str, float]:
    """Return the same of probabilities `score` (n,) beside labels (n,)."""
    return {
        "accuracy": metrics.accuracy(labels, score, threshold),
        "recall": metrics.recall(labels, score, threshold),
        "f1": metrics.f1(labels, score, threshold),
        "log_loss": metrics.log_loss(labels, score),
        "calibration_error": metrics.expected_calibration_error(labels, score),
        "positive_share": float(labels.mean()) if len(labels) else 0.0,
    }


class Additive(torch.nn.Module):
    """A `Head` that learns: rows (..., f) in, log-odds (...) out."""

    def __init__(self, head: Head) -> None:
        super().__init__()
        self.mean, self.scale = torch.from_numpy(head.mean), torch.from_numpy(head.scale)
        self.knots = torch.from_numpy(head.knots)
        self.used = torch.tensor([name in head.seen for name in head.names], dtype=torch.float32)
        self.linear = torch.nn.Parameter(torch.zeros_like(self.mean))
        self.bends = torch.nn.Parameter(torch.zeros_like(self.knots))
        self.bias = torch.nn.Parameter(torch.tensor(head.bias))

    def forward(self, rows: Tensor) -> Tensor:
        value = ((rows - self.mean) / self.scale).clamp(-8, 8)
        total: Tensor = value @ (self.linear * self.used) + self.bias
        for place in range(self.knots.shape[1]):
            total = total + (value - self.knots[:, place]).relu() @ (self.bends[:, place] * self.used)
        return total

    def head(self, blank: Head) -> Head:
        """Return what was learned as numbers; all else is that of `blank`."""
        used = self.used.numpy()
        linear = self.linear.detach().numpy() * used
        bends = self.bends.detach().numpy() * used[:, None]
        parts = {name: getattr(blank, name) for name in ("event", "horizon_days", "names", "mean", "scale", "knots")}
        bias = float(self.bias.detach())
        return Head(
            **parts,
            linear=linear,
            bends=bends,
            bias=bias,
            seen=blank.seen,
            raw=blank.raw,
            probability=blank.probability,
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


def blank_head(lists: Lists, event: str, horizon_days: float, without: frozenset[str]) -> Head:
    """Return a head that knows the scale of the features and the base rate of the event, and nothing else yet."""
    rows, labels = lists.flat()
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
    for place, column in enumerate(rows.T):
        told = column[column != 0]
        knots[place] = (np.quantile(told, QUANTILES) if len(told) else 0.0) - mean[place]
    return (knots / scale[:, None]).astype(np.float32)


def _with_table(head: Head, raw: FloatArray, probability: FloatArray) -> Head:
    from dataclasses import replace

    return replace(head, raw=raw, probability=probability)
