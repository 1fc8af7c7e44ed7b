"""A dataset in two files, so that a run that was interrupted need not read it again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from recommender.datasets.cleaning import Recorded
from recommender.datasets.dataset import Dataset, read_dataset
from recommender.datasets.report import columns_of
from recommender.tables import Impressions, Interactions, ItemTable, Judgements


def read_once(folder: Path, *, as_of: float | None = None) -> Dataset:
    """Return the dataset saved in the folder, or read it and save it there."""
    dataset = load(folder)
    if dataset is None:
        dataset = read_dataset(as_of=as_of)
        save(dataset, folder)
    return dataset


def save(dataset: Dataset, folder: Path) -> None:
    """Write texts as JSON and numbers as npz; the JSON last, renamed into place, as the mark of a complete copy."""
    folder.mkdir(parents=True, exist_ok=True)
    values: dict[str, Any] = {"is_bot": dataset.recorded.is_bot}
    values |= {"titles": dataset.titles, "brands": dataset.brands, "taken_at": dataset.taken_at}
    tables: dict[str, Interactions | ItemTable | Judgements | Impressions] = {
        "events": dataset.recorded.interactions, "items": dataset.items, "judged": dataset.judgements,
        "shown": dataset.impressions,
    }  # fmt: skip
    for prefix, table in tables.items():
        values |= {f"{prefix}.{name}": column for name, column in columns_of(table).items()}
    arrays = {name: value for name, value in values.items() if isinstance(value, np.ndarray)}
    with (folder / "dataset.npz").open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
    draft = folder / "dataset.json.new"
    draft.write_text(json.dumps({name: value for name, value in values.items() if name not in arrays}))
    draft.replace(folder / "dataset.json")


def load(folder: Path) -> Dataset | None:
    """Return what `save` wrote there; None if it did not finish."""
    if not (folder / "dataset.json").is_file():
        return None
    values = json.loads((folder / "dataset.json").read_text())
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    with np.load(folder / "dataset.npz", allow_pickle=False) as arrays:
        values |= {name: arrays[name] for name in arrays.files}

    def columns(prefix: str) -> dict[str, Any]:
        return {name.removeprefix(prefix): value for name, value in values.items() if name.startswith(prefix)}

    return Dataset(
        items=ItemTable(**columns("items.")),
        titles=values["titles"],
        recorded=Recorded(Interactions(**columns("events.")), values["is_bot"]),
        taken_at=values["taken_at"],
        judgements=Judgements(**columns("judged.")),
        impressions=Impressions(**columns("shown.")),
        brands=values["brands"],
    )
