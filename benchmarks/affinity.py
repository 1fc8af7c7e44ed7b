"""Milliseconds that the persona features of one list take, beside their limit.

    python -m benchmarks.affinity

A planted shop (`benchmarks.simulator`) of 3,960 items; a profile with a history of 1,000 events; 300 candidates.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from benchmarks import simulator
from recommender.features.persona import item_terms, persona_features
from recommender.ml.head.examples import Histories
from recommender.personas.segments import build_segments

LIST_LIMIT_MS, PAGE_LIMIT_MS = 0.5, 1.0
N_CANDIDATES = 300
N_ROUNDS = 300


def main() -> None:
    made = simulator.simulate(n_visitors=120, n_visits=2, n_per_kind=330, n_picks=4, seed=0)
    long = simulator.simulate(n_visitors=1, n_visits=260, n_per_kind=330, n_picks=4, seed=0)
    items, end = made.shop.items, float(made.interactions.time[-1]) + 1
    segments, _ = build_segments(made.interactions, items, at=end)
    whole = Histories(long.interactions).profile(0, at=np.inf)
    profile = replace(whole, now=float(whole.time[-1]) + 1)
    terms, candidates = item_terms(items), np.arange(N_CANDIDATES, dtype=np.int32)
    row = segments.of(profile)
    shown = {
        "features of a list": (
            _ms(lambda: persona_features(profile, candidates, items, terms, segments, segment=row)),
            LIST_LIMIT_MS,
        ),
        "its segment, once per page": (_ms(lambda: segments.of(profile)), PAGE_LIMIT_MS),
    }
    print(f"{len(items)} items, history of {len(profile.time)}, {N_CANDIDATES} candidates, {len(segments)} segments")
    for name, ((middle, late), limit) in shown.items():
        print(f"{name:<28}p50 {middle:.3f} ms  p99 {late:.3f} ms  {middle / limit:.2f} of the limit of {limit} ms")


def _ms(work: Callable[[], object]) -> tuple[float, float]:
    """Return median and 99 % quantile, in the processor's own time."""
    work()
    taken = []
    for _ in range(N_ROUNDS):
        began = time.process_time()
        work()
        taken.append((time.process_time() - began) * 1e3)
    return float(np.median(taken)), float(np.quantile(taken, 0.99))


if __name__ == "__main__":
    main()
