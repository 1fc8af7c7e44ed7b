"""How many threads torch uses; set once, before the first tensor of a run."""

from __future__ import annotations

import os

import torch

N_THREADS = 1
"""Default; two intra-op threads collapse when another process wants a core (DESIGN, section 9)."""


def settle(n_threads: int | None = None) -> None:
    """Set the threads of torch for this process."""
    torch.set_num_threads(n_threads or int(os.environ.get("OMP_NUM_THREADS", N_THREADS)))
