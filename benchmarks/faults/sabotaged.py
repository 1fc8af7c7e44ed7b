"""The demo with a model that fails as `FAULTS_MODEL` says: it raises, sleeps 10 s, or scores everything NaN."""

from __future__ import annotations

import dataclasses
import os
import time
from typing import Any

import numpy as np

from shopreco.wsgi import application  # it sets Django up, which the ranker needs

from recommender.serving.ranker import Ranker, ScoredCandidates  # isort: skip

__all__ = ["application"]

SECONDS = 10.0

_score = Ranker.score


def _raising(self: Ranker, *inputs: Any, **named: Any) -> ScoredCandidates:
    raise RuntimeError("the model fails")


def _sleeping(self: Ranker, *inputs: Any, **named: Any) -> ScoredCandidates:
    time.sleep(SECONDS)
    return _score(self, *inputs, **named)


def _of_nan(self: Ranker, *inputs: Any, **named: Any) -> ScoredCandidates:
    scored = _score(self, *inputs, **named)
    nan = np.full_like(scored.scores, np.nan)
    return dataclasses.replace(scored, scores=nan, logits=nan)


Ranker.score = {"raises": _raising, "sleeps": _sleeping, "NaN": _of_nan}[os.environ["FAULTS_MODEL"]]  # type: ignore[method-assign]
