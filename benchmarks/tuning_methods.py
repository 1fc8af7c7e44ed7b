"""Tunes one encoder by every method for the same time, each in a process of its own, and prints one table.

    python -m benchmarks.tuning_methods --events events.csv.gz --items items.csv.gz --minutes 1

The files are those of benchmarks.ranker_online_retail. search: MRR of known-item queries made from titles. together:
of the items that were bought with an item in the test window, the share among its 20 nearest; "new": of those that were
never bought with it before. Nothing at or after --test-start is learned from.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.ranker_online_retail import _seconds as seconds_of
from benchmarks.ranker_online_retail import read_events, read_items
from recommender.features.neighbours import Neighbours
from recommender.features.shop_state import build_state
from recommender.ml.encoder import adapters, mlm
from recommender.ml.encoder.contrastive import TuneSettings
from recommender.ml.encoder.model import Encoder, load_encoder
from recommender.ml.encoder.pairs import build_pairs
from recommender.ml.encoder.stage import search_quality
from recommender.ml.hardware import limit_threads
from recommender.ml.loop import Box
from recommender.ml.plan import until
from recommender.tables import Interactions, ItemTable
from recommender.types import Adaptation, FineTuning, FloatArray

N_NEAREST = 20


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table; artefact_bytes: what has to be kept beside the encoder as it came."""

    method: str
    search: float
    together: float
    new: float
    n_steps: int
    n_trained_parameters: int
    artefact_bytes: int
    seconds: float
    peak_mb: float
    masked_loss: str = ""


def main() -> None:
    options = _options()
    if options.only:
        print(json.dumps(asdict(measure(FineTuning(options.only), options))))
        return
    names = ", ".join(FineTuning)
    methods = [method for method in options.methods.split(",") if method]
    if unknown := set(methods) - set(FineTuning):
        sys.exit(f"--methods: {', '.join(sorted(unknown))} is not known. Choose of {names}.")
    print(f"{options.encoder or 'MiniLM-L6'}, {options.minutes} min per method, adaptation {options.adaptation}")
    print(f"{asdict(TuneSettings())}\n{asdict(adapters.AdapterSettings())}", flush=True)
    show([in_process(method) for method in methods])


def in_process(method: str) -> Row:
    """Measure in a process of its own: peak memory is that of one method."""
    command = [sys.executable, "-m", "benchmarks.tuning_methods", *sys.argv[1:], "--only", method]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ})
    if ended.returncode:
        sys.exit(ended.stderr)
    return Row(**json.loads(ended.stdout.splitlines()[-1]))


def measure(method: FineTuning, options: argparse.Namespace) -> Row:
    """Tune by one method and judge on what was sold afterwards."""
    limit_threads()
    items = read_items(options.items)
    interactions = read_events(options.events, items)
    start, end = seconds_of(options.test_start), seconds_of(options.test_end)
    past = until(interactions, start)
    encoder = load_encoder(options.encoder, items.texts, seed=options.seed)
    n_bytes = _n_bytes(encoder)
    state = build_state(past, items, at=start)
    pairs = build_pairs(past, items, state)
    words = _adapted(encoder, items, options)
    base = encoder.encode(items.texts)
    began = time.monotonic()
    box = Box(options.minutes, options.seed)
    settings = replace(TuneSettings(), n_steps=options.steps, hard_negatives=options.hard_negatives)
    tuned = adapters.tune(encoder, pairs, box, method=method, settings=settings, base_vectors=base)
    seconds = time.monotonic() - began
    vectors = encoder.encode(items.texts)
    window = _window(interactions, start, end)
    later = build_state(window, items, at=end).basket
    artefact = tuned.adapter.n_bytes if tuned.adapter else (0 if method == FineTuning.FROZEN else n_bytes)
    return Row(
        method=str(method),
        search=search_quality(encoder.encode, items.texts, vectors, seed=99),
        together=recall(vectors, later, items.first_seen <= start),
        new=recall(vectors, later, items.first_seen <= start, already_bought=state.basket),
        n_steps=tuned.n_steps,
        n_trained_parameters=tuned.n_trained_parameters,
        artefact_bytes=artefact,
        seconds=seconds,
        peak_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        masked_loss=words,
    )


def recall(
    vectors: FloatArray, later: Neighbours, shown: np.ndarray, *, already_bought: Neighbours | None = None
) -> float:
    """Mean over items of found / min(20, bought with it), over the items that were in the shop before the window."""
    scores = vectors @ vectors.T
    scores[:, ~shown] = -np.inf
    np.fill_diagonal(scores, -np.inf)
    nearest = np.argsort(-scores, axis=1)[:, :N_NEAREST]
    shares, there = [], set(np.flatnonzero(shown).tolist())
    for row in there:
        truth = set(_near(later, int(row))) & there
        truth -= set(_near(already_bought, int(row))) if already_bought else set()
        if truth:
            shares.append(len(truth & set(nearest[row].tolist())) / min(N_NEAREST, len(truth)))
    return float(np.mean(shares))


def show(rows: list[Row]) -> None:
    """Print the table; in brackets the ratio to full tuning."""
    full = next((row for row in rows if row.method == FineTuning.FULL), None)
    head = ("method", "search", "together", "new", "steps", "trained", "artefact", "seconds", "peak MB")
    print("| " + " | ".join(head) + " |\n|---|" + "---:|" * (len(head) - 1))
    for row in rows:
        cells = [
            row.method,
            *(
                _beside(getattr(row, name), getattr(full, name) if full else None, ".4f")
                for name in ("search", "together", "new")
            ),
            f"{row.n_steps}",
            _beside(row.n_trained_parameters, full.n_trained_parameters if full else None, ",.0f"),
            _beside(row.artefact_bytes, full.artefact_bytes if full else None, ",.0f"),
            _beside(row.seconds, full.seconds if full else None, ".0f"),
            _beside(row.peak_mb, full.peak_mb if full else None, ",.0f"),
        ]
        print("| " + " | ".join(cells) + " |" + (f" {row.masked_loss}" if row.masked_loss else ""), flush=True)


def _beside(value: float, full: float | None, form: str) -> str:
    return f"{value:{form}}" + (f" ({value / full:.3g})" if full else "")


def _adapted(encoder: Encoder, items: ItemTable, options: argparse.Namespace) -> str:
    choice = Adaptation(options.adaptation)
    if not mlm.is_wanted(encoder, items.texts, choice, mlm.MaskSettings()):
        return ""
    before = search_quality(encoder.encode, items.texts, encoder.encode(items.texts), seed=99)
    adapted = mlm.adapt(encoder, items.texts, Box(options.minutes, options.seed))
    after = search_quality(encoder.encode, items.texts, encoder.encode(items.texts), seed=99)
    losses = f"{adapted.loss_before:.3f} -> {adapted.loss_after:.3f}"
    return f"masked loss {losses} in {adapted.n_steps} steps, search {before:.4f} -> {after:.4f}"


def _window(interactions: Interactions, start: float, end: float) -> Interactions:
    within = (interactions.time >= start) & (interactions.time < end)
    names: Any = ("visitor", "item", "type", "time", "quantity", "basket", "query")
    return Interactions(**{name: getattr(interactions, name)[within] for name in names}, queries=interactions.queries)


def _near(neighbours: Neighbours, row: int) -> list[int]:
    return neighbours.item[neighbours.start[row] : neighbours.start[row + 1]].tolist()


def _n_bytes(encoder: Encoder) -> int:
    return sum(value.numel() * value.element_size() for value in encoder.model.state_dict().values())


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=Path, required=True)
    parser.add_argument("--items", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--steps", type=int, default=TuneSettings().n_steps)
    parser.add_argument("--hard-negatives", type=int, default=TuneSettings().hard_negatives)
    parser.add_argument("--methods", default=",".join(FineTuning), help="separated by commas")
    parser.add_argument("--encoder", default="")
    parser.add_argument("--adaptation", default=str(Adaptation.NEVER), choices=[str(choice) for choice in Adaptation])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--test-start", default="2011-10-10")
    parser.add_argument("--test-end", default="2011-11-10")
    parser.add_argument("--only", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
