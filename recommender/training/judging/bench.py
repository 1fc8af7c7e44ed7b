"""The shop as it was when the test began, from which bundles and simple competitors make their lists."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recommender import datasets
from recommender.features.head import Head
from recommender.features.shop_state import ShopState, build_state
from recommender.ml.histories import Histories
from recommender.ml.rivals import baselines, competitors
from recommender.models import Bundle, ItemVector
from recommender.models.connections import persistently
from recommender.serving import Served, vectors
from recommender.serving.ranker import Ranker
from recommender.serving.shelf import build_shelf
from recommender.training.judging import evaluation
from recommender.training.split import Split
from recommender.types import HISTORY_LIMIT, FloatArray

N_TUNED = 400
"""Visitors that the weights of the blend are chosen on: half a second for its grid of 36."""


@dataclass(frozen=True, slots=True)
class Bench:
    """Items and state at the start of the test, the same for every ranker."""

    dataset: datasets.Dataset
    split: Split
    state: ShopState

    def served(self, ranker: Ranker, text_vectors: FloatArray) -> Served:
        """A ranker beside the shelf of that moment."""
        shelf = build_shelf(
            self.split.items,
            titles=self.dataset.titles,
            brands=self.dataset.brands or None,
            state=self.state,
            vectors=ranker.item_vectors(text_vectors, self.split.items.ids),
            encoder_hash=ranker.encoder_hash,
        )
        return Served.paired(shelf, ranker, ranker.name)

    def of_bundle(self, bundle: Bundle, *, ranker: Ranker | None = None) -> Served:
        """A stored bundle with the vectors that it serves from; items without a vector are encoded here.

        ranker: replaces the bundle's own; it has the same encoder.
        """
        ranker = ranker or vectors.load_ranker(bundle.name)
        items = self.split.items
        stored = ItemVector.objects.filter(encoder_hash=bundle.encoder_hash).values_list("item__item_id", "vector")
        read = persistently(lambda: list(stored.iterator(chunk_size=2_000)))
        vector_of = {item_id: np.frombuffer(vector, "<f4") for item_id, vector in read}
        missing = [row for row, item_id in enumerate(items.ids) if item_id not in vector_of]
        encoded = ranker.encode([items.texts[row] for row in missing])
        vector_of |= {items.ids[row]: vector for row, vector in zip(missing, encoded, strict=True)}
        return self.served(ranker, np.stack([vector_of[item_id] for item_id in items.ids]).astype(np.float32))


def simple_rankers(bench: Bench, folder: Path, untuned: Served) -> dict[str, evaluation.ListMaker]:
    """Every simple competitor, fitted on the past alone.

    EASE is left out where the catalogue is too large, the linear baseline where `folder` has none.
    """
    basis = competitors.Basis(bench.split.past, bench.split.items, bench.state)
    scorers: dict[str, baselines.Scorer] = {
        "random": baselines.random_order(),
        "popularity": baselines.popularity(),
        "own_frequency": baselines.own_frequency,
        "item_knn": baselines.item_knn,
        "tifu_knn": competitors.tifu_knn(basis),
        "blend": tuned_blend(bench.split),
        "lexical": baselines.lexical(bench.split.items.texts),
    }
    if (ease := competitors.ease(basis)) is not None:
        scorers["ease"] = ease
    if untuned.shelf.vectors is not None:
        scorers["untuned_encoder"] = baselines.mean_vector(untuned.shelf.vectors)
    baseline = folder / "baseline.json"
    if baseline.is_file():
        scorers["linear_baseline"] = baselines.headed(Head.from_json(baseline.read_text()))
    return {name: evaluation.scored(score, bench.state, bench.split.items) for name, score in scorers.items()}


def tuned_blend(split: Split, *, seed: int = 0) -> baselines.Scorer:
    """The blend, with weights chosen on the window before the test, which is as long as the test."""
    at = split.test_start - (split.test_end - split.test_start)
    items = dataclasses.replace(split.items, active=split.items.active & (split.items.first_seen <= at))
    histories = Histories(split.past)
    buyers = histories.buyers(at=at, until=split.test_start)
    cases = []
    for visitor in np.random.default_rng(seed).permutation(buyers)[:N_TUNED].tolist():
        bought = histories.bought(visitor, since=at, until=split.test_start)
        profile = histories.profile(visitor, at=at, limit=HISTORY_LIMIT)
        cases.append((profile, frozenset(bought[items.active[bought]].tolist())))
    state = build_state(split.past, items, at=at)
    return competitors.blend(competitors.tuned_weights(state, items, [case for case in cases if case[1]]))
