"""Sequence models of RecTools as peers: each ranks the whole catalogue for every user."""

from __future__ import annotations

import datetime as dt
import logging
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.recommendation_rivals import Past
from recommender.tables import Interactions
from recommender.types import EVENT_CODES, EventType

N_LISTED = 100
LAYERS = {"n_blocks": 2, "n_heads": 2, "n_factors": 64, "dropout_rate": 0.2}
LENGTHS = (10, 50)
"""Fewest and most items of a history that are read: nine of ten histories fit, and at most 50, as SASRec reads of its
Amazon sets (Kang and McAuley 2018, section 4.4)."""

BATCH = 64
MOST_EPOCHS = 1_000
"""Training ends by time: with few events the validation loss rises long before the lists stop improving."""

_PURCHASE = EVENT_CODES[EventType.PURCHASE]


def sequence_lists(
    kind: str, past: Past, users: Sequence[str], *, minutes: float, seed: int
) -> tuple[dict[str, list[int]], dict[str, list[int]]]:
    """Fit "SASRec" or "BERT4Rec" and return the list of each user, of all items and of those new to the user.

    Raises ImportError where RecTools is not installed.
    """
    from pytorch_lightning import seed_everything
    from rectools.dataset import Dataset
    from rectools.models import BERT4RecModel, SASRecModel

    for name in ("pytorch_lightning", "lightning.pytorch"):
        logging.getLogger(name).setLevel(logging.ERROR)
    seed_everything(seed, verbose=False)
    model = {"SASRec": SASRecModel, "BERT4Rec": BERT4RecModel}[kind](
        **LAYERS, session_max_len=_length(past.learned), batch_size=BATCH,
        epochs=MOST_EPOCHS, recommend_torch_device="cpu", recommend_n_threads=1,
        get_trainer_func=_trainer, get_trainer_func_kwargs={"minutes": minutes},
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(Dataset.construct(_frame(past.learned)))
        trainer = model.fit_trainer
        print(f"  {kind}: {trainer.current_epoch} epochs, {trainer.global_step} steps of {BATCH}", flush=True)
        everybody = _frame(past.histories.interactions)
        names = {past.visitors[user]: user for user in users if user in past.visitors}
        dataset = Dataset.construct(everybody)
        every, new = (_listed(model, dataset, names, is_new=is_new) for is_new in (False, True))
    return every, new


def _listed(model: Any, dataset: Any, names: dict[int, str], *, is_new: bool) -> dict[str, list[int]]:
    visitors = np.asarray(list(names))
    table = model.recommend(visitors, dataset, k=N_LISTED, filter_viewed=is_new, on_unsupported_targets="ignore")
    lists: dict[str, list[int]] = {}
    rows = table.sort_values(["user_id", "rank"])
    for visitor, item in zip(rows["user_id"].tolist(), rows["item_id"].tolist(), strict=True):
        lists.setdefault(names[visitor], []).append(item)
    return lists


def _frame(interactions: Interactions) -> Any:
    """Return the purchases as RecTools reads them; the order of the rows of one moment is kept by nanoseconds."""
    import pandas

    bought = np.flatnonzero(interactions.type == _PURCHASE)
    times = (interactions.time[bought] * 1e9).astype("int64") + np.arange(len(bought))
    return pandas.DataFrame(
        {
            "user_id": interactions.visitor[bought],
            "item_id": interactions.item[bought],
            "weight": 1.0,
            "datetime": times.astype("datetime64[ns]"),
        }
    )


def _length(interactions: Interactions) -> int:
    visitor = interactions.visitor[interactions.type == _PURCHASE]
    count = np.bincount(visitor)
    return int(np.clip(np.quantile(count[count > 0], 0.9), *LENGTHS))


def _trainer(minutes: float) -> Any:
    from pytorch_lightning import Trainer

    return Trainer(
        max_epochs=MOST_EPOCHS, max_time=dt.timedelta(minutes=minutes), accelerator="cpu", devices=1, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
