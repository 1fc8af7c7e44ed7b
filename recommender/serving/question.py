"""A request together with the shopper's profile and the shelf that answer it, and the list that is the answer."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from recommender.deadlines import Resting, Stage, during
from recommender.exceptions import NoNumbers
from recommender.features.cycles import Cycles, own_cycles
from recommender.retrieval.base import Candidates, Mask, Wanted
from recommender.retrieval.behaviour import OwnRetriever, refused_items
from recommender.retrieval.candidates import allowed_items
from recommender.retrieval.vector import NearItems
from recommender.serving.corrections import FOR_YOU, items_of
from recommender.serving.memory import Served
from recommender.serving.near import near_items
from recommender.tables import Profile
from recommender.types import EventType, FloatArray, IntArray, Intent, Relaxation, Request, Rung, Slot

if TYPE_CHECKING:
    from recommender.serving.personal import Preference
    from recommender.serving.ranker import Ranker, ScoredCandidates
    from recommender.serving.search import Attempt
    from recommender.serving.session import Session

ARM_SLOTS = (Slot.HOME, Slot.CART)
"""Slots whose list an arm may serve: "for you", and the cart, which falls back to it. Never search."""


def no_rows() -> IntArray:
    """No row of the shelf."""
    return np.empty(0, np.int32)


@dataclass(frozen=True, slots=True)
class Listed:
    """Rows (n,) int32 best first with their scores (n,) float32; n_found: how many items matched.

    For a search also the query as it was understood, what was given up where nothing matched, and what was left out.
    For "for you" also the session, and all rows as they would stand without it. source: the slot whose list this is,
    where that is not the one of the request.
    near (m,) int32: which of the rows do not match a search and are only near; matches (n_found,) int32: all rows that
    match, whether they are listed or not; allowed (n_items,) bool: what may be listed, whatever the filters are;
    preference: how the shopper's likings order what was graded; attempt: what the words of a search matched.
    """

    rows: IntArray
    scores: FloatArray
    rung: Rung
    n_found: int = 0
    corrected_query: str = ""
    intent: Intent | None = None
    relaxed: Relaxation = Relaxation.NONE
    relaxed_query: str = ""
    left_out: tuple[str, ...] = ()
    session: Session | None = None
    without_session: IntArray = field(default_factory=no_rows)
    source: Slot | None = None
    near: IntArray = field(default_factory=no_rows)
    matches: IntArray = field(default_factory=no_rows)
    allowed: Mask = field(default_factory=lambda: np.empty(0, bool))
    preference: Preference | None = None
    attempt: Attempt | None = None

    @classmethod
    def empty(cls) -> Listed:
        """Nothing to show."""
        return cls(np.empty(0, np.int32), np.empty(0, np.float32), Rung.EMPTY)

    @property
    def answered_query(self) -> str:
        """The words that the list answers; empty if it only shows what is popular."""
        if self.intent is None or self.relaxed is Relaxation.POPULAR:
            return ""
        return self.relaxed_query or self.corrected_query or self.intent.text

    def pair(self) -> tuple[IntArray, FloatArray]:
        """Rows and scores, as `Candidates` takes them."""
        return self.rows, self.scores


@dataclass(frozen=True)
class Question:
    """A request, its profile in rows of the shelf, and the shelf and ranker that answer it.

    permitted (n_items,) bool: what the rules of merchandisers leave, None for everything.
    """

    request: Request
    profile: Profile
    served: Served
    permitted: Mask | None = None

    @cached_property
    def cycles(self) -> Cycles:
        """The repeat cycle of each item that the shopper bought."""
        return own_cycles(self.profile)

    @cached_property
    def near(self) -> NearItems | None:
        """What finds the nearest items; None without vectors."""
        return near_items(self.served)

    @cached_property
    def described(self) -> list[tuple[IntArray, FloatArray]]:
        """The rows (n,) that the head scored last and their features (n, f), of which other parts of the list make use;
        empty before."""
        return []

    @property
    def is_blank(self) -> bool:
        """Whether nothing is known of the shopper: no event, no cart, no current item."""
        profile = self.profile
        return not len(profile.item) and not len(profile.cart) and profile.current_item < 0

    def allowed(self) -> Mask:
        """A fresh (n_items,) bool of what may be listed: active, not left out, dismissed, in the cart or current."""
        shelf, profile, request = self.served.shelf, self.profile, self.request
        allowed = allowed_items(profile, shelf.items)
        if self.permitted is not None:
            allowed &= self.permitted
        if request.muted and request.slot in FOR_YOU:
            allowed &= ~items_of(shelf, request.muted)
        excluded = [shelf.row(item_id) for item_id in (*request.exclude_item_ids, *request.shown_item_ids)]
        allowed[[row for row in excluded if row >= 0]] = False
        return self.new(allowed) if request.exclude_history else allowed

    def new(self, allowed: Mask) -> Mask:
        """A copy of a mask (n_items,) without the items of the history."""
        allowed = allowed.copy()
        allowed[self.profile.item[self.profile.item >= 0]] = False
        return allowed

    def own_items(self, limit: int, types: Collection[EventType] = OwnRetriever().types) -> Candidates:
        """Items of the visitor's own past that may be listed, by decayed weight; `types` narrows the events."""
        return OwnRetriever(types).retrieve(Wanted(self.profile, self.allowed()), limit=limit)

    def due_items(self, limit: int, allowed: Mask) -> Candidates:
        """The bought items whose own repeat cycle has passed, the most overdue first; none that was sent back."""
        due = self.cycles.is_due
        rows, elapsed = self.cycles.item[due], self.cycles.elapsed[due]
        usable = allowed[rows] & ~np.isin(rows, refused_items(self.profile))
        return Candidates.best(rows[usable], elapsed[usable], limit)

    def elapsed_cycles(self, rows: IntArray) -> FloatArray:
        """How much of its own repeat cycle has passed for each of these items, (n,); 0 for one without a cycle."""
        elapsed = dict(zip(self.cycles.item.tolist(), self.cycles.elapsed.tolist(), strict=True))
        return np.array([elapsed.get(row, 0) for row in rows.tolist()], np.float32)

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

    def query_vector(self, query: str) -> FloatArray | None:
        """The vector (d,) of a query; None without a ranker, and while its encoder is left alone."""
        ranker = self.served.ranker
        try:
            return None if ranker is None else ranker.encode_query(query)
        except Resting:
            return None

    def scores(self, rows: IntArray, context_vector: FloatArray | None) -> FloatArray | None:
        """The head's probability (n,) of each row; None without a ranker or vectors, and while the head is left alone.

        Raises NoNumbers as below.
        """
        ranker = self.served.ranker
        try:
            with during(Stage.HEAD):
                scored = self.scored(rows, context_vector)
                return None if scored is None or ranker is None else self.scores_of(scored, rows, ranker)
        except Resting:
            return None

    def scored(self, rows: IntArray, context_vector: FloatArray | None) -> ScoredCandidates | None:
        """What the ranker says of rows (n,); None without one or without vectors."""
        ranker, shelf = self.served.ranker, self.served.shelf
        if ranker is None or shelf.vectors is None:
            return None
        scored = ranker.score(
            self.profile, rows, shelf.state, shelf.items, shelf.vectors, context_vector=context_vector
        )
        self.described[:] = [(rows, scored.features)]
        return scored

    def features_of(self, rows: IntArray) -> FloatArray | None:
        """The features (n, f) of rows (n,): those that the list was scored by, if it was scored by all of them; None
        without a ranker or vectors."""
        ranker, shelf = self.served.ranker, self.served.shelf
        if ranker is None or shelf.vectors is None:
            return None
        for scored_rows, scored_features in self.described:
            if not len(scored_rows):
                continue
            order = np.argsort(scored_rows, kind="stable")
            at = order[np.searchsorted(scored_rows, rows, sorter=order).clip(max=len(order) - 1)]
            if np.array_equal(scored_rows[at], rows):
                return scored_features[at]
        return ranker.described(self.profile, rows, shelf.state, shelf.items, shelf.vectors, self.context_vector())

    def scores_of(self, scored: ScoredCandidates, rows: IntArray, ranker: Ranker) -> FloatArray:
        """What the ranker says of rows (n,); on a list that an arm serves, the probability is the arm's.

        Raises NoNumbers for what is no number: an order by it would be any order.
        """
        scores = scored.scores
        if ranker.arms and self.request.slot in ARM_SLOTS and not self.is_blank:
            is_new = self._is_new(rows)
            for scope, arm in ranker.arms.items():
                is_of_list = is_new if scope == "new" else ~is_new
                scores = np.where(is_of_list, arm.calibrate(arm.logits(scored.features)), scores)
        if not np.isfinite(scores).all():
            raise NoNumbers("The model gave probabilities that are no numbers. Roll back, or train again.")
        return scores

    def _is_new(self, rows: IntArray) -> Mask:
        """Which rows (n,) belong to the list of new items: all where the request wants no other, and in a composed list
        those that are new to the visitor; the rest belongs to the list of all items."""
        if self.request.exclude_history:
            return np.ones(len(rows), bool)
        return ~np.isin(rows, self.profile.item) & self.request.is_composed
