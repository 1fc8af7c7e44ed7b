"""Fine-tunes a frozen BERT by a small adapter (library peft): adds it, trains it, merges it and saves it as files."""

from __future__ import annotations

import hashlib
import json
import re
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import peft
import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from recommender.exceptions import BundleError, RunError
from recommender.ml import checkpoint
from recommender.ml.encoder.contrastive import TuneSettings, fine_tune
from recommender.ml.encoder.model import Encoder
from recommender.ml.encoder.pairs import Pairs
from recommender.ml.loop import Box, Schedule, count_trained
from recommender.ml.pace import STEPS
from recommender.types import FineTuning, FloatArray

FORMAT = 1
WEIGHTS_FILE, RECORD_FILE = "adapter.safetensors", "adapter.json"
DEFAULT = "default"
"""The name that peft gives to the only adapter of a model."""

CLOCK = 1_000
"""Length of AdaLoRA's schedule in ticks. It follows the share of the time box that is used up, because the number of
steps that fit into the time box is not known beforehand."""

LINEAR = r"attention\.self\.(query|key|value)|(attention\.output|intermediate|output)\.dense"
SCALED_INPUT = r"output\.dense"
SCALED = rf"attention\.self\.(key|value)|{SCALED_INPUT}"
"""IA3 scales keys, values and the input of the second feed-forward matrix (Liu et al. 2022, section 3.3)."""


@dataclass(frozen=True, slots=True)
class AdapterSettings:
    """Sizes and learning rates. Each method has its own rate, higher than that of full fine-tuning, because an adapter
    starts without any effect and has further to go than a pre-trained weight.

    rank: rank of LoRA's matrices, and mean rank of AdaLoRA's at the end; first_rank: rank of AdaLoRA's at the start.
    n_virtual: number of virtual tokens that prefix tuning puts before each text. orthogonality: weight of AdaLoRA's
    regulariser.
    """

    rank: int = 8
    first_rank: int = 12
    alpha: int = 16
    n_virtual: int = 8
    dropout: float = 0.1
    orthogonality: float = 0.1
    lora_rate: float = 1e-3
    adalora_rate: float = 5e-3
    prefix_rate: float = 5e-3
    ia3_rate: float = 5e-3


@dataclass(frozen=True, slots=True)
class AdapterWeights:
    """A trained adapter. `record`: its method, its settings and the digest of the weights that it was trained on;
    `tensors`: its weights, under the names that peft gives them."""

    record: dict[str, Any]
    tensors: dict[str, Tensor]

    @property
    def n_bytes(self) -> int:
        """Total size of its two files."""
        return len(save(self.tensors)) + len(self._json())

    def write(self, folder: Path) -> None:
        """Write adapter.safetensors and adapter.json."""
        (folder / WEIGHTS_FILE).write_bytes(save(self.tensors))
        (folder / RECORD_FILE).write_text(self._json())

    def _json(self) -> str:
        return json.dumps(self.record, sort_keys=True)

    @classmethod
    def read(cls, folder: Path) -> AdapterWeights:
        """Read the two files of a folder. Raises BundleError if one is missing or has another format."""
        try:
            record = json.loads((folder / RECORD_FILE).read_text())
            tensors = load_file(folder / WEIGHTS_FILE)
        except OSError as error:
            raise BundleError(
                f"{folder} holds no adapter ({error}). Expected {RECORD_FILE}, {WEIGHTS_FILE}."
            ) from error
        if record.get("format") != FORMAT:
            raise BundleError(f"adapter.json has format {record.get('format')!r}, expected {FORMAT}. Train a new one.")
        return cls(record, tensors)


def method_named(name: str) -> FineTuning:
    """The method of this name. Raises RunError, with the names that exist, for any other."""
    try:
        return FineTuning(name)
    except ValueError as error:
        raise RunError(f"Fine-tuning {name!r} is not known. Choose one of {', '.join(FineTuning)}.") from error


def settings_for(method: FineTuning, tune: TuneSettings, settings: AdapterSettings) -> TuneSettings:
    """The settings with the learning rate of the method. IA3 gets no weight decay: its factors start at 1, and decay
    would pull them to 0."""
    if method in (FineTuning.FULL, FineTuning.FROZEN):
        return tune
    rate = getattr(settings, f"{method}_rate")
    decay = 0.0 if method == FineTuning.IA3 else tune.weight_decay
    return replace(tune, learning_rate=rate, weight_decay=decay)


@dataclass(frozen=True, slots=True)
class Tuned:
    """The result of fine-tuning: the number of steps and of trained parameters, the adapter if the method has one, and
    the reason why it ended (a word of `pace`)."""

    n_steps: int
    n_trained_parameters: int
    adapter: AdapterWeights | None = None
    ended_by: str = STEPS

    def figures(self) -> dict[str, float]:
        """The figures that a run reports."""
        figures = {"fine_tuning_steps": float(self.n_steps), "n_trained_parameters": float(self.n_trained_parameters)}
        return figures | ({"adapter_bytes": float(self.adapter.n_bytes)} if self.adapter else {})


def tune(
    encoder: Encoder,
    pairs: Pairs,
    box: Box,
    *,
    method: FineTuning,
    settings: TuneSettings,
    adapter_settings: AdapterSettings | None = None,
    base_vectors: FloatArray | None = None,
) -> Tuned:
    """Fine-tune the encoder in place by one method. An adapter is merged into its BERT afterwards, except a prefix."""
    if method == FineTuning.FROZEN:
        return Tuned(0, 0)
    if method == FineTuning.FULL:
        ended = fine_tune(encoder, pairs, box, settings=settings, base_vectors=base_vectors)
        return Tuned(ended.n_steps, count_trained(encoder.model), ended_by=ended.ended_by)
    sizes = adapter_settings or AdapterSettings()
    adapter = Adapter(encoder, method, frozen_layers=settings.frozen_layers, settings=sizes, seed=box.seed)
    n_trained, own = count_trained(encoder.model), settings_for(method, settings, sizes)
    ended = fine_tune(encoder, pairs, box, settings=own, base_vectors=base_vectors, schedule=adapter)
    weights = adapter.weights()
    adapter.merge()
    return Tuned(ended.n_steps, n_trained, weights, ended.ended_by)


class Adapter(Schedule):
    """An adapter on an encoder; contrastive fine-tuning calls it after each step."""

    def __init__(
        self,
        encoder: Encoder,
        method: FineTuning,
        *,
        frozen_layers: int = 0,
        settings: AdapterSettings | None = None,
        seed: int = 0,
    ) -> None:
        """Add an untrained adapter to the encoder and freeze all other weights.

        Raises RunError for a method without an adapter, and for an encoder that is no BERT.
        """
        if method in (FineTuning.FULL, FineTuning.FROZEN):
            raise RunError(f"Fine-tuning {method} has no adapter. Choose one of lora, adalora, prefix, ia3.")
        self.encoder, self.method = encoder, method
        self.settings = settings or AdapterSettings()
        bert = encoder.model.bert
        n_layers = int(bert.config.num_hidden_layers)
        self.first_layer = frozen_layers if frozen_layers < n_layers else 0
        self._base = _digest(bert)
        self._tick = -1
        torch.manual_seed(seed)
        try:
            self.peft = _put(bert, _config(method, self.settings, range(self.first_layer, n_layers)))
        except ValueError as error:
            raise RunError(
                f"Fine-tuning {method} does not know the layers of {encoder.name!r}, which is no BERT. "
                "Set FINE_TUNING to 'full'."
            ) from error
        self.peft.to(encoder.device)
        encoder.model.bert = Prefixed(self.peft) if method == FineTuning.PREFIX else self.peft

    @property
    def is_settled(self) -> bool:
        """Whether AdaLoRA has finished removing ranks. Weights from before that moment are not the final ones."""
        return self.method != FineTuning.ADALORA or self._tick >= CLOCK - self._final

    def after_step(self, progress: float) -> None:
        """Let AdaLoRA remove ranks (Zhang et al. 2023, algorithm 1). Even a slow step does not skip its last tick."""
        if self.method != FineTuning.ADALORA:
            return
        tick, last = min(int(progress * CLOCK), CLOCK), CLOCK - self._final
        if self._tick < 0:
            self._allocate(0)
        if self._tick < last <= tick:
            self._allocate(last)
        if tick != last:
            self._allocate(tick)
        self._tick = tick

    def penalty(self) -> Tensor | None:
        """AdaLoRA's regulariser, which keeps A and B orthogonal (Zhang et al. 2023, equation 4)."""
        if self.method != FineTuning.ADALORA:
            return None
        gaps = []
        for name in ("lora_A", "lora_B"):
            for _, value in self._lora(name):
                product = value @ value.T if name == "lora_A" else value.T @ value
                gaps.append(torch.linalg.norm(product - torch.eye(len(product), device=product.device)))
        return self.settings.orthogonality * torch.stack(gaps).mean()

    def state(self) -> dict[str, Tensor]:
        """AdaLoRA's tick, its running averages and which ranks are left, for a checkpoint."""
        if self.method != FineTuning.ADALORA:
            return {}
        allocator, pattern = self._allocator, self.peft.active_peft_config.rank_pattern or {}
        state = {"tick": torch.tensor(self._tick)}
        for name in ("ipt", "exp_avg_ipt", "exp_avg_unc"):
            state |= {f"{name}/{key}": value for key, value in getattr(allocator, name).items()}
        return state | {f"pattern/{key}": torch.tensor(is_kept) for key, is_kept in pattern.items()}

    def load_state(self, state: checkpoint.Tensors) -> None:
        """Restore what `state` returned."""
        for key, value in state.items():
            group, _, rest = key.partition("/")
            if group == "tick":
                self._tick = int(value)
            elif group == "pattern":
                config = self.peft.active_peft_config
                config.rank_pattern = {**(config.rank_pattern or {}), rest: value.tolist()}
            else:
                getattr(self._allocator, group)[rest] = value.to(self.encoder.device)

    def weights(self) -> AdapterWeights:
        """The trained adapter; for AdaLoRA only the ranks that are left."""
        with warnings.catch_warnings():
            # AdaLoRA may remove all ranks of a matrix; peft 0.21 then warns of an empty shard.
            warnings.filterwarnings("ignore", message="(?s).*LoRA tensor.*invalid shape")
            tensors = peft.get_peft_model_state_dict(self.peft)
        record: dict[str, Any] = {
            "format": FORMAT,
            "method": str(self.method),
            "encoder": Path(self.encoder.name).name,
            "base": self._base,
            "first_layer": self.first_layer,
            "settings": asdict(self.settings),
        }
        if self.method == FineTuning.ADALORA:
            record["rank_pattern"] = self.peft.active_peft_config.rank_pattern
        return AdapterWeights(record, {name: value.detach().cpu().contiguous() for name, value in tensors.items()})

    def merge(self) -> None:
        """Merge the adapter into the weights, so that serving is no slower. A prefix cannot be merged and stays."""
        if self.method == FineTuning.PREFIX:
            self.peft.requires_grad_(False)
            return
        self.encoder.model.bert = self.peft.merge_and_unload()
        self.encoder.model.eval()

    def _allocate(self, tick: int) -> None:
        self.peft.base_model.update_and_allocate(tick)

    def _lora(self, part: str) -> list[tuple[str, Tensor]]:
        return [(name, value) for name, value in self.peft.named_parameters() if f"{part}.{DEFAULT}" in name]

    @property
    def _allocator(self) -> Any:
        return self.peft.base_model.rankallocator

    @property
    def _final(self) -> int:
        return int(self.peft.active_peft_config.tfinal)


class Prefixed(nn.Module):
    """A BERT with prefix tuning whose texts keep their own positions.

    peft counts the positions of a text from the end of the prefix. But a BERT has learned positions from 0, and has no
    embeddings beyond the longest text.
    """

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    @property
    def config(self) -> Any:
        """The configuration of the BERT."""
        return self.inner.get_base_model().config

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Any:
        """The same as the forward pass of the BERT."""
        positions = torch.arange(input_ids.shape[1], device=input_ids.device).unsqueeze(0)
        n_virtual = self.inner.active_peft_config.num_virtual_tokens
        return self.inner(input_ids=input_ids, attention_mask=attention_mask, position_ids=positions - n_virtual)


def put_on(encoder: Encoder, weights: AdapterWeights) -> None:
    """Add a trained adapter to the encoder that it was trained on, and merge it, except a prefix.

    Raises BundleError for another encoder.
    """
    record = weights.record
    digest = _digest(encoder.model.bert)
    if record["base"] != digest:
        raise BundleError(
            f"The adapter was trained on {record['encoder']!r} with weights {record['base'][:12]}, this encoder is "
            f"{encoder.name!r} with weights {digest[:12]}. Load the encoder that it was trained on."
        )
    adapter = Adapter(
        encoder,
        method_named(record["method"]),
        frozen_layers=record["first_layer"],
        settings=AdapterSettings(**record["settings"]),
    )
    if record.get("rank_pattern"):
        adapter.peft.active_peft_config.rank_pattern = record["rank_pattern"]
    loaded = peft.set_peft_model_state_dict(adapter.peft, dict(weights.tensors))
    unexpected = set(loaded.unexpected_keys) - {"prompt_embeddings"}  # peft lists them here, but has loaded them
    if unexpected:
        raise BundleError(f"The adapter has a tensor {min(unexpected)!r} that its method does not know.")
    adapter.merge()


def _put(bert: nn.Module, config: peft.PeftConfig) -> Any:
    with warnings.catch_warnings():
        # peft 0.21 reads `is_gradient_checkpointing`, which transformers removes in version 6.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        return peft.get_peft_model(bert, config)


def _config(method: FineTuning, settings: AdapterSettings, layers: range) -> peft.PeftConfig:
    rank: Mapping[str, Any] = {"lora_alpha": settings.alpha, "lora_dropout": settings.dropout}
    if method == FineTuning.LORA:
        return peft.LoraConfig(r=settings.rank, target_modules=_within(layers, LINEAR), **rank)
    if method == FineTuning.ADALORA:
        return peft.AdaLoraConfig(
            init_r=settings.first_rank,
            target_r=settings.rank,
            tinit=CLOCK // 10,
            tfinal=CLOCK * 3 // 10,
            total_step=CLOCK,
            target_modules=_within(layers, LINEAR),
            **rank,
        )
    if method == FineTuning.IA3:
        return peft.IA3Config(target_modules=_within(layers, SCALED), feedforward_modules=_within(layers, SCALED_INPUT))
    return peft.PrefixTuningConfig(task_type=peft.TaskType.FEATURE_EXTRACTION, num_virtual_tokens=settings.n_virtual)


def _within(layers: range, names: str) -> str:
    """A pattern that matches these modules in these layers. Nothing is back-propagated below the first of them."""
    numbers = "|".join(re.escape(str(layer)) for layer in layers)
    return rf".*\.layer\.({numbers})\.({names})"


def _digest(bert: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, value in sorted(bert.state_dict().items()):
        if "pooler" not in name:  # not used, and random if the checkpoint has none
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
