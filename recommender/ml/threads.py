"""How many threads a run may use; set once, before the first tensor."""

from __future__ import annotations

import os

import torch
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

N_THREADS = 1
"""Default; two threads collapse when another process wants a core (measured: 7.8 to 460 ms), and products of this size
gain nothing: 6 ms instead of 0.4 for one matrix-vector product on two busy cores."""


def settle(n_threads: int | None = None) -> None:
    """Set the threads of torch and of NumPy's BLAS for this process."""
    count = n_threads or int(os.environ.get("OMP_NUM_THREADS", N_THREADS))
    torch.set_num_threads(count)
    threadpool_limits(count)
