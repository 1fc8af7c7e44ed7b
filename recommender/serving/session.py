"""What the present session is about: its newest items and queries, and what is near to them, or to all but one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recommender.durations import SESSION_SECONDS
from recommender.retrieval import fusion
from recommender.retrieval.base import Candidates, Mask
from recommender.retrieval.behaviour import neighbours_of
from recommender.retrieval.candidates import N_CANDIDATES
from recommender.retrieval.vector import Likeness
from recommender.serving.question import Question
from recommender.tables import Profile
from recommender.types import EVENT_CODES, EventType, IntArray

N_ANCHORS = 5
"""Newest items of the session that its candidates are near to."""

N_QUERIES = 2
SHARE = 0.5
"""Share of "for you" that goes to candidates of the session: every other position, from the first on."""

PURCHASE = EVENT_CODES[EventType.PURCHASE]
LOOKS = tuple(EVENT_CODES[kind] for kind in (EventType.VIEW_ITEM, EventType.SELECT_ITEM, EventType.ADD_TO_CART))


def session_looks(question: Question, limit: int) -> IntArray:
    """Distinct items that were looked at or put into the cart in this session, newest first."""
    return question.last_items(LOOKS, limit, mask=_is_of_session(question.profile))


def _is_of_session(profile: Profile) -> Mask:
    """Which events (h,) of a profile belong to the present session."""
    return (profile.time >= profile.now - SESSION_SECONDS) & (profile.time <= profile.now)


@dataclass(frozen=True, slots=True)
class Session:
    """items (k,) int32: what was looked at, the newest first, one more than count; likeness: to each of them, and last
    to the queries together where `has_direction`, None without vectors. allowed (n_items,) bool: what may be listed,
    without what the visitor looked at or bought.
    """

    question: Question
    items: IntArray
    n_queries: int
    allowed: Mask
    likeness: Likeness | None
    has_direction: bool = False

    @classmethod
    def of(cls, question: Question) -> Session | None:
        """The session of a question; None where nothing was looked at or searched in it."""
        profile, near = question.profile, question.near
        in_session = _is_of_session(profile)
        if not in_session.any():
            return None
        items = session_looks(question, N_ANCHORS + 1)
        queries = [
            query for query, is_now in zip(profile.queries, in_session.tolist(), strict=True) if is_now and query
        ]
        queries = queries[-N_QUERIES:]
        if not len(items) and not queries:
            return None
        allowed = question.allowed()
        allowed[profile.item[(profile.item >= 0) & np.isin(profile.type, (PURCHASE, *LOOKS))]] = False
        if near is None:
            return cls(question, items, len(queries), allowed, None)
        directions = near.vectors[items]
        encoded = [vector for query in queries if (vector := question.query_vector(query)) is not None]
        if encoded:
            directions = np.concatenate([directions, np.sum(encoded, axis=0)[None]])
        return cls(question, items, len(queries), allowed, near.likeness(directions), has_direction=bool(encoded))

    def rows(self, *, without: int = -1) -> IntArray:
        """What the session brings into a list (n,), the best first; without one of its items, to see what that does."""
        return self.candidates(without=without).rows[: int(self.question.request.limit * SHARE)]

    def candidates(self, *, without: int = -1) -> Candidates:
        """Items near to those of the session and to its queries, and those that the same visitors chose."""
        used = np.flatnonzero(self.items != without)[:N_ANCHORS]
        if not len(used) and not self.n_queries:
            return Candidates.none()
        rows, state = self.items[used], self.question.served.shelf.state
        weights = np.ones(len(rows), np.float32)
        chosen_too = neighbours_of(state.visitor, rows, weights, limit=N_CANDIDATES, allowed=self.allowed)
        if self.likeness is None:
            return chosen_too
        directions = [*used.tolist(), *([len(self.items)] if self.has_direction else [])]
        nearest = self.likeness.nearest(directions, limit=N_CANDIDATES, allowed=self.allowed)
        return fusion.fuse_ranks([nearest, chosen_too], limit=N_CANDIDATES, weights=[2, 1])
