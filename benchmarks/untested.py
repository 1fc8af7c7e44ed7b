"""A bundle trained without a test window, for a benchmark whose judgement is made elsewhere."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recommender import bundles, datasets
from recommender.datasets.cleaning import clean
from recommender.ml.progress import Progress
from recommender.models import Bundle
from recommender.runs.settings import RunSettings
from recommender.training.fitting import fitted
from recommender.training.publication import publish
from recommender.training.split import Split

SHARE = 0.93
"""Share of the minutes for training and export: nothing is evaluated here."""


def train_untested(settings: Mapping[str, Any], *, at: float, watch: Progress) -> Bundle:
    """Train on all events before `at` and all judgements, and let the bundle serve at once.

    There is no gate, because no data is held back for it; a shop's runs go through `training.run`.
    """
    dataset = datasets.read_dataset()
    with tempfile.TemporaryDirectory() as folder:
        trained = fitted(_untested(dataset, at=at), RunSettings.of(settings), Path(folder), watch, share=SHARE)
        bundle = publish(dataset, trained, at=at)
    bundles.promote(bundle)
    return bundle


def _untested(dataset: datasets.Dataset, *, at: float) -> Split:
    past, report = clean(dataset.recorded.before(at), now=at)
    return Split(
        past, past, dataset.items, at, at, report, dataset.titles, dataset.judgements, dataset.impressions,
        dataset.brands,
    )  # fmt: skip
