"""Time of persona features, of segments and of sums over neighbours, beside their limits or `scipy.sparse`.

    python -m benchmarks.personas

A planted shop (`benchmarks.simulator`) of 3,960 items; a profile with a history of 1,000 events; 300 candidates. The
last line compares the compressed rows of `features` with indexing a matrix of `scipy.sparse`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from scipy import sparse

from benchmarks import simulator
from recommender.features.persona import evidence, item_terms, persona_features
from recommender.features.shop_state import build_state
from recommender.ml.histories import Histories
from recommender.personas.segments import build_segments

LIST_LIMIT_MS, PAGE_LIMIT_MS = 0.5, 1.0
N_CANDIDATES = 300
N_ROUNDS = 300


def main() -> None:
    shop = simulator.simulate(n_visitors=120, n_visits=2, n_per_kind=330, n_picks=4, seed=0)
    long = simulator.simulate(n_visitors=1, n_visits=260, n_per_kind=330, n_picks=4, seed=0)
    items, end = shop.shop.items, float(shop.interactions.time[-1]) + 1
    segments, _ = build_segments(shop.interactions, items, at=end)
    history = Histories(long.interactions).profile(0, at=np.inf)
    profile = replace(history, now=float(history.time[-1]) + 1)
    terms, candidates = item_terms(items), np.arange(N_CANDIDATES, dtype=np.int32)
    print(f"{len(items)} items, history of {len(profile.time)}, {N_CANDIDATES} candidates, {len(segments)} segments")
    _show("features of a list", lambda: persona_features(profile, candidates, items, terms), LIST_LIMIT_MS)
    _show("its segment, once per page", lambda: segments.of(profile), PAGE_LIMIT_MS)
    neighbours = build_state(shop.interactions, items, at=end).visitor
    matrix = sparse.csr_matrix((neighbours.score, neighbours.item, neighbours.start), shape=(len(items), len(items)))
    rows, mass = evidence(profile)
    peer = _ms(lambda: mass @ matrix[rows])[0]
    _show("sum over neighbours", lambda: _sum(neighbours.spread(rows, mass), len(items)), peer, "scipy.sparse")


def _sum(entries: tuple[np.ndarray, np.ndarray], n: int) -> np.ndarray:
    return np.bincount(entries[0], weights=entries[1], minlength=n)


def _show(name: str, work: Callable[[], object], limit: float, of: str = "the limit") -> None:
    median, late = _ms(work)
    print(f"{name:<28}p50 {median:.3f} ms  p99 {late:.3f} ms  {median / limit:.2f} of {of}, {limit:.3f} ms")


def _ms(work: Callable[[], object]) -> tuple[float, float]:
    """Return median and 99 % quantile, in the processor's own time."""
    work()
    durations = []
    for _ in range(N_ROUNDS):
        began = time.process_time()
        work()
        durations.append((time.process_time() - began) * 1e3)
    return float(np.median(durations)), float(np.quantile(durations, 0.99))


if __name__ == "__main__":
    main()
