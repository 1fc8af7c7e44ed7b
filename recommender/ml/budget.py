"""A run's minutes shared out: encoding and exporting are set aside, the stages that have evidence share the rest."""

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
"""Texts that are encoded to learn how fast this machine is today, once as many others have claimed their memory."""

EXPORT_TEXTS = 4_000
"""Writing and checking the files of a bundle takes about as long as encoding so many texts."""

LEAST_LEARNING = 0.3
"""Share of the minutes that is learned in however large the catalogue is: only then may they be overrun."""

JUDGED_READING = 0.2
"""Share of the minutes in which items may be encoded to describe judged queries; the trees learn from no more then."""


@dataclass(frozen=True, slots=True)
class Budget:
    """minutes: what the shares of `TrainingSettings` are of; seconds_per_text: to encode one text of this catalogue;
    judged_texts: items that may be encoded to describe judged queries."""

    minutes: float
    seconds_per_text: float = 0.0
    judged_texts: int = 2**62

    @classmethod
    def of(
        cls, settings: TrainingSettings, data: TrainingData, behaviour: Interactions, seconds_per_text: float
    ) -> Budget:
        """Set the encodings of the catalogue and the export aside, and scale the shares that are used to the rest."""
        n_texts, seconds = len(data.items), settings.minutes * 60
        is_judged = data.judgements is not None and len(data.judgements) >= settings.least_judgements
        judged_texts = n_texts
        if seconds_per_text > 0:
            judged_texts = min(n_texts, int(seconds * JUDGED_READING / seconds_per_text))
        n_encoded = EXPORT_TEXTS + n_texts * _encodings(settings, behaviour) + (judged_texts if is_judged else 0)
        left = max(seconds - n_encoded * seconds_per_text, seconds * LEAST_LEARNING)
        used = _used(settings, behaviour, is_judged=is_judged)
        return cls(left / 60 / used if used else left / 60, seconds_per_text, judged_texts)

    def shared(self, settings: TrainingSettings) -> TrainingSettings:
        """Return the settings with the minutes that stages take their shares of."""
        return replace(settings, minutes=self.minutes)


def seconds_per_text(encode: Callable[[Sequence[str]], object], texts: Sequence[str], *, seed: int) -> float:
    """Measure how long one text of a catalogue takes, among many; 0 without a text."""
    if not len(texts):
        return 0.0
    generator = np.random.default_rng(seed)
    some = [texts[row] for row in generator.integers(0, len(texts), 2 * N_TIMED)]
    encode(some[:N_TIMED])
    started = time.perf_counter()
    encode(some[N_TIMED:])
    return (time.perf_counter() - started) / N_TIMED


def measured(encoder: Encoder, settings: TrainingSettings, data: TrainingData, behaviour: Interactions) -> Budget:
    """Time the encoder and share the minutes out."""
    encode = partial(encoder.encode, exact=False)
    return Budget.of(settings, data, behaviour, seconds_per_text(encode, data.items.texts, seed=settings.seed))


def _encodings(settings: TrainingSettings, behaviour: Interactions) -> int:
    """How often the whole catalogue is encoded: as it came, adapted, tuned, taught."""
    is_tuned = settings.fine_tuning != FineTuning.FROZEN and len(behaviour) >= settings.least_pairs
    return 1 + int(is_tuned) + int(settings.teaching != Teaching.OFF)


def _used(settings: TrainingSettings, behaviour: Interactions, *, is_judged: bool) -> float:
    """Sum the shares of the stages for which there seems to be evidence."""
    used = 0.0
    if settings.fine_tuning != FineTuning.FROZEN and len(behaviour) >= settings.least_pairs:
        used += settings.tune_share
    if len(behaviour) >= settings.least_examples:
        used += 2 * settings.context_share + settings.head_share
    if is_judged:
        used += settings.graded_share
    if settings.teaching != Teaching.OFF:
        used += settings.teacher_share
    return used
