"""Everything the shop knows in, a serving bundle out, without a test window: for a judgement that is made elsewhere."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recommender import bundles, datasets
from recommender.ml.plan import Silent
from recommender.models import Bundle
from recommender.training.fitting import ALONE_SHARE, Watching, fitted
from recommender.training.split import untested
from recommender.training.stages import publish


class Unwatched(Silent):
    """A `Watching` that nobody watches and that never ends a run."""

    def check(self) -> None: ...


def train_untested(settings: Mapping[str, Any], *, at: float, watch: Watching | None = None) -> Bundle:
    """Train on all events before `at` and all judgements, and let the bundle serve at once.

    No gate: nothing is held back that could judge it. A shop's runs go through `training.run`. Raises as training does.
    """
    dataset = datasets.read_dataset()
    with tempfile.TemporaryDirectory() as folder:
        made = fitted(untested(dataset, at=at), settings, Path(folder), watch or Unwatched(), share=ALONE_SHARE)
        bundle = publish(dataset, made, at=at)
    bundles.promote(bundle)
    return bundle
