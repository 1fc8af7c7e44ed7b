"""How long a title takes to encode on one core, by each runtime, and whether they find the same neighbours.

    python -m benchmarks.encoding [--items 4000] [--json FILE]

The titles are those of the demo, the encoder is bundle 0, MiniLM. The runtimes take turns, so that another load of the
machine slows both; what counts is the time of the processor. The last line is what a worker chooses by itself.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import django
import numpy as np

from benchmarks.figures import Figure, show

if TYPE_CHECKING:
    from recommender.serving.ranker import Ranker

LIMIT_MICROSECONDS = 1e6 / 600
"""Of a title: 600 of them a second."""

N_TURNS, N_COMPARED = 3, 1_000


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shopreco.settings")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=4_000)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    django.setup()
    figures = list(_figures(_titles(options.items)))
    show(f"{options.items:,} titles on one core", figures)
    if options.json:
        options.json.write_text(json.dumps({figure.name: figure.value for figure in figures}, indent=1))


def _figures(titles: Sequence[str]) -> Iterator[Figure]:
    from recommender.ml.export import export_untrained
    from recommender.serving import runtimes
    from recommender.serving.ranker import Ranker

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        export_untrained("", folder)
        path = folder / "encoder.onnx"
        exact = Ranker.load(folder)
        rankers = {"ONNX Runtime, float32": exact, "OpenVINO, bfloat16": exact.with_encoder(runtimes.OpenVino(path))}
        seconds = _seconds(rankers, titles)
        for runtime, taken in seconds.items():
            yield Figure(runtime, 1e6 * taken / len(titles), LIMIT_MICROSECONDS, "us/title")
        vectors = [ranker.encode(titles[:N_COMPARED]) for ranker in rankers.values()]
        agreed = runtimes.agreement(vectors[1], vectors[0])
        yield Figure("neighbours that differ", 100 * (1 - agreed), 100 * (1 - runtimes.LEAST_AGREEMENT), "%")
        chosen = runtimes.fastest(exact, path, titles)
        (taken,) = _seconds({"chosen": chosen}, titles).values()
        yield Figure("chosen by a worker", 1e6 * taken / len(titles), LIMIT_MICROSECONDS, "us/title")


def _seconds(rankers: Mapping[str, Ranker], titles: Sequence[str]) -> dict[str, float]:
    """Seconds of the processor for all titles, the best of several turns."""
    taken: dict[str, list[float]] = {runtime: [] for runtime in rankers}
    for _ in range(N_TURNS):
        for runtime, ranker in rankers.items():
            started = time.process_time()
            ranker.encode(titles)
            taken[runtime].append(time.process_time() - started)
    return {runtime: min(turns) for runtime, turns in taken.items()}


def _titles(n: int) -> list[str]:
    from shopreco.shop.loading import FOLDER

    with gzip.open(FOLDER / "items.csv.gz", "rt", encoding="utf-8", newline="") as file:
        titles = [row["title"] for row in csv.DictReader(file)]
    return [titles[row] for row in np.arange(n) % len(titles)]


if __name__ == "__main__":
    main()
