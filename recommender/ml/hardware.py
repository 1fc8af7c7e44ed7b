"""What a run computes on, in words: processor, threads, GPU."""

from __future__ import annotations

import logging
import platform
from pathlib import Path

import torch

logger = logging.getLogger(__name__)

LEAST_FREE = 3_000_000_000
"""Bytes of a GPU: a shop of 100,000 items takes 1.8 GB (`benchmarks.training_speed`), CUDA itself half a GB."""

CPU_INFO = Path("/proc/cpuinfo")


def hardware() -> dict[str, str | int]:
    """Return processor, n_threads of torch, and gpu ("" where there is none)."""
    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else ""
    return {"processor": _processor(), "n_threads": torch.get_num_threads(), "gpu": gpu}


def device() -> torch.device:
    """Where texts are encoded and weights learn: the first GPU, unless others have its memory, else the processor."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    free, _ = torch.cuda.mem_get_info(0)
    if free < LEAST_FREE:
        logger.warning(
            "%s has %.1f GB free, training wants %.1f: it uses the processor. End what else uses the GPU.",
            torch.cuda.get_device_name(0),
            free / 1e9,
            LEAST_FREE / 1e9,
        )
        return torch.device("cpu")
    return torch.device("cuda")


def _processor() -> str:
    """Linux tells the model in a file; elsewhere the platform module knows, or at least the architecture."""
    lines = CPU_INFO.read_text(errors="replace").splitlines() if CPU_INFO.is_file() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()
