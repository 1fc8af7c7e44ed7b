"""Finds the one item of a shopper's past or cart without which an entry of a list would stand lower.

Only such an item may be named as the reason. In a long history hardly any event decides a position by itself; then
there is none to name. Whether one decides is not computed by ranking anew without it, which would take as long as the
list itself, but from conditions under which the entry loses its position.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recommender.features.neighbours import Neighbours, row_entries
from recommender.features.weights import positive_events
from recommender.retrieval.popular import popularity
from recommender.serving import policy
from recommender.serving.lists import cart_or_purchases, ordered_with_cart
from recommender.serving.question import Listed, Question
from recommender.serving.session import Session, session_looks
from recommender.serving.shelf import Shelf
from recommender.tables import Profile
from recommender.types import FloatArray, IntArray, Sort

N_PAST = 40
"""How many of the newest distinct items of the past a reason may speak of, and up to which all are looked at."""

FAR_BELOW = 2
"""An entry stands far below the list from this many times its length on: there no event less brings it back."""

N_TRIED = 6
"""Items of a cart that are left out one after another to see what falls."""

N_LOOKS_TRIED = 2
"""Newest items of a session that a search is ordered without, to see what falls."""

FAR_AWAY = 10**9
"""Position of an item that is not listed."""


@dataclass(frozen=True, slots=True)
class Links:
    """How entries (n) hang together with items of the past (m), the newest first, both as rows of the catalogue.

    alike (n, m) float32: cosine, 0 below the floor; together (n, m): similarity by orders. An item is not linked with
    itself.
    """

    entries: IntArray
    past: IntArray
    alike: FloatArray
    together: FloatArray

    @classmethod
    def between(cls, entries: IntArray, past: IntArray, shelf: Shelf) -> Links:
        """Look up the links by text and by orders."""
        alike = np.zeros((len(entries), len(past)), np.float32)
        if shelf.vectors is not None and len(entries) and len(past):
            alike = shelf.vectors[entries] @ shelf.vectors[past].T
            alike[(alike <= shelf.floors.alike) | (entries[:, None] == past[None, :])] = 0
        return cls(entries, past, alike, similarity(shelf.state.basket, entries, past, public_only=True))

    def strength(self) -> FloatArray:
        """The stronger of the two links (n, m)."""
        return np.maximum(self.alike, self.together)

    def is_by_orders(self, index: int, cause: int) -> bool:
        """Whether an entry and an item of the past hang together more by orders than by their texts."""
        which = int(np.flatnonzero(self.past == cause)[0])
        return bool(self.together[index, which] > self.alike[index, which])


def causes_of_home(question: Question, listed: Listed, links: Links) -> dict[int, int]:
    """Return by index of an entry of "for you" the item of the past that it stands or falls with, if there is one."""
    entries, session = links.entries, listed.session
    sole = _sole_links(links, question)
    led = [] if session is None else session.rows().tolist()
    causes: dict[int, int] = {}
    without: dict[int, list[int]] = {}
    strength = links.strength()
    for index, row in enumerate(entries.tolist()):
        if session is None or row not in led:
            if sole[index] >= 0:
                causes[index] = int(sole[index])
            continue
        unled = listed.without_session.tolist()
        is_far_below = row not in unled[: FAR_BELOW * question.request.limit]
        is_brought = row not in unled[: question.request.limit]
        for cause in _linked(links.past, strength[index], session):
            if cause not in without:
                without[cause] = session.rows(without=cause).tolist()
            falls = row not in without[cause] or without[cause].index(row) > led.index(row)
            if falls and (is_far_below or (is_brought and cause == sole[index])):
                causes[index] = cause
                break
    return causes


def causes_of_search(question: Question, listed: Listed, entries: IntArray) -> dict[int, int]:
    """Return by index of an entry of a search the item looked at in this session without which it stands lower."""
    is_by_relevance = question.request.sort is Sort.RELEVANCE
    if listed.preference is None or not is_by_relevance or not np.isin(entries, listed.preference.lifted).any():
        return {}
    causes: dict[int, int] = {}
    with_all = listed.preference.positions()
    for cause in session_looks(question, N_LOOKS_TRIED).tolist():
        without = listed.preference.without(cause).positions()
        for index, row in enumerate(entries.tolist()):
            if row != cause and with_all.get(row, FAR_AWAY) < without.get(row, -1):
                causes.setdefault(index, cause)
    return causes


def causes_of_cart(question: Question, entries: IntArray) -> dict[int, int]:
    """Return by index of an entry beside a cart the item of the cart, or of the last purchases, as above."""
    causes: dict[int, int] = {}
    past, positions = cart_or_purchases(question), {-1: _positions(question, without=-1)}
    together = similarity(question.served.shelf.state.basket, entries, past, public_only=True)
    for index, row in enumerate(entries.tolist()):
        for which in np.argsort(-together[index], kind="stable").tolist():
            cause = int(past[which])
            if together[index, which] <= 0 or (cause not in positions and len(positions) > N_TRIED):
                break
            if cause not in positions:
                positions[cause] = _positions(question, without=cause)
            falls = positions[cause].get(row, FAR_AWAY) > positions[-1].get(row, FAR_AWAY)
            if falls and (positions[cause] or _stands_alone(row, cause, question)):
                causes[index] = cause
                break
    return causes


def items_of(profile: Profile) -> IntArray:
    """The distinct items that speak for a profile."""
    return np.unique(profile.item[positive_events(profile)]).astype(np.int32)


def similarity(table: Neighbours, entries: IntArray, past: IntArray, *, public_only: bool = False) -> FloatArray:
    """Return (n_entries, n_past): the scores of the entries, each once, among the neighbours of each item."""
    scores = np.zeros((len(entries), len(past)), np.float32)
    if not len(entries) or not len(past):
        return scores
    entry, owner = row_entries(table.start, past)
    if public_only and table.is_public is not None:
        entry, owner = entry[table.is_public[entry]], owner[table.is_public[entry]]
    neighbour, score = table.item[entry], table.score[entry]
    order = np.argsort(entries)
    position = order[np.minimum(np.searchsorted(entries, neighbour, sorter=order), len(entries) - 1)]
    is_entry = (entries[position] == neighbour) & (neighbour != past[owner])
    scores[position[is_entry], owner[is_entry]] = score[is_entry]
    return scores


def _linked(past: IntArray, strength: FloatArray, session: Session) -> list[int]:
    """The items of the session that an entry is linked with, the strongest link first; strength (m,)."""
    order = np.argsort(-strength, kind="stable")
    return [row for row in past[order[strength[order] > 0]].tolist() if row in session.items.tolist()]


def _sole_links(links: Links, question: Question) -> IntArray:
    """The only item of the past that each entry hangs together with (n,), by any table of neighbours.

    -1 where there are several or none, where the past is too long to know, and where the entry sells by itself.
    """
    entries, past, state = links.entries, links.past, question.served.shelf.state
    if len(past) >= N_PAST or not len(past) or not len(entries):
        return np.full(len(entries), -1, np.int32)
    is_linked = links.strength() > 0
    has_reason = is_linked.any(axis=1)
    for table in (state.visitor, state.regression, state.sequel):
        is_linked |= similarity(table, entries, past) > 0
    is_sole = (is_linked.sum(axis=1) == 1) & has_reason & ~_is_bestseller(entries, question)
    return np.where(is_sole, past[is_linked.argmax(axis=1)], -1).astype(np.int32)


def _is_bestseller(entries: IntArray, question: Question) -> npt.NDArray[np.bool_]:
    """Which entries (n,) would stand in a list of what sells."""
    sales = popularity(question.served.shelf.state)
    n_best = min(FAR_BELOW * question.request.limit, len(sales))
    return sales[entries] >= np.partition(sales, len(sales) - n_best)[len(sales) - n_best]


def _positions(question: Question, *, without: int) -> dict[int, int]:
    rows = ordered_with_cart(question, without=without).rows
    rows = rows[policy.available_first(question.served.shelf.available[rows])]
    return {row: position for position, row in enumerate(rows.tolist())}


def _stands_alone(row: int, cause: int, question: Question) -> bool:
    """Whether an entry would not come back into a "for you" that is made without the cause."""
    entry, past, shelf = np.array([row], np.int32), items_of(question.profile), question.served.shelf
    past = past[past != cause]
    if len(past) >= N_PAST or _is_bestseller(entry, question)[0]:
        return False
    tables = (shelf.state.visitor, shelf.state.regression, shelf.state.sequel)
    is_linked = (Links.between(entry, past, shelf).strength() > 0).any()
    return not is_linked and not any((similarity(table, entry, past) > 0).any() for table in tables)
