"""What a training computes on: its device, how many threads it may use, and both in words."""

from __future__ import annotations

import logging
import os
import platform
from pathlib import Path

import torch
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

logger = logging.getLogger(__name__)

N_THREADS = 1
"""Default; two threads collapse when another process wants a core (measured: 7.8 to 460 ms), and products of this size
gain nothing: 6 ms instead of 0.4 for one matrix-vector product on two busy cores."""

LEAST_FREE_BYTES = 3_000_000_000
"""Of a GPU: training a shop of 100,000 items takes 1.8 GB (`benchmarks.training_speed`), CUDA itself half a GB."""

CPU_INFO = Path("/proc/cpuinfo")


def limit_threads(n_threads: int | None = None) -> None:
    """Set the threads of torch and of NumPy's BLAS for this process; call it before the first tensor."""
    count = n_threads or int(os.environ.get("OMP_NUM_THREADS", N_THREADS))
    torch.set_num_threads(count)
    threadpool_limits(count)


def device() -> torch.device:
    """Return the first GPU, or the processor where there is no GPU or other programs use its memory."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    free_bytes, _ = torch.cuda.mem_get_info(0)
    if free_bytes < LEAST_FREE_BYTES:
        logger.warning(
            "%s has %.1f GB free, training needs %.1f: it uses the processor. End what else uses the GPU.",
            torch.cuda.get_device_name(0),
            free_bytes / 1e9,
            LEAST_FREE_BYTES / 1e9,
        )
        return torch.device("cpu")
    return torch.device("cuda")


def hardware() -> dict[str, str | int]:
    """Return the names of processor and gpu ("" where there is none) and torch's n_threads."""
    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else ""
    return {"processor": _processor(), "n_threads": torch.get_num_threads(), "gpu": gpu}


def _processor() -> str:
    """Linux names the model in a file; elsewhere the platform module may know it, or at least the architecture."""
    lines = CPU_INFO.read_text(errors="replace").splitlines() if CPU_INFO.is_file() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()
