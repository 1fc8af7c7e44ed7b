"""The models that the stages of a run have trained, with the scores that they will give when they serve."""

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
    """The models, figures and reasons of one run; the model of a stage that was skipped is None.

    text_vectors (n_items, d) float32: vectors of the items' texts, of unit length. delta (n_items, d) float32: what
    behaviour adds to them. partly: the encoder before it was fine-tuned on the grades of some queries; None if it was
    fine-tuned on none. taught: the result of distillation from a teacher. base_encoder: fingerprint of the encoder
    before the run. budget: the time of each stage. skipped: reasons by stage that was skipped, as texts. ended_by: why
    each stage ended, a word of `pace`. circumstances: how much each circumstance, such as the hour, lowers the loss of
    the context model; idle: those left out because they do not lower it. head_scores: quality of the head's
    probabilities by window, "validation" and "test"; shown_scores: the same for `shown`, by window and event.
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
        """The vectors of the items: text vector plus delta, scaled to unit length."""
        return moved(self.text_vectors, self.delta)

    @property
    def heads(self) -> Heads | None:
        """The heads that were trained on impressions; None if there are none."""
        return None if self.shown is None else self.shown.heads

    @property
    def scores_by_head(self) -> dict[str, dict[str, ProbabilityScores]]:
        """The scores of each head by window.

        The head that was trained on candidates is called "buy", or "buy_later" if there is a "buy" from impressions.
        """
        scores: dict[str, dict[str, ProbabilityScores]] = {}
        for window, by_event in self.shown_scores.items():
            for event, score in by_event.items():
                scores.setdefault(event, {})[window] = score
        if self.head_scores:
            scores["buy_later" if "buy" in scores else "buy"] = dict(self.head_scores)
        return scores

    def probabilities(self, rows: FloatArray) -> FloatArray:
        """The scores (n,) float32 of features (n, f), computed as in serving. Raises RunError without a head."""
        if self.head is None:
            raise RunError("No head was trained: there are no probabilities.")
        if self.heads is not None and (order := self.heads.order(rows)) is not None:
            return order
        if self.forest is None:
            return self.head.calibrate(self.head.logits(rows))
        return self.forest.mixture.calibrate(self.forest.scores(self.head, rows))

    def encode_query(self, query: str) -> FloatArray:
        """The vector (d,) of a query in a history, as in serving; each query is encoded once."""
        key = encoder_text(query)
        if key not in self.query_vectors:
            self.query_vectors[key] = self.encoder.encode([key])[0]
        return self.query_vectors[key]

    def context_vector(self, profile: Profile) -> FloatArray:
        """The vector (d,) of one profile; without a context model the decayed mean of its events."""
        return context_of(self, profile, self.item_vectors)


def moved(text_vectors: FloatArray, delta: FloatArray | None) -> FloatArray:
    """Text vectors plus delta, scaled to unit length."""
    if delta is None:
        return text_vectors
    total = text_vectors + delta
    return (total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12)).astype(np.float32)


def context_of(artifacts: Artifacts, profile: Profile, vectors: FloatArray) -> FloatArray:
    if artifacts.context is not None:
        return context.context_vector(artifacts.context, profile, vectors, encode_query=artifacts.encode_query)
    history, read, used = context.event_vectors(profile, vectors, artifacts.encode_query)
    return decayed_mean(read, history.weight[used])
