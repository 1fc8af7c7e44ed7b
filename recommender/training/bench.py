"""The shop as it was when the test began, and everybody who answers from it: bundles and simple competitors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recommender import datasets, vectors
from recommender.head import Head
from recommender.ml import baselines
from recommender.models import Bundle, ItemVector
from recommender.ranking import Ranker
from recommender.retrieval.shelf import build_shelf
from recommender.serving import Served
from recommender.state import State
from recommender.training import evaluation
from recommender.training.split import Split
from recommender.types import FloatArray


@dataclass(frozen=True, slots=True)
class Bench:
    """The shop as it was at the start of the test: every ranker answers from the same state."""

    dataset: datasets.Dataset
    split: Split
    state: State

    def served(self, ranker: Ranker, text_vectors: FloatArray) -> Served:
        """A ranker beside the shelf of that moment."""
        shelf = build_shelf(
            self.split.items,
            titles=self.dataset.titles,
            state=self.state,
            vectors=ranker.item_vectors(text_vectors, self.split.items.ids),
            encoder_hash=ranker.encoder_hash,
        )
        return Served(shelf, ranker, ranker.name)

    def of_bundle(self, bundle: Bundle) -> Served:
        """A bundle that exists, with the vectors that it serves from; what has none yet is encoded here."""
        ranker = vectors.load_ranker(bundle.name)
        items = self.split.items
        stored = ItemVector.objects.filter(encoder_hash=bundle.encoder_hash).values_list("item__item_id", "vector")
        known = {item_id: np.frombuffer(vector, "<f4") for item_id, vector in stored.iterator(chunk_size=2_000)}
        missing = [row for row, item_id in enumerate(items.ids) if item_id not in known]
        encoded = dict(zip(missing, ranker.encode([items.texts[row] for row in missing]), strict=True))
        rows = [encoded[row] if row in encoded else known[item_id] for row, item_id in enumerate(items.ids)]
        return self.served(ranker, np.stack(rows).astype(np.float32))


def competitors(bench: Bench, folder: Path, untuned: Served) -> dict[str, evaluation.ListMaker]:
    """Every simple competitor; the linear baseline only where the bundle in `folder` has a head to compare with."""
    scorers: dict[str, baselines.Scorer] = {
        "random": baselines.random_order(),
        "popularity": baselines.popularity(),
        "own_frequency": baselines.own_frequency,
        "item_knn": baselines.item_knn,
        "lexical": baselines.lexical(bench.split.items.texts),
    }
    if untuned.shelf.vectors is not None:
        scorers["untuned_encoder"] = baselines.mean_vector(untuned.shelf.vectors)
    baseline = folder / "baseline.json"
    if baseline.is_file():
        scorers["linear_baseline"] = baselines.headed(Head.from_json(baseline.read_text()))
    return {name: evaluation.scored(score, bench.state, bench.split.items) for name, score in scorers.items()}
