"""What a run computes on, in words: processor, threads, GPU."""

from __future__ import annotations

import platform
from pathlib import Path

import torch

CPU_INFO = Path("/proc/cpuinfo")


def hardware() -> dict[str, str | int]:
    """Return processor, n_threads of torch, and gpu ("" where there is none)."""
    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else ""
    return {"processor": _processor(), "n_threads": torch.get_num_threads(), "gpu": gpu}


def device() -> torch.device:
    """Where texts are encoded and weights learn: the first GPU where there is one, else the processor."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _processor() -> str:
    """Linux tells the model in a file; elsewhere the platform module knows, or at least the architecture."""
    lines = CPU_INFO.read_text(errors="replace").splitlines() if CPU_INFO.is_file() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()
