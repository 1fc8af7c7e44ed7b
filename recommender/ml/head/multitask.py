"""Places of lists that were shown in, heads for click, cart and purchase out: freed of position, and calibrated later.

P(click) is learned as the click rate of an item that is looked at; carts and purchases as P(click) · P(event | click)
over all places (ESMM, Ma et al. 2018), not on clicked places alone: those are few and chosen by the
click. Separate heads would have to be taught that a purchase needs a click.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from recommender.durations import DAY_SECONDS, LABEL_WINDOW_SECONDS
from recommender.features.head import CLICK, EVENTS, Head, Heads
from recommender.ml import metrics
from recommender.ml.head.additive import Additive, blank_head, calibrator, judged
from recommender.ml.head.examples import Lists
from recommender.ml.head.position import MOST_POSITIONS, Examination, estimate
from recommender.ml.head.shown import Places
from recommender.ml.progress import UNWATCHED, Progress
from recommender.types import SLOT_CODES, FloatArray, Slot

TOP = 10
SMALLEST = 1e-6


@dataclass(frozen=True, slots=True)
class MultitaskSettings:
    """How the heads are fitted. An event seen less than `least_events` times in a slice has no head.

    `least_cases` lists with a purchase must compare two orders before one may take the place of the other.
    """

    n_epochs: int = 10
    batch_places: int = 2_048
    learning_rate: float = 0.02
    weight_decay: float = 0.02
    least_steps: int = 300
    least_events: int = 30
    least_cases: int = 100
    most_lists: int = 6_000
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Fitted:
    """The heads, how often places are looked at, and from which probability on an event counts as predicted."""

    heads: Heads
    examination: Examination
    thresholds: dict[str, float]

    def observed(self, places: Places) -> dict[str, FloatArray]:
        """Return (m,) of each event: its probability at the place where the item stood."""
        looked = self.examination.at(places.slot, places.position)
        return {name: looked * chance for name, chance in self.heads.probabilities(places.rows).items()}

    def figures(self, places: Places) -> dict[str, dict[str, float]]:
        """Return the figures of each event that occurred: what was predicted of each place against what followed."""
        return {
            name: judged(places.labels[name], chance, threshold=self.thresholds[name])
            for name, chance in self.observed(places).items()
            if places.labels[name].any()
        }


def fit_heads(
    train: Places,
    later: Places,
    *,
    settings: MultitaskSettings,
    progress: Progress = UNWATCHED,
) -> Fitted | None:
    """Learn on `train`, calibrate on the `later` places; None without enough clicks in both."""
    events = [
        name for name in EVENTS if min(part.labels[name].sum() for part in (train, later)) >= settings.least_events
    ]
    if CLICK not in events:
        return None
    examination = estimate(
        train.rows, train.slot, train.position, train.labels[CLICK], weight=train.weight, seed=settings.seed
    )
    towers = _towers(train, events)
    _learn(towers, train, examination, settings, progress)
    heads = _calibrated({name: tower.head(tower.blank) for name, tower in towers.items()}, later, examination)
    fitted = Fitted(replace(heads, curves=_curves(train, examination)), examination, {})
    chances = fitted.observed(later)
    return replace(
        fitted, thresholds={name: metrics.best_threshold(later.labels[name], chances[name]) for name in chances}
    )


def order_gain(ours: FloatArray, theirs: FloatArray, places: Places, examination: Examination) -> metrics.Interval:
    """Compare two orders of the lists with a purchase in NDCG@10, each purchase weighted by its inverse propensity.

    So that an item is not called good because it stood high (Joachims et al. 2017). ours, theirs (m,).
    """
    gain = places.labels["buy"] * examination.weights(places.slot, places.position)
    ends = np.flatnonzero(np.diff(places.list)) + 1
    lists = np.split(np.arange(len(places)), ends)
    used = [rows for rows in lists if gain[rows].any()]
    return metrics.paired_bootstrap(
        [_ndcg(ours[rows], gain[rows]) for rows in used], [_ndcg(theirs[rows], gain[rows]) for rows in used]
    )


def ordering(fitted: Fitted, theirs: FloatArray, places: Places, settings: MultitaskSettings) -> tuple[Heads, float]:
    """Let the heads order lists where they surely do it better than `theirs` (m,) on later lists; and the gain.

    The rule: there is a P(buy), at least `least_cases` lists of the validation slice led to a purchase, and the lower
    bound of the 95 % interval of the gain in NDCG@10 is above 0.
    """
    n_cases = len(np.unique(places.list[places.labels["buy"] > 0]))
    if "buy" not in fitted.heads.after or n_cases < settings.least_cases:
        return fitted.heads, 0.0
    interval = order_gain(fitted.heads.probabilities(places.rows)["buy"], theirs, places, fitted.examination)
    return replace(fitted.heads, orders=interval.lower > 0), interval.mean


class _Tower(Additive):
    def __init__(self, places: Places, event: str, chosen: np.ndarray) -> None:
        rows, labels = places.rows[chosen][None], places.labels[event][chosen][None]
        lists = Lists(rows, labels, np.ones(labels.shape, bool))
        self.blank = blank_head(lists, event, LABEL_WINDOW_SECONDS / DAY_SECONDS, frozenset())
        super().__init__(self.blank)


def _towers(places: Places, events: list[str]) -> dict[str, _Tower]:
    """One additive model of the click over all places, one of each other event over the clicked ones."""
    everywhere, clicked = np.ones(len(places), bool), places.labels[CLICK] > 0
    return {name: _Tower(places, name, everywhere if name == CLICK else clicked) for name in events}


def _learn(
    towers: dict[str, _Tower],
    places: Places,
    examination: Examination,
    settings: MultitaskSettings,
    progress: Progress,
) -> None:
    rows, weight = torch.from_numpy(places.rows), torch.from_numpy(places.weight / places.weight.mean())
    inverse = examination.weights(places.slot, places.position)
    targets = {name: torch.from_numpy(places.labels[name] * inverse) for name in towers}
    parameters = [parameter for tower in towers.values() for parameter in tower.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay)
    generator = torch.Generator().manual_seed(settings.seed)
    n_batches = -(-len(places) // settings.batch_places)
    n_epochs = max(settings.n_epochs, -(-settings.least_steps // n_batches))
    total = n_epochs * n_batches
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.learning_rate, total_steps=total)
    step = 0
    for _ in range(n_epochs):
        for some in torch.randperm(len(places), generator=generator).split(settings.batch_places):
            if progress.should_stop():
                return
            loss = _loss(towers, rows[some], {name: target[some] for name, target in targets.items()}, weight[some])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            step += 1
            progress.step(step, total, float(loss.detach()))


def _loss(towers: dict[str, _Tower], rows: Tensor, targets: dict[str, Tensor], weight: Tensor) -> Tensor:
    """Sum over the events of the cross-entropy with the label over its propensity.

    Its mean over looks is the cross-entropy of the item as it would be if it were looked at (the unbiased
    estimator of Saito et al. 2020); a target above 1 stands for the looks that did not happen.
    """
    click = torch.nn.functional.logsigmoid(towers[CLICK](rows))
    total = torch.zeros(())
    for name, target in targets.items():
        log_chance = click if name == CLICK else click + torch.nn.functional.logsigmoid(towers[name](rows))
        log_rest = torch.log(-torch.expm1(log_chance.clamp(max=-SMALLEST)))
        total = total - (weight * (target * log_chance + (1 - target) * log_rest)).mean()
    return total


def _calibrated(heads: dict[str, Head], later: Places, examination: Examination) -> Heads:
    """Fit each head's table: the click's to clicks over their propensity, the others' to what followed from clicks.

    A click was looked at wherever it happened, so what follows from it needs no correction.
    """
    clicked = later.labels[CLICK] > 0
    targets = later.labels[CLICK] * examination.weights(later.slot, later.position)
    tables = {CLICK: calibrator(heads[CLICK].logits(later.rows), targets)}
    for name in heads.keys() - {CLICK}:
        tables[name] = calibrator(heads[name].logits(later.rows[clicked]), later.labels[name][clicked])
    made = {name: replace(head, raw=tables[name][0], probability=tables[name][1]) for name, head in heads.items()}
    return Heads(made.pop(CLICK), made)


def _curves(places: Places, examination: Examination) -> dict[Slot, FloatArray]:
    """How often each place is looked at, in the slots that were shown, as far down as they were."""
    return {
        slot: examination.curves[code, : min(int(places.position[places.slot == code].max()), MOST_POSITIONS)]
        for slot, code in SLOT_CODES.items()
        if (places.slot == code).any()
    }


def _ndcg(scores: FloatArray, gain: FloatArray) -> float:
    discount = 1 / np.log2(np.arange(min(len(gain), TOP)) + 2)
    best = np.sort(gain)[::-1][: len(discount)] @ discount
    return float(gain[np.argsort(-scores, kind="stable")][: len(discount)] @ discount / best)
