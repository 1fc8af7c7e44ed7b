"""A request together with the shopper's profile and the shelf that answer it, and the list that is the answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recommender.retrieval.base import Mask
from recommender.retrieval.candidates import allowed_items
from recommender.serving.memory import Served
from recommender.tables import Profile
from recommender.types import FloatArray, IntArray, Intent, Relaxation, Request, Rung


@dataclass(frozen=True, slots=True)
class Listed:
    """Rows (n,) int32 best first with their scores (n,) float32; n_found: how many items matched.

    For a search also the query as it was understood, and what was given up where nothing matched.
    """

    rows: IntArray
    scores: FloatArray
    rung: Rung
    n_found: int = 0
    corrected_query: str = ""
    intent: Intent | None = None
    relaxed: Relaxation = Relaxation.NONE
    relaxed_query: str = ""

    @classmethod
    def empty(cls) -> Listed:
        """Nothing to show."""
        return cls(np.empty(0, np.int32), np.empty(0, np.float32), Rung.EMPTY)

    def pair(self) -> tuple[IntArray, FloatArray]:
        """Rows and scores, as `Candidates` takes them."""
        return self.rows, self.scores


@dataclass(frozen=True, slots=True)
class Question:
    """A request, its profile in rows of the shelf, and the shelf and ranker that answer it."""

    request: Request
    profile: Profile
    served: Served

    @property
    def is_blank(self) -> bool:
        """Whether nothing is known of the shopper: no event, no cart, no current item."""
        profile = self.profile
        return not len(profile.item) and not len(profile.cart) and profile.current_item < 0

    def allowed(self) -> Mask:
        """A fresh (n_items,) bool of what may be shown: active, not excluded, dismissed, in the cart or current."""
        shelf, profile = self.served.shelf, self.profile
        allowed = allowed_items(profile, shelf.items)
        excluded = [shelf.row(item_id) for item_id in self.request.exclude_item_ids]
        allowed[[row for row in excluded if row >= 0]] = False
        if self.request.exclude_history:
            allowed[profile.item[profile.item >= 0]] = False
        return allowed

    def among(self) -> IntArray:
        """The rows (n,) that the request limits the answer to, ascending, each once."""
        rows = [self.served.shelf.row(item_id) for item_id in self.request.among]
        return np.unique(np.array([row for row in rows if row >= 0], np.int32))

    def here(self) -> IntArray:
        """The current item as an array of none or one row."""
        return np.array([self.profile.current_item] if self.profile.current_item >= 0 else [], np.int32)

    def last_items(self, codes: int | Sequence[int], limit: int, *, mask: Mask | None = None) -> IntArray:
        """Distinct items of events of these types, newest first; `mask` (h,) narrows the events."""
        profile = self.profile
        chosen = np.isin(profile.type, codes) & (profile.item >= 0)
        if mask is not None:
            chosen &= mask
        newest_first = list(dict.fromkeys(profile.item[chosen][::-1].tolist()))
        return np.array(newest_first[:limit], np.int32)

    def rung(self) -> Rung:
        """The rung of a list that needs vectors: without them popularity and co-purchase serve."""
        has_vectors = self.served.ranker is not None and self.served.shelf.vectors is not None
        return self.served.rung if has_vectors else Rung.POPULARITY

    def context_vector(self) -> FloatArray | None:
        """The shopper's vector (d,), None without a ranker, vectors or history."""
        ranker, vectors = self.served.ranker, self.served.shelf.vectors
        if ranker is None or vectors is None:
            return None
        return ranker.context_vector(self.profile, vectors)

    def query_vector(self, query: str) -> FloatArray:
        """The vector (d,) of a query; zeros without a ranker."""
        ranker, vectors = self.served.ranker, self.served.shelf.vectors
        if ranker is None:
            return np.zeros(0 if vectors is None else vectors.shape[1], np.float32)
        return ranker.encode_query(query)

    def scores(self, rows: IntArray, context_vector: FloatArray | None) -> FloatArray | None:
        """The head's probability (n,) of each row, None without a ranker or vectors."""
        ranker, shelf = self.served.ranker, self.served.shelf
        if ranker is None or shelf.vectors is None:
            return None
        scored = ranker.score(
            self.profile, rows, shelf.state, shelf.items, shelf.vectors, context_vector=context_vector
        )
        return scored.scores
