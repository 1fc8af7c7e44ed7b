"""What the stages of a run made, and what it computes as the server will."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from recommender.exceptions import RunError
from recommender.features.head import Head, Heads
from recommender.features.sequence import decayed_mean
from recommender.ml.budget import Budget
from recommender.ml.context import model as context
from recommender.ml.context.model import ContextTransformer
from recommender.ml.context.training import Worth
from recommender.ml.encoder.adapters import AdapterWeights
from recommender.ml.encoder.graded import Partly, Taught
from recommender.ml.encoder.model import Encoder
from recommender.ml.head.forest import Forest
from recommender.ml.head.multitask import ShownModel
from recommender.ml.metrics import ProbabilityScores
from recommender.tables import ItemTable, Profile
from recommender.text.query import encoder_text
from recommender.types import FloatArray


@dataclass(slots=True)
class Artifacts:
    """What a run made; a stage that was skipped leaves None.

    text_vectors (n_items, d) float32 of unit length; delta (n_items, d) float32. partly: the
    encoder before it saw the grades of some queries, None where it learned from none. taught: what a teacher told it.
    skipped: stages that were not worth their time, with the reason in words. base_encoder: fingerprint
    before any training. ended_by: by stage, a word of `pace`. budget: how the run's minutes were shared out.
    circumstances: what each is worth to the context model; idle: those that it does not read, as they lower no loss.
    head_scores: the probabilities of the head by window, "validation" and "test"; shown_scores: those of `shown`, by
    window and event.
    """

    encoder: Encoder
    items: ItemTable
    text_vectors: FloatArray
    budget: Budget
    partly: Partly | None = None
    taught: Taught | None = None
    adapter: AdapterWeights | None = None
    context: ContextTransformer | None = None
    delta: FloatArray | None = None
    head: Head | None = None
    baseline: Head | None = None
    forest: Forest | None = None
    shown: ShownModel | None = None
    n_context_epochs: int = 0
    circumstances: dict[str, Worth] = field(default_factory=dict)
    idle: frozenset[str] = frozenset()
    head_scores: dict[str, ProbabilityScores] = field(default_factory=dict)
    shown_scores: dict[str, dict[str, ProbabilityScores]] = field(default_factory=dict)
    thresholds: dict[str, float] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    base_encoder: str = ""
    ended_by: dict[str, str] = field(default_factory=dict)
    query_vectors: dict[str, FloatArray] = field(default_factory=dict, repr=False)

    @property
    def item_vectors(self) -> FloatArray:
        """norm(E + δ) of every item."""
        return moved(self.text_vectors, self.delta)

    @property
    def heads(self) -> Heads | None:
        """What was learned from lists that were shown."""
        return None if self.shown is None else self.shown.heads

    @property
    def scores_by_head(self) -> dict[str, dict[str, ProbabilityScores]]:
        """Return the figures of each head by window.

        The head on candidates is "buy", or "buy_later" beside a "buy" that was learned from lists that were shown.
        """
        scores: dict[str, dict[str, ProbabilityScores]] = {}
        for window, by_event in self.shown_scores.items():
            for event, score in by_event.items():
                scores.setdefault(event, {})[window] = score
        if self.head_scores:
            scores["buy_later" if "buy" in scores else "buy"] = dict(self.head_scores)
        return scores

    def probabilities(self, rows: FloatArray) -> FloatArray:
        """Return (n,) float32 as the server will: by head and trees; rows (n, f). Needs a head."""
        if self.head is None:
            raise RunError("No head was trained: there are no probabilities.")
        if self.heads is not None and (order := self.heads.order(rows)) is not None:
            return order
        if self.forest is None:
            return self.head.calibrate(self.head.logits(rows))
        return self.forest.mixture.calibrate(self.forest.scores(self.head, rows))

    def encode_query(self, query: str) -> FloatArray:
        """Return (d,) of a query in a history, as the server asks for it; each is encoded once."""
        key = encoder_text(query)
        if key not in self.query_vectors:
            self.query_vectors[key] = self.encoder.encode([key])[0]
        return self.query_vectors[key]

    def context_vector(self, profile: Profile) -> FloatArray:
        """Return (d,) for one profile; without a context model the decayed mean."""
        return context_of(self, profile, self.item_vectors)


def moved(text_vectors: FloatArray, delta: FloatArray | None) -> FloatArray:
    """Return norm(E + δ)."""
    if delta is None:
        return text_vectors
    total = text_vectors + delta
    return (total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12)).astype(np.float32)


def context_of(artifacts: Artifacts, profile: Profile, vectors: FloatArray) -> FloatArray:
    if artifacts.context is not None:
        return context.context_vector(artifacts.context, profile, vectors, encode_query=artifacts.encode_query)
    history, read, used = context.event_vectors(profile, vectors, artifacts.encode_query)
    return decayed_mean(read, history.weight[used])
