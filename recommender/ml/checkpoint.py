"""Saves the state of a training (weights, optimizer, numbers) and restores it: an interrupted training continues as if
nothing had happened."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A saved state. record: its numbers, stored as JSON; tensors: tensors by group and name."""

    record: dict[str, Any]
    tensors: dict[str, dict[str, Tensor]]


def trained(model: nn.Module) -> dict[str, Tensor]:
    """The trainable parameters by name. Frozen ones never change and need not be saved."""
    return {name: value.detach() for name, value in model.named_parameters() if value.requires_grad}


def set_trained(model: nn.Module, tensors: Tensors) -> None:
    """Copy values into the parameters of the same names. Raises KeyError if the model has no such parameter."""
    own = dict(model.named_parameters())
    with torch.no_grad():
        for name, value in tensors.items():
            own[name].copy_(value)


def moments(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's state, such as Adam's moments, as tensors named "<index of the parameter>.<name>"."""
    states = optimizer.state_dict()["state"]
    return {f"{position}.{name}": value for position, state in states.items() for name, value in state.items()}


def set_moments(optimizer: torch.optim.Optimizer, tensors: Tensors) -> None:
    """Restore what `moments` returned."""
    states: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        position, _, name = key.partition(".")
        states.setdefault(int(position), {})[name] = value
    optimizer.load_state_dict({"state": states, "param_groups": optimizer.state_dict()["param_groups"]})


def save(folder: Path, name: str, record: Mapping[str, Any], tensors: Mapping[str, Tensors]) -> None:
    """Write the tensors to a file of safetensors, then the record that names this file.

    Both are replaced in one step each: a process that is killed meanwhile leaves the earlier checkpoint intact.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = f"{name}-{record['step']}{'-done' if record.get('is_done') else ''}.safetensors"
    flat = {f"{group}:{key}": value.clone().contiguous() for group, of in tensors.items() for key, value in of.items()}
    whole = folder / f"{name}.safetensors.new"
    save_file(flat, whole)
    whole.replace(folder / file)
    draft = folder / f"{name}.json.new"
    draft.write_text(json.dumps({**record, "file": file}))
    draft.replace(folder / f"{name}.json")
    for old in folder.glob(f"{name}-*.safetensors"):
        if old.name != file:
            old.unlink()


def load(folder: Path | None, name: str) -> Checkpoint | None:
    """The last state saved under this name; None if there is none."""
    if folder is None or not (folder / f"{name}.json").is_file():
        return None
    record = json.loads((folder / f"{name}.json").read_text())
    tensors: dict[str, dict[str, Tensor]] = {}
    for key, value in load_file(folder / record["file"]).items():
        group, _, rest = key.partition(":")
        tensors.setdefault(group, {})[rest] = value
    return Checkpoint(record, tensors)
