"""Answers requests from memory: `current()` gives what this process serves with at this moment."""

from __future__ import annotations

from recommender.serving.memory import Served, counts, current, loaded, reload, warm_up

__all__ = ["Served", "counts", "current", "loaded", "reload", "warm_up"]
