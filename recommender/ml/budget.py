"""Divides the minutes of a run: reserves time for encoding and export, and shares the rest among the stages."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from recommender.ml.encoder.model import Encoder
from recommender.ml.plan import TrainingData, TrainingSettings
from recommender.tables import Interactions
from recommender.types import FineTuning, Teaching

N_TIMED = 96
"""Number of texts that are encoded to measure the speed of this machine, after as many others to warm it up."""

EXPORT_TEXTS = 4_000
"""To write and check the files of a bundle takes about as long as to encode this number of texts."""

LEAST_LEARNING = 0.3
"""Least share of the minutes for training, however large the catalogue; a run with less would take longer instead."""

STEP_COST = 2.0
"""Seconds of a step of fine-tuning, in encodings of its texts: forward, and backward through four of six layers. On two
cores a step of 64 pairs took .65 s, and its 128 texts .37 s to encode."""

JUDGED_READING = 0.2
"""Largest share of the minutes for encoding the items of judged queries; the trees then learn from fewer items."""


@dataclass(frozen=True, slots=True)
class Budget:
    """The time that the stages of one run may use.

    minutes: what the shares in `TrainingSettings` are multiplied by; seconds_per_text: time to encode one text of this
    catalogue; judged_texts: largest number of items of judged queries to encode; fine_tuning: the method that the
    minutes allow; times_for_tuning: where they allow none, how many times as many a run needs to fine-tune the encoder.
    """

    minutes: float
    seconds_per_text: float = 0.0
    judged_texts: int = 2**62
    fine_tuning: FineTuning = FineTuning.FULL
    times_for_tuning: float = 0.0

    @classmethod
    def of(
        cls, settings: TrainingSettings, data: TrainingData, behaviour: Interactions, seconds_per_text: float
    ) -> Budget:
        """Reserve the time for encoding the catalogue and for the export, and divide the rest among the stages that
        will run, in proportion to their shares.

        Where the share of full fine-tuning is too short for its least steps, the encoder stays as it is and the other
        stages get that time: seven steps change nothing, and the catalogue would be encoded once more for them. An
        adapter is trained in any case: somebody chose it.
        """
        budget = cls._of(settings, data, behaviour, seconds_per_text)
        seconds, least = budget.minutes * 60 * settings.tune_share, least_tuning_seconds(settings, seconds_per_text)
        if settings.fine_tuning != FineTuning.FULL or not _is_tuned(settings, behaviour) or seconds >= least:
            return budget
        frozen = cls._of(replace(settings, fine_tuning=FineTuning.FROZEN), data, behaviour, seconds_per_text)
        return replace(frozen, times_for_tuning=least / max(seconds, 1e-9))

    @classmethod
    def _of(
        cls, settings: TrainingSettings, data: TrainingData, behaviour: Interactions, seconds_per_text: float
    ) -> Budget:
        n_texts, seconds = len(data.items), settings.minutes * 60
        is_judged = data.judgements is not None and len(data.judgements) >= settings.least_judgements
        judged_texts = n_texts
        if seconds_per_text > 0:
            judged_texts = min(n_texts, int(seconds * JUDGED_READING / seconds_per_text))
        n_encoded = EXPORT_TEXTS + n_texts * _encodings(settings, behaviour) + (judged_texts if is_judged else 0)
        left = max(seconds - n_encoded * seconds_per_text, seconds * LEAST_LEARNING)
        used = _used(settings, behaviour, is_judged=is_judged)
        minutes = left / 60 / used if used else left / 60
        return cls(minutes, seconds_per_text, judged_texts, settings.fine_tuning)

    def shared(self, settings: TrainingSettings) -> TrainingSettings:
        """The settings with these minutes in place of those of the whole run, and the method that they allow."""
        return replace(settings, minutes=self.minutes, fine_tuning=self.fine_tuning)


def least_tuning_seconds(settings: TrainingSettings, seconds_per_text: float) -> float:
    """How long the least steps of fine-tuning on pairs take at this speed."""
    n_texts = 2 * settings.tune.batch_pairs * min(settings.least_tuning_steps, settings.tune.n_steps)
    return n_texts * seconds_per_text * STEP_COST


def seconds_per_text(encode: Callable[[Sequence[str]], object], texts: Sequence[str], *, seed: int) -> float:
    """Measure how long it takes to encode one text, in a batch of texts; 0 without texts."""
    if not len(texts):
        return 0.0
    generator = np.random.default_rng(seed)
    sample = [texts[row] for row in generator.integers(0, len(texts), 2 * N_TIMED)]
    encode(sample[:N_TIMED])
    started = time.perf_counter()
    encode(sample[N_TIMED:])
    return (time.perf_counter() - started) / N_TIMED


def measured(encoder: Encoder, settings: TrainingSettings, data: TrainingData, behaviour: Interactions) -> Budget:
    """Measure the speed of the encoder and divide the minutes accordingly."""
    encode = partial(encoder.encode, exact=False)
    return Budget.of(settings, data, behaviour, seconds_per_text(encode, data.items.texts, seed=settings.seed))


def _encodings(settings: TrainingSettings, behaviour: Interactions) -> int:
    """How often the whole catalogue is encoded: at the start, after fine-tuning and after distillation."""
    return 1 + int(_is_tuned(settings, behaviour)) + int(settings.teaching != Teaching.OFF)


def _is_tuned(settings: TrainingSettings, behaviour: Interactions) -> bool:
    return settings.fine_tuning != FineTuning.FROZEN and len(behaviour) >= settings.least_pairs


def _used(settings: TrainingSettings, behaviour: Interactions, *, is_judged: bool) -> float:
    """The sum of the shares of the stages that have enough data to run."""
    used = 0.0
    if _is_tuned(settings, behaviour):
        used += settings.tune_share
    if len(behaviour) >= settings.least_examples:
        used += 2 * settings.context_share + settings.head_share
    if is_judged:
        used += settings.graded_share
    if settings.teaching != Teaching.OFF:
        used += settings.teacher_share
    return used
