"""Fine-tunes the encoder on graded answers, so that better answers lie nearer to their query."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from recommender.ml.encoder.contrastive import freeze
from recommender.ml.encoder.model import Encoder, low_precision
from recommender.ml.loop import Box, Ended, LoopSettings, Objective, train
from recommender.ml.pace import EVIDENCE
from recommender.tables import Judgements
from recommender.types import FloatArray, IntArray

UNSEEN_SHARES, ENOUGH_UNSEEN = (0.25, 0.5), 600
"""The first part of a tuning leaves out about 600 judged queries, between a quarter and half of them."""

FIRST_PART, SECOND_RATE = 0.6, 0.5
"""Share of the minutes for the first part, and the learning-rate multiplier of the second."""

GOOD = 0.65
"""Lowest grade at which an item counts as an answer: a positive example of its query, and never a negative one."""


@dataclass(frozen=True, slots=True)
class GradedSettings:
    """How the encoder learns from grades; `ranking` weighs the pairs within a query beside the answers in the batch.

    With a teacher, `teaching` weighs the loss on its order of `taught_queries` lists of `items_per_query` items each.
    """

    n_steps: int = 3_000
    batch_queries: int = 16
    items_per_query: int = 4
    learning_rate: float = 8e-5
    weight_decay: float = 0.01
    dropout: float = 0.1
    frozen_layers: int = 2
    temperature: float = 0.05
    ranking: float = 1.0
    teaching: float = 1.0
    taught_queries: int = 8
    warmup: float = 0.03
    checkpoint_steps: int = 200
    kept_share: float = 0.3
    """Share of the weights before tuning in the average that is kept: Wortsman et al. 2022, "Robust fine-tuning of
    zero-shot models" (WiSE-FT), equation 1. Other shops' queries lose less, the own ones nothing."""

    def loop(self) -> LoopSettings:
        """Return the settings of the loop, without early stopping."""
        own = {name: getattr(self, name) for name in LoopSettings.__slots__ if hasattr(self, name)}
        return LoopSettings(**own, check_steps=self.n_steps, patience=1)


@dataclass(frozen=True, slots=True)
class Partly:
    """The weights of an encoder that has not seen the grades of some queries, which can therefore measure it.

    weights: of the encoder by name; unseen (n_queries,) bool.
    """

    weights: dict[str, Tensor]
    unseen: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Taught:
    """What a teacher thinks of pairs that nobody judged: query (n,) int32, row in `queries`; item (n,) int32; score
    (n,) float32 logits. The first `n_judged` queries are those of the judgements, row by row; the rest is synthetic.
    """

    queries: tuple[str, ...]
    n_judged: int
    query: IntArray
    item: IntArray
    score: FloatArray

    def __len__(self) -> int:
        return len(self.score)

    def of_queries(self, chosen: npt.NDArray[np.bool_]) -> Taught:
        """Keep some of the judged queries, chosen (n_judged,) bool, and every synthetic one."""
        is_chosen = np.append(chosen, np.ones(len(self.queries) - self.n_judged, bool))[self.query]
        return Taught(self.queries, self.n_judged, self.query[is_chosen], self.item[is_chosen], self.score[is_chosen])


def tune_in_two(
    encoder: Encoder, judged: Judgements, texts: Sequence[str], box: Box, *, settings: GradedSettings | None = None
) -> tuple[Ended, Partly]:
    """Tune in place on some queries, then on all at a lower learning rate; return the weights in between too.

    The final encoder learns from every grade. A second model that learns from the encoder's scores needs them on
    queries that the encoder was not trained on (stacking: Wolpert 1992); it uses the weights in between.
    """
    settings = settings or GradedSettings()
    judged_queries = np.unique(judged.query)
    share = float(np.clip(ENOUGH_UNSEEN / max(len(judged_queries), 1), *UNSEEN_SHARES))
    drawn = np.random.default_rng((box.seed, 3)).permutation(judged_queries)[: round(len(judged_queries) * share)]
    unseen = np.zeros(len(judged.queries), bool)
    unseen[drawn] = True
    origin, raw = _weights(encoder), replace(settings, kept_share=0.0)
    first = replace(box, minutes=box.minutes * FIRST_PART)
    first_judged = judged.of_queries(~unseen)
    ended = tune_on_grades(encoder, first_judged, texts, first, settings=raw, name="graded-in-part")
    tuned = _weights(encoder)
    _average(encoder.model, origin, settings.kept_share)
    partly = Partly(_weights(encoder), unseen)
    encoder.model.load_state_dict(tuned)
    rest = replace(box, minutes=box.minutes * (1 - FIRST_PART))
    gentler = replace(raw, learning_rate=settings.learning_rate * SECOND_RATE, n_steps=settings.n_steps // 2)
    again = tune_on_grades(encoder, judged, texts, rest, settings=gentler)
    _average(encoder.model, origin, settings.kept_share)
    return Ended(ended.n_steps + again.n_steps, again.ended_by), partly


def _weights(encoder: Encoder) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in encoder.model.state_dict().items()}


def tune_on_grades(
    encoder: Encoder,
    judged: Judgements,
    texts: Sequence[str],
    box: Box,
    *,
    settings: GradedSettings | None = None,
    name: str = "graded",
    taught: Taught | None = None,
) -> Ended:
    """Tune in place for `box.minutes` or `n_steps`, whichever is first.

    Loss: InfoNCE of a query and one answer among the items of the batch (van den Oord et al. 2018, equation 4), both
    ways, plus RankNet (Burges et al. 2005, equation 3) over the items of one query, weighted by their gap in grade.
    With a teacher also the divergence of its order over the items of a query from the encoder's (Hinton et al. 2015,
    section 2), both as softmax. Checkpoints in `box.checkpoint_dir` go by `name`.
    """
    settings = settings or GradedSettings()
    batches = _GradedBatches(encoder, judged, texts, settings, box.seed, taught)
    if not batches.lists:
        return Ended(0, EVIDENCE)
    before = _weights(encoder)
    freeze(encoder.model.bert, settings.frozen_layers)
    ended = train(name, encoder.model, settings.loop(), box, Objective(batches.backward))
    _average(encoder.model, before, settings.kept_share)
    return ended


@dataclass(slots=True)
class _GradedBatches:
    """The batches of one tuning and their losses, each determined by the seed and the number of its step."""

    encoder: Encoder
    judged: Judgements
    texts: Sequence[str]
    settings: GradedSettings
    seed: int
    taught: Taught | None
    lists: _Lists = field(init=False)
    lessons: _Lists = field(init=False)

    def __post_init__(self) -> None:
        self.lists = _Lists.of(self.judged)
        self.lessons = _Lists.taught(self.taught) if self.taught is not None else _Lists()

    def backward(self, step: int) -> float:
        """Back-propagate the loss of a step and return it."""
        generator, settings = np.random.default_rng((self.seed, step)), self.settings
        rows = self.lists.batch(step, settings.batch_queries, seed=self.seed)
        drawn = [self.lists[row].draw(settings.items_per_query, generator) for row in rows]
        queries = [self.judged.queries[one.query] for one in drawn]
        loss = _loss(self.encoder, queries, drawn, self.texts, settings)
        if self.taught is not None and self.lessons:
            rows = self.lessons.batch(step, settings.taught_queries, seed=self.seed)
            drawn = [self.lessons[row].shuffled(settings.items_per_query, generator) for row in rows]
            queries = [self.taught.queries[one.query] for one in drawn]
            loss = loss + settings.teaching * _divergence(self.encoder, queries, drawn, self.texts, settings)
        loss.backward()
        return float(loss.detach())


@dataclass(frozen=True, slots=True)
class _Drawn:
    """One query with its answer first and other judged items behind it: item (k,) rows, grade (k,)."""

    query: int
    item: npt.NDArray[np.integer]
    grade: npt.NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class _List:
    """Items of one query; grade (k,): of people, or the scores of a teacher."""

    query: int
    item: npt.NDArray[np.integer]
    grade: npt.NDArray[np.floating]

    def draw(self, most: int, generator: np.random.Generator) -> _Drawn:
        """Choose an answer at random, and others up to `most` items."""
        best = np.flatnonzero(self.grade >= min(GOOD, float(self.grade.max())))
        answer = int(generator.choice(best))
        rest = generator.permutation(np.delete(np.arange(len(self.item)), answer))[: most - 1]
        places = np.r_[answer, rest].astype(np.int64)
        return _Drawn(self.query, self.item[places], self.grade[places])

    def shuffled(self, most: int, generator: np.random.Generator) -> _Drawn:
        """Choose up to `most` items at random."""
        places = generator.permutation(len(self.item))[:most]
        return _Drawn(self.query, self.item[places], self.grade[places])


class _Lists(list[_List]):
    """The queries that have an answer, with all that was judged for them."""

    @classmethod
    def of(cls, judged: Judgements) -> _Lists:
        parts = [part for part in _by_query(judged.query) if judged.grade[part].max() >= GOOD]
        return cls(_List(int(judged.query[part[0]]), judged.item[part], judged.grade[part]) for part in parts)

    @classmethod
    def taught(cls, taught: Taught) -> _Lists:
        """The queries of which a teacher has ordered two items at least."""
        parts = [part for part in _by_query(taught.query) if len(part) > 1]
        return cls(_List(int(taught.query[part[0]]), taught.item[part], taught.score[part]) for part in parts)

    def batch(self, step: int, size: int, *, seed: int) -> list[int]:
        """Return the positions of the lists for one step; every query is used once before any is used again."""
        size = min(size, len(self))
        n_steps = len(self) // size
        order = np.random.default_rng((seed, 2, step // n_steps)).permutation(len(self))
        first = step % n_steps * size
        places: list[int] = order[first : first + size].tolist()
        return places


def _loss(
    encoder: Encoder, queries: list[str], drawn: list[_Drawn], texts: Sequence[str], settings: GradedSettings
) -> Tensor:
    owner = torch.from_numpy(np.repeat(np.arange(len(drawn)), [len(one.item) for one in drawn]))
    items = np.concatenate([one.item for one in drawn])
    grade = torch.from_numpy(np.concatenate([one.grade for one in drawn]).astype(np.float32))
    query_vectors = _encoded(encoder, queries)
    item_vectors = _encoded(encoder, [texts[row] for row in items])
    owner, grade = owner.to(query_vectors.device), grade.to(query_vectors.device)
    logits = query_vectors @ item_vectors.T / settings.temperature
    answer = torch.searchsorted(owner, torch.arange(len(drawn), device=query_vectors.device))
    ours = owner[None, :] == torch.arange(len(drawn), device=query_vectors.device)[:, None]
    same = torch.from_numpy(items[:, None] == items[answer.cpu().numpy()][None, :]).T.to(query_vectors.device)
    hidden = (ours | same).clone()
    hidden[torch.arange(len(drawn)), answer] = False
    target = torch.arange(len(drawn), device=query_vectors.device)
    loss = nn.functional.cross_entropy(logits.masked_fill(hidden, -1e4), answer)
    loss = loss + 0.5 * nn.functional.cross_entropy(logits.T[answer].masked_fill(hidden.T[answer], -1e4), target)
    own = logits[owner, torch.arange(len(owner))]
    gap = (grade[:, None] - grade[None, :]).clamp(min=0) * (owner[:, None] == owner[None, :])
    margin = (own[:, None] - own[None, :]) * settings.temperature * 10
    ranked = (gap * nn.functional.softplus(-margin)).sum() / gap.sum().clamp(min=1e-6)
    return loss + settings.ranking * ranked


def _divergence(
    encoder: Encoder, queries: list[str], drawn: list[_Drawn], texts: Sequence[str], settings: GradedSettings
) -> Tensor:
    """Return the mean over queries of KL(teacher, encoder) over the items of each; padding has probability 0."""
    query_vectors = _encoded(encoder, queries)
    item_vectors = _encoded(encoder, [texts[row] for one in drawn for row in one.item])
    sizes = [len(one.item) for one in drawn]
    owner = torch.repeat_interleave(torch.arange(len(drawn)), torch.tensor(sizes)).to(query_vectors.device)
    position = torch.cat([torch.arange(size) for size in sizes]).to(query_vectors.device)
    ours = torch.full((len(drawn), max(sizes)), -1e4, device=query_vectors.device)
    theirs = ours.clone()
    ours[owner, position] = (query_vectors[owner] * item_vectors).sum(dim=1) / settings.temperature
    theirs[owner, position] = torch.from_numpy(np.concatenate([one.grade for one in drawn])).to(query_vectors.device)
    target, log_ours = theirs.log_softmax(dim=1), ours.log_softmax(dim=1)
    return nn.functional.kl_div(log_ours, target, reduction="batchmean", log_target=True)


def _by_query(query: IntArray) -> list[npt.NDArray[np.integer]]:
    """Return the rows of each query, ascending."""
    order = np.argsort(query, kind="stable")
    return [part for part in np.split(order, np.flatnonzero(np.diff(query[order])) + 1) if len(part)]


def _encoded(encoder: Encoder, texts: list[str], *, n_groups: int = 3) -> Tensor:
    """Encode with gradients; texts of similar length share a batch, because padding costs as much as words."""
    order = np.argsort([len(text) for text in texts], kind="stable")
    parts = []
    for places in np.array_split(order, max(1, min(n_groups, len(order) // 8))):
        with low_precision(encoder.device):
            parts.append(encoder.model(**encoder.tokens([texts[position] for position in places])).float())
    back = np.empty(len(order), np.int64)
    back[order] = np.arange(len(order))
    return torch.cat(parts)[torch.from_numpy(back)]


def _average(model: nn.Module, before: dict[str, Tensor], share: float) -> None:
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                value.mul_(1 - share).add_(before[name], alpha=share)
