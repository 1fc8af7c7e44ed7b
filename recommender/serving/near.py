"""Takes the nearest items from the vector engine that `VECTOR_ENGINE` names, and from the exact scan where it fails."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from recommender import bundles
from recommender.exceptions import ConfigurationError
from recommender.retrieval.base import Candidates, Mask
from recommender.retrieval.engine import ANYTHING, MOST_HITS, Condition, Hits, Space
from recommender.retrieval.vector import ExactScan, NearItems
from recommender.serving.engines import GuardedEngine
from recommender.types import FloatArray

if TYPE_CHECKING:
    from recommender.serving.memory import Served
    from recommender.serving.shelf import Shelf

logger = logging.getLogger(__name__)

Rows = npt.NDArray[np.int64]

MOST_NAMED = 500
"""Items named in a condition, at most: what is allowed, or what is left out."""

MARGIN, WIDER = 2, 8
"""Of what a mask leaves out that no condition names, an engine knows nothing: it is asked for so many times the limit
at first, and so many times more as long as too little of that may be shown."""


@dataclass(frozen=True, slots=True)
class EngineNear:
    """Items that an engine finds near, scored by the vectors of the shelf: those in the engine may be older."""

    vectors: FloatArray
    shelf: Shelf
    engine: GuardedEngine
    space: Space

    def nearest(
        self, direction: FloatArray, *, limit: int, allowed: Mask | None = None, condition: Condition = ANYTHING
    ) -> Candidates:
        directions = np.asarray(direction, np.float32)[None]
        candidates = self._chosen(directions, limit, allowed, condition)
        if candidates is None:
            return ExactScan(self.vectors).nearest(direction, limit=limit, allowed=allowed)
        return candidates

    def nearest_to_any(self, directions: FloatArray, *, limit: int, allowed: Mask | None = None) -> Candidates:
        candidates = self._chosen(directions, limit, allowed, ANYTHING)
        if candidates is None:
            return ExactScan(self.vectors).nearest_to_any(directions, limit=limit, allowed=allowed)
        return candidates

    def likeness(self, directions: FloatArray) -> SearchedLikeness:
        return SearchedLikeness(self, directions)

    def _chosen(
        self, directions: FloatArray, limit: int, allowed: Mask | None, condition: Condition
    ) -> Candidates | None:
        """The nearest to any of directions (q, d); None where the engine does not answer, or with too little."""
        named = self._named(allowed)
        wanted = limit if named is not None else limit * MARGIN
        while wanted <= MOST_HITS:
            answers = self.engine.search(self.space, directions, limit=wanted, condition=named or condition)
            if answers is None:
                return None
            has_enough = all(len(hits) < wanted or len(self._rows([hits], allowed)) >= limit for hits in answers)
            if named is not None or has_enough:
                return self._scored(self._rows(answers, allowed), directions, limit)
            wanted *= WIDER
        return None

    def _named(self, allowed: Mask | None) -> Condition | None:
        """A condition that says the same as the mask; None where it would name too many items."""
        if allowed is None:
            return ANYTHING
        ids, active = self.shelf.items.ids, self.shelf.items.active
        left_out = np.flatnonzero(active & ~allowed)
        if len(left_out) <= MOST_NAMED:
            return Condition(without_ids=tuple(ids[row] for row in left_out.tolist()))
        may_be_shown = np.flatnonzero(active & allowed)
        if len(may_be_shown) <= MOST_NAMED:
            return Condition(item_ids=tuple(ids[row] for row in may_be_shown.tolist()))
        return None

    def _rows(self, answers: Iterable[Hits], allowed: Mask | None) -> Rows:
        """The rows (n,), ascending, of the items that this process has and may show."""
        rows = {self.shelf.row(item_id) for hits in answers for item_id, _cosine in hits}
        here = np.array(sorted(rows - {-1}), np.int64)
        return here if allowed is None else here[allowed[here]]

    def _scored(self, rows: Rows, directions: FloatArray, limit: int) -> Candidates:
        if not len(rows):
            return Candidates.none()
        cosine = (self.vectors[rows] @ directions.T).max(axis=1)
        near = cosine > 0
        return Candidates.best(rows[near], cosine[near], limit)


@dataclass(frozen=True, slots=True)
class SearchedLikeness:
    """The sum of cosines with some directions is the product with their sum: one search."""

    near: EngineNear
    directions: FloatArray

    def nearest(self, used: Sequence[int], *, limit: int, allowed: Mask) -> Candidates:
        return self.near.nearest(self.directions[list(used)].sum(axis=0), limit=limit, allowed=allowed)


class _Spaces:
    """The complete collections by the names of their bundles, read anew at each refresh; fault: of the setting."""

    def __init__(self) -> None:
        self.complete: Mapping[str, Space] = {}
        self.fault = ""


_spaces = _Spaces()


def refresh() -> None:
    """Read which bundles may be served from the engine. Two queries, none without an engine.

    A setting that cannot work is logged once, and the exact scan serves.
    """
    try:
        _spaces.complete = bundles.complete_spaces() if GuardedEngine.configured() is not None else {}
        _spaces.fault = ""
    except ConfigurationError as error:
        if str(error) != _spaces.fault:
            logger.error("RECOMMENDER['VECTOR_ENGINE'] cannot be used, lists are made without it: %s", error)
        _spaces.complete, _spaces.fault = {}, str(error)


def near_items(served: Served) -> NearItems | None:
    """What finds the nearest items of a pair: the engine if it has all vectors of its bundle, else the exact scan.

    None without vectors. No query.
    """
    shelf = served.shelf
    if shelf.vectors is None:
        return None
    space = _spaces.complete.get(served.bundle)
    engine = GuardedEngine.configured() if space is not None else None
    if engine is None or space is None or space.dimension != shelf.vectors.shape[1]:
        return ExactScan(shelf.vectors)
    return EngineNear(shelf.vectors, shelf, engine, space)


def _forget_after_fork() -> None:
    global _spaces
    _spaces = _Spaces()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)
