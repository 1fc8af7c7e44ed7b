"""What a run trained on: sizes, dates, what cleaning left out, and a hash of all values."""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import json
from typing import Any

import numpy as np

from recommender.datasets.cleaning import CleaningReport
from recommender.features.weights import EVENT_WEIGHTS
from recommender.tables import Impressions, Interactions, ItemTable, Judgements


def summary(
    interactions: Interactions, items: ItemTable, report: CleaningReport, judged: Judgements | None = None
) -> dict[str, Any]:
    """Return what `Run.report` stores; `density` is the share of pairs of visitor and item with a positive event."""
    used = (interactions.visitor >= 0) & (interactions.item >= 0) & (EVENT_WEIGHTS[interactions.type] > 0)
    visitor, item = interactions.visitor[used].astype(np.int64), interactions.item[used]
    n_visitors, n_pairs = len(np.unique(visitor)), len(np.unique(visitor * len(items) + item))
    times = interactions.time[[0, -1]].tolist() if len(interactions) else []
    cleaned = dataclasses.asdict(dataclasses.replace(report, bursts=()))  # an alarm shows them: see `datasets.alarms`
    del cleaned["bursts"]
    return {
        **cleaned,
        "n_visitors": n_visitors,
        "n_items": len(items),
        "n_interactions": len(interactions),
        "density": n_pairs / max(n_visitors * len(items), 1),
        "from": day_of(times[0]) if times else "",
        "to": day_of(times[-1]) if times else "",
        "data_hash": data_hash(interactions, items, judged),
    }


def data_hash(interactions: Interactions, items: ItemTable, judged: Judgements | None = None) -> str:
    """Return 32 hex digits that change with any value in any column."""
    digest = hashlib.blake2b(digest_size=16)
    tables: list[Interactions | ItemTable | Judgements] = [interactions, items]
    if judged is not None and len(judged):
        tables.append(judged)
    for table in tables:
        for name, value in columns_of(table).items():
            digest.update(name.encode())
            digest.update(value.tobytes() if isinstance(value, np.ndarray) else json.dumps(value).encode())
    return digest.hexdigest()


def columns_of(table: Interactions | ItemTable | Judgements | Impressions) -> dict[str, Any]:
    """Return all columns of a table by name."""
    return {field.name: getattr(table, field.name) for field in dataclasses.fields(table)}


def day_of(seconds: float) -> str:
    """The date of a moment in seconds since the epoch, in UTC."""
    return dt.datetime.fromtimestamp(seconds, dt.UTC).date().isoformat()
