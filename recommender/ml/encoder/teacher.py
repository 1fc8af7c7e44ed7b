"""The teacher T: a cross-encoder, which reads query and item together, trained on graded pairs to grade others."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from recommender.ml.encoder.contrastive import freeze
from recommender.ml.encoder.model import Encoder, low_precision
from recommender.ml.histories import Histories
from recommender.ml.loop import Box, LoopSettings, Objective, train
from recommender.ml.metrics import pair_accuracy
from recommender.tables import Interactions, Judgements
from recommender.types import EVENT_CODES, EventType, FloatArray, IntArray

NAME = "teacher"
HISTORY_TITLES = 3
"""Titles of a history that stand for a query, oldest first: more do not fit beside the item."""

LOOP = LoopSettings(
    n_steps=4_000,
    learning_rate=5e-5,
    weight_decay=0.01,
    warmup=0.05,
    dropout=0.1,
    checkpoint_steps=200,
    check_steps=100,
    patience=4,
)


@dataclass(frozen=True, slots=True)
class TeacherSettings:
    """How the teacher learns, and how many pairs it grades.

    non_answers: share of a batch that is a query beside any item of the catalogue, graded 0. n_chunks: parts of a batch
    whose gradients are added up, each of texts of similar length. The last three are for distillation: unjudged items
    per query, synthetic queries for each real one, and the teacher's share of the stage's minutes. A third of the rest
    is for grading, and two thirds for the encoder.
    """

    loop: LoopSettings = LOOP
    batch_pairs: int = 32
    n_chunks: int = 2
    non_answers: float = 0.25
    frozen_layers: int = 2
    max_tokens: int = 96
    most_held_out: int = 2_000
    items_per_query: int = 8
    synthetic: float = 0.5
    learning_share: float = 0.55


class Crossed(nn.Module):
    """BERT over both texts, mean over the tokens, one number: the logit of the grade."""

    def __init__(self, bert: nn.Module, dimension: int) -> None:
        super().__init__()
        self.bert = bert
        self.drop = nn.Dropout(0.1)
        self.head = nn.Linear(dimension, 1)
        nn.init.normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)

    def forward(self, **batch: Tensor) -> Tensor:
        """input_ids, attention_mask and, where the BERT has segments, token_type_ids (batch, length) -> (batch,)."""
        hidden = self.bert(**batch).last_hidden_state.float()
        weight = batch["attention_mask"].unsqueeze(-1).to(hidden.dtype)
        mean = (hidden * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1e-9)
        return self.head(self.drop(mean)).squeeze(1)


@dataclass(slots=True)
class Teacher:
    """A cross-encoder with the tokenizer of the encoder that it was made from."""

    model: Crossed
    tokenizer: Any
    max_tokens: int

    @classmethod
    def of(cls, encoder: Encoder, settings: TeacherSettings, *, seed: int = 0) -> Teacher:
        """Copy the encoder's BERT and put an untrained head on it; the encoder stays as it is."""
        torch.manual_seed(seed)
        bert = copy.deepcopy(encoder.model.bert)
        bert.requires_grad_(True)
        freeze(bert, settings.frozen_layers)
        model = Crossed(bert, encoder.dimension).to(encoder.device)
        longest = int(getattr(bert.config, "max_position_embeddings", settings.max_tokens))
        return cls(model.eval(), encoder.tokenizer, min(settings.max_tokens, longest))

    def logits(self, left: Sequence[str], right: Sequence[str]) -> Tensor:
        """Return (n,) float32 with gradients."""
        with low_precision(self.model.head.weight.device):
            return self.model(**self._tokens(left, right)).float()

    def score(self, left: Sequence[str], right: Sequence[str], *, batch_pairs: int = 64) -> FloatArray:
        """Return (n,) float32 logits of the grades; pairs of like length share a batch."""
        scores = np.zeros(len(left), np.float32)
        order = np.argsort(_lengths(left, right), kind="stable")
        self.model.eval()
        with torch.inference_mode():
            for start in range(0, len(order), batch_pairs):
                places = order[start : start + batch_pairs]
                logits = self.model(**self._tokens([left[i] for i in places], [right[i] for i in places]))
                scores[places] = logits.cpu().numpy()
        return scores

    def _tokens(self, left: Sequence[str], right: Sequence[str]) -> dict[str, Tensor]:
        most = self.max_tokens * 20
        batch = self.tokenizer(
            [text[:most] for text in left],
            [text[:most] for text in right],
            padding=True,
            truncation="longest_first",
            max_length=self.max_tokens,
            return_tensors="pt",
            return_token_type_ids=True,
        )
        names = ["input_ids", "attention_mask"]
        if getattr(self.model.bert.config, "type_vocab_size", 0) > 1:
            names.append("token_type_ids")
        device = self.model.head.weight.device
        return {name: batch[name].to(device) for name in names}


@dataclass(frozen=True, slots=True)
class Schooled:
    """A trained teacher; accuracy: share of held-out pairs of one query that it orders as people did, NaN without."""

    teacher: Teacher
    n_steps: int
    accuracy: float


def can_teach(encoder: Encoder) -> bool:
    """Whether the encoder's BERT can be copied and can read two texts; with a tuned prefix it cannot."""
    return isinstance(encoder.model.bert, PreTrainedModel)


def train_teacher(
    encoder: Encoder,
    judged: Judgements,
    texts: Sequence[str],
    box: Box,
    *,
    held_out: Judgements | None = None,
    settings: TeacherSettings | None = None,
) -> Schooled:
    """Fine-tune a copy of the encoder's BERT with binary cross-entropy on the grades, which are soft targets.

    Nogueira and Cho 2019, "Passage re-ranking with BERT", section 2, with a linear head. Early stop by the accuracy on
    pairs of `held_out` queries, whose best weights stay. A checkpoint in `box.checkpoint_dir` is resumed.
    """
    settings = settings or TeacherSettings()
    teacher = Teacher.of(encoder, settings, seed=box.seed)
    judges = _first(held_out, settings.most_held_out) if held_out is not None else None
    if judges is not None and math.isnan(ordered(judges, judges.grade)):
        judges = None

    def accuracy() -> float:
        return float("nan") if judges is None else ordered(judges, scores_of(teacher, judges, texts))

    def backward(step: int) -> float:
        left, right, grade = _drawn(judged, texts, settings, np.random.default_rng((box.seed, step)))
        total = 0.0
        for places in np.array_split(np.argsort(_lengths(left, right), kind="stable"), settings.n_chunks):
            target = torch.from_numpy(grade[places]).to(encoder.device)
            logits = teacher.logits([left[i] for i in places], [right[i] for i in places])
            loss = nn.functional.binary_cross_entropy_with_logits(logits, target, reduction="sum") / len(left)
            loss.backward()
            total += float(loss.detach())
        return total

    check = None if judges is None else lambda: 1 - accuracy()
    n_steps = train(NAME, teacher.model, settings.loop, box, Objective(backward, check)).n_steps
    return Schooled(teacher, n_steps, float("nan") if box.progress.should_stop() else accuracy())


def scores_of(teacher: Teacher, judged: Judgements, texts: Sequence[str]) -> FloatArray:
    """Return (n,): the teacher's score of each judged pair."""
    return teacher.score([judged.queries[row] for row in judged.query], [texts[row] for row in judged.item])


def ordered(judged: Judgements, scores: FloatArray) -> float:
    """Return the share of pairs of one query that scores (n,) order as the grades do; NaN without such a pair."""
    return pair_accuracy(judged.query, judged.grade, scores)


def pairs_from_histories(
    interactions: Interactions, texts: Sequence[str], *, seed: int = 0, most: int = 20_000, n_negatives: int = 3
) -> Judgements:
    """Pair a visitor's last titles with what they bought next, graded 1, and with others, graded 0.

    The left text is "title; title; title", of the items bought before the order. Half of the other items are drawn by
    popularity, half evenly; none of them is of the order or of the history. For shops whose queries nobody judged.
    """
    generator = np.random.default_rng((seed, 5))
    moments = _orders(interactions)
    chosen = [moments[row] for row in sorted(generator.permutation(len(moments))[:most].tolist())]
    if not chosen:
        return Judgements((), np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.float32))
    bought = interactions.item[_purchases(interactions)]
    item, grade = [], []
    for history, order in chosen:
        answer = int(generator.choice(order))
        drawn = np.concatenate(
            [generator.choice(bought, 2 * n_negatives), generator.integers(0, len(texts), 2 * n_negatives)]
        )
        drawn = generator.permutation(np.setdiff1d(drawn, np.concatenate([history, order])))[:n_negatives]
        item.append(np.concatenate([[answer], drawn]))
        grade.append(np.concatenate([[1.0], np.zeros(len(drawn))]))
    left = tuple("; ".join(texts[row] for row in history) for history, _ in chosen)
    query = np.repeat(np.arange(len(chosen)), [len(one) for one in item])
    return Judgements(
        left, query.astype(np.int32), np.concatenate(item).astype(np.int32), np.concatenate(grade).astype(np.float32)
    )


def _purchases(interactions: Interactions) -> np.ndarray:
    return (interactions.type == EVENT_CODES[EventType.PURCHASE]) & (interactions.item >= 0)


def _orders(interactions: Interactions) -> list[tuple[IntArray, IntArray]]:
    """Return (items before, oldest first, items of the order) for each order with a past."""
    histories, is_purchase = Histories(interactions), _purchases(interactions)
    orders_with_past: list[tuple[IntArray, IntArray]] = []
    for visitor in range(histories.n_visitors):
        rows = histories.between(visitor, -np.inf, np.inf)
        rows = rows[is_purchase[rows]]
        cuts = np.flatnonzero(np.diff(interactions.basket[rows])) + 1
        orders = [interactions.item[part] for part in np.split(rows, cuts)]
        for number in range(1, len(orders)):
            past = np.concatenate(orders[max(number - HISTORY_TITLES, 0) : number])
            last = list(dict.fromkeys(past[::-1].tolist()))[:HISTORY_TITLES]
            orders_with_past.append((np.asarray(last[::-1], np.int32), orders[number]))
    return orders_with_past


def _drawn(
    judged: Judgements, texts: Sequence[str], settings: TeacherSettings, generator: np.random.Generator
) -> tuple[list[str], list[str], FloatArray]:
    """Return left texts, right texts and grades (n,) of one batch."""
    n_other = round(settings.batch_pairs * settings.non_answers)
    places = generator.integers(0, len(judged), settings.batch_pairs)
    item, grade = judged.item[places].copy(), judged.grade[places].astype(np.float32)
    item[:n_other] = generator.integers(0, len(texts), n_other)
    grade[:n_other] = 0.0
    return [judged.queries[row] for row in judged.query[places]], [texts[row] for row in item], grade


def _first(judged: Judgements, most: int) -> Judgements:
    """Take whole queries up to about `most` pairs: a check must not cost more than the steps between two checks."""
    counts = np.bincount(judged.query, minlength=len(judged.queries))
    return judged.of_queries(np.cumsum(counts) <= max(most, int(counts.max(initial=0))))


def _lengths(left: Sequence[str], right: Sequence[str]) -> list[int]:
    return [len(one) + len(other) for one, other in zip(left, right, strict=True)]
