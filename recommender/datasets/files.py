"""A dataset in, two files out, and back: what a run that was interrupted has read need not be read again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from recommender.datasets import Dataset, columns_of, read_dataset
from recommender.datasets.cleaning import Recorded
from recommender.tables import Impressions, Interactions, ItemTable, Judgements


def read_once(folder: Path, *, as_of: float | None = None) -> Dataset:
    """What an interrupted run has read into its folder already, else the dataset, saved there."""
    found = load(folder)
    if found is None:
        found = read_dataset() if as_of is None else read_dataset(as_of=as_of)
        save(found, folder)
    return found


def save(dataset: Dataset, folder: Path) -> None:
    """Write the dataset as two files, texts as JSON and numbers as npz; the JSON last, renamed into place."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, npt.NDArray[Any]] = {"is_bot": dataset.recorded.is_bot}
    texts: dict[str, Any] = {"titles": dataset.titles, "brands": dataset.brands, "taken_at": dataset.taken_at}
    tables = (
        ("events", dataset.recorded.interactions), ("items", dataset.items), ("judged", dataset.judgements),
        ("shown", dataset.impressions),
    )  # fmt: skip
    for prefix, table in tables:
        for name, value in columns_of(table).items():
            (arrays if isinstance(value, np.ndarray) else texts)[f"{prefix}.{name}"] = value
    with (folder / "dataset.npz").open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
    draft = folder / "dataset.json.new"
    draft.write_text(json.dumps(texts))
    draft.replace(folder / "dataset.json")


def load(folder: Path) -> Dataset | None:
    """What `save` wrote there; None where it did not finish."""
    if not (folder / "dataset.json").is_file():
        return None
    texts = json.loads((folder / "dataset.json").read_text())
    with np.load(folder / "dataset.npz", allow_pickle=False) as arrays:
        values = {name: arrays[name] for name in arrays.files}
    lists = {name: tuple(value) for name, value in texts.items() if isinstance(value, list)}

    def table(prefix: str) -> dict[str, Any]:
        found = {**values, **lists}
        return {name.partition(".")[2]: value for name, value in found.items() if name.startswith(f"{prefix}.")}

    recorded = Recorded(Interactions(**table("events")), values["is_bot"])
    judged = Judgements(**table("judged"))
    shown = Impressions(**table("shown"))
    items = ItemTable(**table("items"))
    return Dataset(items, lists["titles"], recorded, texts["taken_at"], judged, shown, lists["brands"])
