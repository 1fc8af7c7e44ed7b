"""Fine-tunes the encoder on pairs: what belongs together comes near, what else is in the batch goes away."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from recommender.ml.encoder import Encoder, low_precision
from recommender.ml.pace import STEPS, STOP, Pace
from recommender.ml.pairs import Pairs, draw, false_negatives
from recommender.types import FloatArray


@dataclass(frozen=True, slots=True)
class TuneSettings:
    """How the encoder is tuned. `keep` weighs the pull back to the base vectors, `share_items` the item pairs."""

    n_steps: int = 400
    batch_pairs: int = 64
    learning_rate: float = 5e-5
    weight_decay: float = 0.01
    warmup: float = 0.1
    temperature: float = 0.05
    share_items: float = 0.5
    keep: float = 0.5
    dropout: float = 0.1
    frozen_layers: int = 2
    checkpoint_steps: int = 100


@dataclass(frozen=True, slots=True)
class Tuned:
    """Steps taken, those before a resumption included, and what ended them."""

    n_steps: int
    ended_by: str


def fine_tune(
    encoder: Encoder,
    pairs: Pairs,
    *,
    minutes: float,
    seed: int = 0,
    settings: TuneSettings | None = None,
    base_vectors: FloatArray | None = None,
    on_step: Callable[[int, int, float], None] = lambda step, total, loss: None,
    should_stop: Callable[[], bool] = lambda: False,
    checkpoint_dir: Path | None = None,
) -> Tuned:
    """Tune in place with symmetric InfoNCE (van den Oord et al. 2018, equation 4).

    Stops after `n_steps` or `minutes`, whichever is first; the rate falls with the nearer of both. base_vectors
    (n_items, d): vectors of the untuned encoder, to which titles are pulled back so that search keeps what it knew.
    A checkpoint in `checkpoint_dir` is resumed, with the same result as without the interruption.
    """
    settings = settings or TuneSettings()
    model = _prepare(encoder, settings)
    optimizer = _optimizer(model, settings)
    step = _resume(checkpoint_dir, model, optimizer)
    pace = Pace(minutes, settings.n_steps, first_step=step)
    while step < settings.n_steps and not should_stop():
        progress = pace.share(step)
        if progress >= 1:
            break
        _set_rate(optimizer, settings, progress=progress, step=step)
        generator = np.random.default_rng((seed, step))
        torch.manual_seed(int(generator.integers(2**31)))  # dropout of a resumed tuning is that of a whole one
        loss = _loss(encoder, pairs, settings, base_vectors, generator)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        step += 1
        on_step(step, settings.n_steps, float(loss.detach()))
        if checkpoint_dir and step % settings.checkpoint_steps == 0:
            _save(checkpoint_dir, model, optimizer, step)
    model.eval()
    return Tuned(step, pace.ended_by(STEPS if step >= settings.n_steps else STOP))


def _loss(
    encoder: Encoder, pairs: Pairs, settings: TuneSettings, base: FloatArray | None, generator: np.random.Generator
) -> Tensor:
    left, rows = draw(pairs, settings.batch_pairs, generator, share_items=settings.share_items)
    right = [pairs.titles[row] for row in rows[:, 1]]
    with low_precision(encoder.device):
        vectors = encoder.model(**encoder.tokens(left + right))
    ours, theirs = vectors.float().split(len(left))
    logits = ours @ theirs.T / settings.temperature
    masked = torch.from_numpy(false_negatives(pairs, rows)).to(logits.device)
    target = torch.arange(len(left), device=logits.device)
    forward = nn.functional.cross_entropy(logits.masked_fill(masked, -1e4), target)
    backward = nn.functional.cross_entropy(logits.T.masked_fill(masked.T, -1e4), target)
    loss = (forward + backward) / 2
    if base is not None and settings.keep:
        anchor = torch.from_numpy(base[rows[:, 1]]).to(theirs.device)
        loss = loss + settings.keep * (1 - (theirs * anchor).sum(dim=1)).mean()
    return loss


def _prepare(encoder: Encoder, settings: TuneSettings) -> nn.Module:
    """Set dropout, and freeze embeddings and lower layers of a pre-trained BERT: half the time on a CPU."""
    model = encoder.model
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = settings.dropout
    layers = getattr(getattr(model.bert, "encoder", None), "layer", [])
    if settings.frozen_layers and len(layers) > settings.frozen_layers:
        model.bert.embeddings.requires_grad_(False)
        for layer in layers[: settings.frozen_layers]:
            layer.requires_grad_(False)
    model.train()
    return model


def _optimizer(model: nn.Module, settings: TuneSettings) -> torch.optim.AdamW:
    """Decay matrices only; biases and norms stay free (Devlin et al. 2019, appendix A.2)."""
    tuned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in tuned if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in tuned if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.learning_rate)


def _set_rate(optimizer: torch.optim.AdamW, settings: TuneSettings, *, progress: float, step: int) -> None:
    """Warm up linearly, then fall as a half cosine; the rate never outruns the clock."""
    warm = min(1.0, (step + 1) / 10) if progress < settings.warmup else 1.0
    fall = 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
    for group in optimizer.param_groups:
        group["lr"] = settings.learning_rate * warm * fall


def _save(folder: Path, model: nn.Module, optimizer: torch.optim.AdamW, step: int) -> None:
    """Write weights and moments as safetensors; the step last, renamed into place."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {f"model.{name}": value.contiguous() for name, value in model.state_dict().items()}
    for place, state in optimizer.state_dict()["state"].items():
        tensors |= {f"moment.{place}.{name}": value.contiguous() for name, value in state.items()}
    name = f"encoder-{step}.safetensors"
    save_file({key: value.clone() for key, value in tensors.items()}, folder / name)
    draft = folder / "encoder.json.new"
    draft.write_text(json.dumps({"step": step, "file": name}))
    draft.replace(folder / "encoder.json")
    for old in folder.glob("encoder-*.safetensors"):
        if old.name != name:
            old.unlink()


def _resume(folder: Path | None, model: nn.Module, optimizer: torch.optim.AdamW) -> int:
    if folder is None or not (folder / "encoder.json").is_file():
        return 0
    record = json.loads((folder / "encoder.json").read_text())
    tensors = load_file(folder / record["file"])
    model.load_state_dict({k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")})
    moments: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("moment."):
            _, place, name = key.split(".", 2)
            moments.setdefault(int(place), {})[name] = value
    state = optimizer.state_dict()
    optimizer.load_state_dict({"state": moments, "param_groups": state["param_groups"]})
    return int(record["step"])
