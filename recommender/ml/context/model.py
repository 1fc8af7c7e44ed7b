"""The context model U, which turns the vectors of a visitor's events and circumstances into one vector per request."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from recommender.features.sequence import CIRCUMSTANCES, LENGTH, NEUTRAL, Sequence, read_events, sequence
from recommender.ml.onnx_export import export_torch
from recommender.tables import Profile
from recommender.types import EventType, FloatArray

LEAST_LENGTH = 0.1
"""A sum shorter than this is not normalised to length 1. Untrained and without a history it is 0, where the gradient of
the normalisation is unbounded: one such example would spoil the training of all parameters."""

INPUTS = ("vectors", "types", "gaps", "weights", "current", "circumstances")


@dataclass(frozen=True, slots=True)
class ContextSettings:
    """Size and training of U and δ; `reach` is ε, the largest length of a correction.

    `popularity` is the weight of log popularity beside the cosine in the training loss. At 0 the vectors learn what
    sells and grow stale with it; at 1 they learn taste alone, from too little evidence (.5 was best in a shop of 3,800
    items). `without` names `CIRCUMSTANCES` (or "current") that the model does not read.
    """

    width: int = 128
    n_blocks: int = 1
    n_heads: int = 4
    dropout: float = 0.2
    n_epochs: int = 12
    batch: int = 128
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    temperature: float = 0.1
    n_negatives: int = 1_024
    reach: float = 0.5
    popularity: float = 0.5
    new_weight: float = 3.0
    patience: int = 3
    without: frozenset[str] = frozenset()


class ContextTransformer(nn.Module):
    """norm(decayed mean + α · transformer + leaning); α and leaning start at 0: untrained it is the decayed mean.

    The leaning is one vector per circumstance plus the current item or query, weighted by slot. It learns from the
    first step on, while the transformer has no effect until α moves
    (`benchmarks.context_ablation --simulated` measures the gain).

    The transformer is causal over [events, circumstances]; its last output is read
    (Kang and McAuley 2018, section III).
    """

    def __init__(self, dimension: int, settings: ContextSettings) -> None:
        super().__init__()
        width = settings.width
        self.inward, self.current = nn.Linear(dimension, width), nn.Linear(dimension, width)
        self.kind = nn.Embedding(len(EventType), width)
        self.gap = nn.Linear(3, width)
        self.circumstances = nn.ModuleList(
            nn.Embedding(size, width, padding_idx=0 if name in NEUTRAL else None)
            for name, size in CIRCUMSTANCES.items()
        )
        self.read_positions: list[int] = []
        self.leave_out(settings.without)
        self.tells_current = float("current" not in settings.without)
        self.blocks = nn.ModuleList(_Block(width, settings) for _ in range(settings.n_blocks))
        self.norm = nn.LayerNorm(width)
        self.outward = nn.Linear(width, dimension)
        self.alpha = nn.Parameter(torch.zeros(()))
        self.leaning = nn.ModuleList(
            nn.Embedding(size, dimension, padding_idx=0 if name in NEUTRAL else None)
            for name, size in CIRCUMSTANCES.items()
        )
        self.pull = nn.Embedding(CIRCUMSTANCES["slot"], 1)
        for table in (self.kind, self.current, self.pull, *self.circumstances, *self.leaning):
            nn.init.zeros_(table.weight)  # what training never saw must add nothing
        nn.init.zeros_(self.current.bias)

    def leave_out(self, names: Collection[str]) -> None:
        """From now on read all `CIRCUMSTANCES` except these."""
        self.read_positions = [position for position, name in enumerate(CIRCUMSTANCES) if name not in names]

    def forward(
        self, vectors: Tensor, types: Tensor, gaps: Tensor, weights: Tensor, current: Tensor, circumstances: Tensor
    ) -> Tensor:
        """(b, h, d), (b, h), (b, h), (b, h), (b, d), (b, 5) -> (b, d) of unit length; weight 0 is padding.

        current: the vector of the item that is looked at, or of the query; zeros for neither.
        """
        total = (vectors * weights.unsqueeze(-1)).sum(dim=1)
        # An empty history stays 0.
        mean = total / total.norm(dim=1, keepdim=True).clamp(min=1e-6)
        age = torch.stack([gaps / 8, (-gaps).exp(), (gaps < 1).float()], dim=-1)
        events = self.inward(vectors) + self.kind(types) + self.gap(age)
        token = self.current(current * self.tells_current)
        for position in self.read_positions:
            token = token + self.circumstances[position](circumstances[:, position])
        states = torch.cat([events, token.unsqueeze(1)], dim=1)
        hidden = torch.cat([weights <= 0, weights.new_zeros(weights.shape[0], 1).bool()], dim=1)
        for block in self.blocks:
            states = block(states, hidden)
        read = nn.functional.normalize(self.outward(self.norm(states[:, -1])), dim=1)
        leaning = self.pull(circumstances[:, 0]) * current * self.tells_current
        for position in self.read_positions:
            leaning = leaning + self.leaning[position](circumstances[:, position])
        return nn.functional.normalize(mean + self.alpha * read + leaning, dim=1, eps=LEAST_LENGTH)


class _Block(nn.Module):
    """Pre-norm causal self-attention and a feed-forward layer, written out so that it exports as plain products."""

    def __init__(self, width: int, settings: ContextSettings) -> None:
        super().__init__()
        self.n_heads = settings.n_heads
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mixed, self.joined = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.wide, self.narrow = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.drop = nn.Dropout(settings.dropout)

    def forward(self, states: Tensor, hidden: Tensor) -> Tensor:
        length, width = states.shape[1], states.shape[2]
        parts = self.mixed(self.before(states)).chunk(3, dim=-1)
        query, key, value = (part.unflatten(-1, (self.n_heads, -1)).transpose(1, 2) for part in parts)
        scores = query @ key.transpose(-1, -2) / math.sqrt(width / self.n_heads)
        position = torch.arange(length, device=states.device)
        future = position.unsqueeze(0) > position.unsqueeze(1)
        scores = scores.masked_fill(future | hidden[:, None, None, :], -1e4)
        states = states + self.drop(self.joined((scores.softmax(dim=-1) @ value).transpose(1, 2).flatten(2)))
        return states + self.drop(self.narrow(nn.functional.gelu(self.wide(self.between(states)))))


def context_vector(
    model: ContextTransformer,
    profile: Profile,
    item_vectors: FloatArray,
    *,
    query_vector: FloatArray | None = None,
    encode_query: Callable[[str], FloatArray] | None = None,
) -> FloatArray:
    """Return (d,): the vector of one profile as the server makes it; past searches need `encode_query`."""
    history, vectors, used = event_vectors(profile, item_vectors, encode_query)
    current = item_vectors[profile.current_item] if profile.current_item >= 0 else query_vector
    current = np.zeros(item_vectors.shape[1]) if current is None else current
    arrays = (vectors, history.type[used], history.gap[used], history.weight[used], current, history.circumstances)
    with torch.inference_mode():
        inputs = [torch.from_numpy(np.asarray(a, np.int64 if a.dtype == np.int64 else np.float32)) for a in arrays]
        return model(*[part.unsqueeze(0) for part in inputs])[0].numpy()


def event_vectors(
    profile: Profile, item_vectors: FloatArray, encode_query: Callable[[str], FloatArray] | None
) -> tuple[Sequence, FloatArray, npt.NDArray[np.bool_]]:
    """Return the sequence of a profile, the vectors (n, d) of the events that are read, and a mask (h,) of those."""
    history = sequence(profile)
    used = history.item >= 0 if encode_query is None else read_events(history)
    vectors = np.zeros((len(history.item), item_vectors.shape[1]), np.float32)
    is_item = history.item >= 0
    vectors[is_item] = item_vectors[history.item[is_item]]
    if encode_query is not None:
        for position in np.flatnonzero(used & ~is_item):
            vectors[position] = encode_query(profile.queries[history.row[position]])
    return history, vectors[used], used


def export_context(model: ContextTransformer, path: Path) -> None:
    """Write U as ONNX with the inputs `INPUTS` and the output "context". Raises RunError where the file differs."""
    of_events = dict.fromkeys(INPUTS[:4], ("batch", "events"))
    dimension, generator = model.outward.out_features, torch.Generator().manual_seed(0)
    export_torch(
        model, path, _random_history(3, dimension, generator), inputs=INPUTS, output="context",
        axes=of_events | dict.fromkeys(INPUTS[4:], ("batch",)),
        checks=[_random_history(n_events, dimension, generator) for n_events in (0, 1, LENGTH)],
    )  # fmt: skip


def _random_history(n_events: int, dimension: int, generator: torch.Generator) -> list[Tensor]:
    """Return inputs of two histories of `n_events`; the graph needs at least one event, which a weight of 0 hides."""
    shape = (2, max(n_events, 1))
    return [
        nn.functional.normalize(torch.randn(*shape, dimension, generator=generator), dim=-1) * bool(n_events),
        torch.zeros(shape, dtype=torch.int64),
        torch.rand(shape, generator=generator),
        torch.full(shape, 1 / n_events if n_events else 0.0),
        torch.zeros(2, dimension),
        torch.zeros(2, len(CIRCUMSTANCES), dtype=torch.int64),
    ]
