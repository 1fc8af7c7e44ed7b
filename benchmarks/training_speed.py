"""How fast the ranker learns here: pairs per second, share of the matrix limit, and what a large shop takes.

    python -m benchmarks.training_speed                     # a slice of tuning, and what a million pairs take by it
    python -m benchmarks.training_speed --whole --minutes 9  # every stage of `recommender.ml.train.fit`, and the export

The shop is made by --seed: items of a few kinds, visitors who keep to some of them, views and orders. It tells about
time and memory, and nothing about quality. The limit is measured beside it: a product of two large matrices, in
the precision that tuning uses here. A GPU is used where there is one. A million pairs are to be learned once within an
hour on a GPU, within a night of 8 hours on a processor.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.figures import Figure, show
from recommender.durations import DAY_SECONDS
from recommender.features.shop_state import build_state
from recommender.ml import export
from recommender.ml.encoder.contrastive import TuneSettings, fine_tune
from recommender.ml.encoder.model import load_encoder, low_precision
from recommender.ml.encoder.pairs import Pairs, build_pairs
from recommender.ml.hardware import device, hardware, limit_threads
from recommender.ml.loop import Box
from recommender.ml.plan import TrainingData, TrainingSettings
from recommender.ml.progress import Progress
from recommender.ml.train import fit
from recommender.tables import Interactions, ItemTable
from recommender.types import EVENT_CODES, EventType

KINDS = (
    "mug", "lantern", "cushion", "notebook", "garland", "umbrella", "puzzle", "apron", "candle", "kite", "lamp",
    "bell", "drill", "ladder", "hinge", "faucet", "sander", "bracket", "valve", "tile", "carpet", "heater", "blender",
    "kettle", "teapot", "basket", "mirror", "shelf", "drawer", "bench",
)  # fmt: skip
WORDS = (
    "red", "blue", "green", "white", "black", "golden", "pink", "grey", "purple", "yellow", "small", "large", "mini",
    "vintage", "metal", "wooden", "ceramic", "glass", "steel", "striped", "spotted", "round", "square", "folding",
    "heavy", "light", "outdoor", "indoor", "garden", "kitchen", "travel", "holiday", "winter", "summer", "set",
    "pack",
)  # fmt: skip
MATRIX = {"cuda": 8_192, "cpu": 2_048}
HOURS = {"cuda": 1.0, "cpu": 8.0}
TARGET_PAIRS = 1_000_000
WARM_STEPS = 5


def main() -> None:
    options = _options()
    limit_threads(options.threads)
    processor = device()
    print(", ".join(str(part) for part in hardware().values() if part))
    limit = matrix_limit(processor)
    print(f"limit: {limit / 1e12:.2f} TFLOP/s, a product of two matrices of {MATRIX[processor.type]} rows and columns")
    data = made_shop(options)
    began = time.monotonic()
    state = build_state(data.interactions, data.items, at=data.train_end)
    pairs = build_pairs(data.interactions, data.items, state)
    print(f"{len(data.items)} items, {len(data.interactions)} events, {len(pairs)} pairs in {_since(began)}")
    print(f"\n{'pairs a step':>12} {'pairs/s':>9} {'TFLOP/s':>8} {'of the limit':>12} {'a million pairs':>16}")
    rates = [_slice(pairs, size, limit, options) for size in options.batch]
    rate = rates[0]
    figures = [
        Figure("a million pairs, extrapolated from that slice", TARGET_PAIRS / rate / 3600, HOURS[processor.type], "h")
    ]
    show("learned once, at the first number of pairs a step", figures)
    if options.whole:
        _whole(data, options, HOURS[processor.type])


def matrix_limit(processor: torch.device) -> float:
    """Return the operations per second of a product of two large matrices, in the precision of tuning."""
    size = MATRIX[processor.type]
    left, right = (torch.randn(size, size, device=processor) for _ in range(2))
    with low_precision(processor):
        wanted = (left[:1] @ right[:, :1]).dtype
    left, right = left.to(wanted), right.to(wanted)
    seconds = _seconds(lambda: left @ right, processor, n=10)
    return 2 * size**3 / seconds


def made_shop(options: argparse.Namespace) -> TrainingData:
    """Return a shop of `--items` and `--orders`, three items each, of visitors who keep to a few words and kinds."""
    draw = np.random.default_rng(options.seed)
    n_items, n_orders, n_days = options.items, options.orders, 200.0
    kind = draw.integers(0, len(KINDS), n_items)
    words = draw.integers(0, len(WORDS), (n_items, 4))
    texts = tuple(
        f"{' '.join(WORDS[word] for word in row)} {KINDS[k]} {number % 977}"
        for number, (row, k) in enumerate(zip(words, kind, strict=True))
    )
    items = ItemTable(
        ids=tuple(f"item-{number}" for number in range(n_items)),
        texts=texts,
        price=draw.lognormal(2, 1, n_items).astype(np.float32),
        category=kind.astype(np.int32),
        category_names=tuple(KINDS),
        first_seen=np.zeros(n_items),
        active=np.ones(n_items, np.bool_),
    )
    of_kind = np.argsort(kind, kind="stable")
    first, size = np.searchsorted(kind[of_kind], np.arange(len(KINDS))), np.bincount(kind, minlength=len(KINDS))
    liked = draw.integers(0, len(KINDS), (options.visitors, 2))
    visitor = draw.integers(0, options.visitors, n_orders)
    begun = np.sort(draw.uniform(0, n_days * DAY_SECONDS, n_orders))
    theme = draw.random(n_orders) ** 3  # what is bought together lies close in its kind; some themes are common
    chosen = liked[visitor, draw.integers(0, 2, n_orders)]
    near = (theme * size[chosen]).astype(int)[:, None] + draw.integers(0, 40, (n_orders, 3))
    item = of_kind[first[chosen][:, None] + near % size[chosen][:, None]]
    per_order = {"visitor": visitor, "basket": np.arange(n_orders)}
    bought = {name: np.repeat(values, 3) for name, values in per_order.items()}
    n = 2 * len(bought["visitor"])
    time_of = np.repeat(begun, 3)
    order = np.argsort(np.concatenate([time_of - 300, time_of]), kind="stable")
    kinds = np.repeat([EVENT_CODES[EventType.VIEW_ITEM], EVENT_CODES[EventType.PURCHASE]], n // 2)
    events = Interactions(
        visitor=np.tile(bought["visitor"], 2)[order].astype(np.int32),
        item=np.tile(item.ravel(), 2)[order].astype(np.int32),
        type=kinds[order].astype(np.int8),
        time=np.concatenate([time_of - 300, time_of])[order],
        quantity=np.ones(n, np.float32),
        basket=np.concatenate([np.full(n // 2, -1), bought["basket"]])[order].astype(np.int32),
        query=np.full(n, -1, np.int32),
    )
    end = n_days * DAY_SECONDS
    return TrainingData(events, items, train_end=end, test_start=end, test_end=end)


def _slice(pairs: Pairs, size: int, limit: float, options: argparse.Namespace) -> float:
    """Tune for some steps, print one line, and return pairs per second."""
    encoder = load_encoder(options.encoder, pairs.titles[:2_000], seed=options.seed)
    settings = replace(TuneSettings(), batch_pairs=size, held_out=0.0)
    clock = _StepClock(encoder.device)
    box = Box(minutes=60.0, seed=options.seed)
    base = np.zeros((len(pairs.titles), encoder.dimension), np.float32)
    tune = partial(fine_tune, encoder, pairs, base_vectors=base)
    tune(box, settings=replace(settings, n_steps=WARM_STEPS))
    with FlopCounterMode(display=False) as counted:
        tune(box, settings=replace(settings, n_steps=1))
    tune(replace(box, progress=clock), settings=replace(settings, n_steps=options.steps + 1))
    seconds = (clock.times[-1] - clock.times[0]) / (len(clock.times) - 1)
    speed, rate = counted.get_total_flops() / seconds, size / seconds
    share = f"{speed / limit:12.1%}"
    print(f"{size:>12} {rate:>9.0f} {speed / 1e12:>8.2f} {share} {TARGET_PAIRS / rate / 60:>12.1f} min", flush=True)
    return rate


class _StepClock(Progress):
    """Notes the time after each step."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.times: list[float] = []

    def step(self, done: int, total: int, loss: float | None = None) -> None:
        self.times.append(_now(self._device))


def _whole(data: TrainingData, options: argparse.Namespace, hours: float) -> None:
    """Run every stage and write the bundle: measured, not extrapolated."""
    began = time.monotonic()
    artifacts = fit(data, TrainingSettings(minutes=options.minutes, seed=options.seed, encoder=options.encoder))
    with tempfile.TemporaryDirectory() as folder:
        export.write(artifacts, Path(folder))
    spent = time.monotonic() - began
    print(f"\nwhole training, measured, {options.minutes:g} minutes given; ended by {artifacts.ended_by}")
    for stage, seconds in artifacts.seconds.items():
        print(f"{stage:<12} {seconds:>8.1f} s")
    for name in ("encoder_fine_tuning_steps", "search_mrr_untuned", "search_mrr_tuned"):
        print(f"{name:<22} {artifacts.metrics.get(name, float('nan')):.3f}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    on_gpu = torch.cuda.max_memory_allocated() / 2**20 if torch.cuda.is_available() else 0.0
    print(f"peak memory {peak:.0f} MB, on the GPU {on_gpu:.0f} MB")
    show("every stage and the export", [Figure("whole training, measured", spent / 3600, hours, "h")])


def _seconds(work: Callable[[], Any], processor: torch.device, *, n: int) -> float:
    for _ in range(3):
        work()
    began = _now(processor)
    for _ in range(n):
        work()
    return (_now(processor) - began) / n


def _now(processor: torch.device) -> float:
    """The clock, once the GPU has done what it was told."""
    if processor.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def _since(began: float) -> str:
    return f"{time.monotonic() - began:.1f} s"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--orders", type=int, default=400_000)
    parser.add_argument("--visitors", type=int, default=100_000)
    parser.add_argument("--batch", type=int, nargs="+", default=[TuneSettings().batch_pairs, 256, 1_024])
    parser.add_argument("--steps", type=int, default=30, help="of each slice")
    parser.add_argument("--whole", action="store_true", help="also train every stage")
    parser.add_argument("--minutes", type=float, default=9.0, help="of the whole training")
    parser.add_argument("--encoder", default="", help="a folder, a hub name, or the packaged MiniLM")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
