"""Trains the heads for click, cart and purchase on lists that visitors were shown, corrected for position bias.

P(click) is the click rate of an item that is looked at. Cart and purchase are P(click) · P(event | click), learned over
all shown items (ESMM, Ma et al. 2018) and not on clicked ones alone, which are few and selected by the click.
Separate heads would have to learn by themselves that a purchase needs a click.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from recommender.durations import DAY_SECONDS, LABEL_WINDOW_SECONDS
from recommender.features.head import CLICK, EVENTS, Head, Heads
from recommender.ml.head.additive import Additive, HeadSchedule, blank_head, calibrator, minimise
from recommender.ml.head.position import MOST_POSITIONS, Examination, estimate
from recommender.ml.head.shown import ShownItems
from recommender.ml.metrics import (
    Interval,
    ProbabilityScores,
    best_threshold,
    ndcg_of_scores,
    paired_bootstrap,
    score_probabilities,
)
from recommender.ml.progress import UNWATCHED, Progress
from recommender.types import SLOT_CODES, FloatArray, Slot

SMALLEST = 1e-6
"""Keeps log(1 - P) finite where a click is all but sure."""


@dataclass(frozen=True, slots=True)
class MultitaskSettings:
    """How the heads are fitted. An event with fewer than `least_events` occurrences in a slice gets no head.

    At least `least_cases` lists with a purchase are needed before these heads may order lists.
    """

    n_epochs: int = 10
    batch_items: int = 2_048
    learning_rate: float = 0.02
    weight_decay: float = 0.02
    least_steps: int = 300
    least_events: int = 30
    least_cases: int = 100
    most_lists: int = 6_000
    seed: int = 0


@dataclass(frozen=True, slots=True)
class ShownModel:
    """The heads, how often positions are looked at, and by event the probability from which it counts as predicted."""

    heads: Heads
    examination: Examination
    thresholds: dict[str, float]

    def observed(self, entries: ShownItems) -> dict[str, FloatArray]:
        """Return (m,) of each event: its probability at the position where the item stood."""
        looked = self.examination.at(entries.slot, entries.position)
        return {event: looked * probability for event, probability in self.heads.probabilities(entries.rows).items()}

    def scores(self, entries: ShownItems) -> dict[str, ProbabilityScores]:
        """Compare the probabilities of each event that occurred with what happened."""
        return {
            event: score_probabilities(entries.labels[event], probability, threshold=self.thresholds[event])
            for event, probability in self.observed(entries).items()
            if entries.labels[event].any()
        }


def fit_heads(
    train: ShownItems,
    later: ShownItems,
    *,
    settings: MultitaskSettings,
    progress: Progress = UNWATCHED,
) -> ShownModel | None:
    """Learn on `train` and calibrate on the `later` lists; None without enough clicks in both."""
    events = [
        event for event in EVENTS if min(part.labels[event].sum() for part in (train, later)) >= settings.least_events
    ]
    if CLICK not in events:
        return None
    examination = estimate(
        train.rows, train.slot, train.position, train.labels[CLICK], weight=train.weight, seed=settings.seed
    )
    towers = _towers(train, events)
    _learn(towers, train, examination, settings, progress)
    heads = _calibrated({event: tower.head(tower.blank) for event, tower in towers.items()}, later, examination)
    model = ShownModel(replace(heads, curves=_curves(train, examination)), examination, {})
    thresholds = {
        event: best_threshold(later.labels[event], probability) for event, probability in model.observed(later).items()
    }
    return replace(model, thresholds=thresholds)


def order_gain(ours: FloatArray, theirs: FloatArray, entries: ShownItems, examination: Examination) -> Interval:
    """Compare two orders of the lists with a purchase by NDCG@10, each purchase weighted by its inverse propensity.

    Otherwise an item would count as good because it stood high (Joachims et al. 2017). ours, theirs (m,).
    """
    gain = entries.labels["buy"] * examination.weights(entries.slot, entries.position)
    lists = np.split(np.arange(len(entries)), np.flatnonzero(np.diff(entries.list)) + 1)
    bought = [rows for rows in lists if gain[rows].any()]
    return paired_bootstrap(
        *([ndcg_of_scores(scores[rows], gain[rows]) for rows in bought] for scores in (ours, theirs))
    )


def ordering(
    model: ShownModel, theirs: FloatArray, entries: ShownItems, settings: MultitaskSettings
) -> tuple[Heads, float]:
    """Let the heads order lists where they do so better than `theirs` (m,) on later lists; return them and the gain.

    Better: there is a P(buy), at least `least_cases` lists led to a purchase, and the lower bound of the 95 % interval
    of the gain in NDCG@10 is above 0.
    """
    n_cases = len(np.unique(entries.list[entries.labels["buy"] > 0]))
    if "buy" not in model.heads.after or n_cases < settings.least_cases:
        return model.heads, 0.0
    interval = order_gain(model.heads.probabilities(entries.rows)["buy"], theirs, entries, model.examination)
    return replace(model.heads, orders=interval.lower > 0), interval.mean


class _Tower(Additive):
    """The additive model of one event over the chosen (m,) bool of the shown items."""

    def __init__(self, entries: ShownItems, event: str, chosen: npt.NDArray[np.bool_]) -> None:
        rows, labels = entries.rows[chosen], entries.labels[event][chosen]
        self.blank = blank_head(rows, labels, event=event, horizon_days=LABEL_WINDOW_SECONDS / DAY_SECONDS)
        super().__init__(self.blank)


def _towers(entries: ShownItems, events: list[str]) -> dict[str, _Tower]:
    """Return a model of the click over all shown items, and of each other event over the clicked ones."""
    everything, clicked = np.ones(len(entries), bool), entries.labels[CLICK] > 0
    return {event: _Tower(entries, event, everything if event == CLICK else clicked) for event in events}


def _learn(
    towers: dict[str, _Tower],
    entries: ShownItems,
    examination: Examination,
    settings: MultitaskSettings,
    progress: Progress,
) -> None:
    rows, weight = torch.from_numpy(entries.rows), torch.from_numpy(entries.weight / entries.weight.mean())
    inverse = examination.weights(entries.slot, entries.position)
    targets = {event: torch.from_numpy(entries.labels[event] * inverse) for event in towers}
    minimise(
        lambda batch: _loss(
            towers, rows[batch], {event: target[batch] for event, target in targets.items()}, weight[batch]
        ),
        [parameter for tower in towers.values() for parameter in tower.parameters()],
        len(entries),
        HeadSchedule(
            settings.batch_items, settings.n_epochs, settings.least_steps, settings.learning_rate,
            settings.weight_decay, settings.seed,
        ),
        progress,
    )  # fmt: skip


def _loss(towers: dict[str, _Tower], rows: Tensor, targets: dict[str, Tensor], weight: Tensor) -> Tensor:
    """Sum over the events of the cross-entropy with the label over its propensity.

    Its mean is the cross-entropy of the item if it were looked at (the unbiased estimator of Saito et al. 2020). A
    target above 1 makes up for the times when the item was not looked at.
    """
    click = torch.nn.functional.logsigmoid(towers[CLICK](rows))
    total = torch.zeros(())
    for event, target in targets.items():
        log_chance = click if event == CLICK else click + torch.nn.functional.logsigmoid(towers[event](rows))
        log_rest = torch.log(-torch.expm1(log_chance.clamp(max=-SMALLEST)))
        total = total - (weight * (target * log_chance + (1 - target) * log_rest)).mean()
    return total


def _calibrated(heads: dict[str, Head], later: ShownItems, examination: Examination) -> Heads:
    """Calibrate the click on clicks over their propensity, the other events on what followed from clicks.

    A clicked item was looked at wherever it stood, so what follows from the click needs no correction.
    """
    clicked = later.labels[CLICK] > 0
    targets = later.labels[CLICK] * examination.weights(later.slot, later.position)
    tables = {CLICK: calibrator(heads[CLICK].logits(later.rows), targets)}
    for event in heads.keys() - {CLICK}:
        tables[event] = calibrator(heads[event].logits(later.rows[clicked]), later.labels[event][clicked])
    calibrated = {
        event: replace(head, raw=tables[event][0], probability=tables[event][1]) for event, head in heads.items()
    }
    return Heads(calibrated.pop(CLICK), calibrated)


def _curves(entries: ShownItems, examination: Examination) -> dict[Slot, FloatArray]:
    """Return by slot (n_positions,) how often a position is looked at, as far down as items were shown."""
    return {
        slot: examination.curves[code, : min(int(entries.position[entries.slot == code].max()), MOST_POSITIONS)]
        for slot, code in SLOT_CODES.items()
        if (entries.slot == code).any()
    }
