"""The list of each slot (home, cart, similar, …): turns a question into catalogue rows in order. Runs without SQL."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import zip_longest

import numpy as np

from recommender import conf
from recommender.durations import SESSION_SECONDS
from recommender.retrieval import fusion
from recommender.retrieval.base import Candidates, Wanted
from recommender.retrieval.behaviour import OwnRetriever, evidence, neighbours_of
from recommender.retrieval.candidates import N_CANDIDATES, candidates, newest
from recommender.retrieval.popular import PopularRetriever, popularity
from recommender.retrieval.vector import mean_direction, nearest
from recommender.serving import policy
from recommender.serving.question import Listed, Question
from recommender.serving.search import search
from recommender.types import EVENT_CODES, EventType, FloatArray, IntArray, Rung, Slot

N_SESSION_ANCHORS = 5
"""Newest items of the session that its candidates are near to."""

N_SESSION_QUERIES = 2
N_LAST_PURCHASES = 5
"""Newest purchases that stand in for the cart where it is empty."""

SESSION_SHARE = 0.5
"""Share of "for you" that goes to candidates of the session: every other position, from the first on."""

PURCHASE = EVENT_CODES[EventType.PURCHASE]
LOOKS = tuple(EVENT_CODES[kind] for kind in (EventType.VIEW_ITEM, EventType.SELECT_ITEM, EventType.ADD_TO_CART))


def home(question: Question) -> Listed:
    """For you: candidates of every source in the order of the head, led by what the session is about.

    A visitor without a history sees bestsellers, unless the head was shown to rank better for newcomers.
    """
    ranker = question.served.ranker
    if ranker is not None and not ranker.knows_newcomers and question.is_blank:
        return trending(question)
    context_vector, shelf = question.context_vector(), question.served.shelf
    wanted = Wanted(question.profile, question.allowed(), context_vector)
    retrieved = candidates(wanted, shelf.state, shelf.items, shelf.vectors)
    if not len(retrieved):
        return Listed.empty()
    scores = question.scores(retrieved.rows, context_vector)
    rung = Rung.POPULARITY if scores is None else question.served.rung
    ranked = _diversified(question, _ordered(retrieved.rows, retrieved.scores if scores is None else scores))
    return _listed(question, _session_first(question, ranked), rung)


def cart(question: Question) -> Listed:
    """Items ordered together with those of the cart; "for you" if there are none."""
    in_cart = question.profile.cart
    rows = in_cart if len(in_cart) else question.last_items(PURCHASE, N_LAST_PURCHASES)
    together = _ordered_with(question, rows)
    return _listed(question, together) if len(together) else home(question)


def similar(question: Question) -> Listed:
    """Items near to the current one in text, and those that the same visitors chose, weighted by their evidence.

    Without a current item: bestsellers.
    """
    shelf, current = question.served.shelf, question.here()
    if not len(current):
        return trending(question)
    allowed = question.allowed()
    chosen_too = neighbours_of(shelf.state.visitor, current, _ones(current), limit=N_CANDIDATES, allowed=allowed)
    if shelf.vectors is not None:
        near = nearest(shelf.vectors, shelf.vectors[current[0]], limit=N_CANDIDATES, allowed=allowed)
    else:
        words = shelf.lexical.search(shelf.titles[current[0]], N_CANDIDATES)
        near = Candidates(words.rows[allowed[words.rows]], words.scores[allowed[words.rows]])
    believed = evidence(shelf.state, int(current[0]), chosen_too)
    return _listed(question, fusion.fuse_ranks([near, chosen_too], limit=N_CANDIDATES, weights=[2, believed]))


def bought_together(question: Question) -> Listed:
    """Items of the same orders as the current one; empty if it was never ordered with another."""
    return _listed(question, _ordered_with(question, question.here()))


def recently_viewed(question: Question) -> Listed:
    """What the visitor looked at, the newest first."""
    rows = question.last_items(LOOKS, N_CANDIDATES)
    rows = rows[question.allowed()[rows]]
    return _listed(question, Candidates(rows, np.linspace(1, 0, len(rows), endpoint=False, dtype=np.float32)))


def buy_again(question: Question) -> Listed:
    """What the visitor bought and kept, the items most likely to be due first."""
    wanted = Wanted(question.profile, question.allowed())
    bought = OwnRetriever((EventType.PURCHASE,)).retrieve(wanted, limit=N_CANDIDATES)
    scores = question.scores(bought.rows, question.context_vector()) if len(bought) else None
    return _listed(question, bought if scores is None else _ordered(bought.rows, scores))


def trending(question: Question) -> Listed:
    """What sells now; in a shop without events its newest items."""
    wanted, shelf = Wanted(question.profile, question.allowed()), question.served.shelf
    popular = PopularRetriever(popularity(shelf.state)).retrieve(wanted, limit=N_CANDIDATES)
    return _listed(question, popular if len(popular) else newest(wanted, shelf.items), Rung.POPULARITY)


def session_candidates(question: Question) -> Candidates:
    """Items near to the items and queries of the session, without those that the visitor looked at or bought."""
    profile, shelf = question.profile, question.served.shelf
    in_session = (profile.time >= profile.now - SESSION_SECONDS) & (profile.time <= profile.now)
    rows = question.last_items(LOOKS, N_SESSION_ANCHORS, mask=in_session)
    queries = [query for query, is_now in zip(profile.queries, in_session.tolist(), strict=True) if is_now and query]
    queries = queries[-N_SESSION_QUERIES:]
    if not len(rows) and not queries:
        return Candidates.none()
    allowed = question.allowed()
    allowed[profile.item[(profile.item >= 0) & np.isin(profile.type, (PURCHASE, *LOOKS))]] = False
    chosen_too = neighbours_of(shelf.state.visitor, rows, _ones(rows), limit=N_CANDIDATES, allowed=allowed)
    if shelf.vectors is None:
        return chosen_too
    anchors = [shelf.vectors[rows], *[question.query_vector(query)[None] for query in queries]]
    near = nearest(shelf.vectors, mean_direction(np.concatenate(anchors)), limit=N_CANDIDATES, allowed=allowed)
    return fusion.fuse_ranks([near, chosen_too], limit=N_CANDIDATES, weights=[2, 1])


LISTS: Mapping[Slot, Callable[[Question], Listed]] = {
    Slot.HOME: home,
    Slot.CART: cart,
    Slot.SIMILAR: similar,
    Slot.BOUGHT_TOGETHER: bought_together,
    Slot.RECENTLY_VIEWED: recently_viewed,
    Slot.BUY_AGAIN: buy_again,
    Slot.TRENDING: trending,
    Slot.SEARCH: search,
}


def _ordered_with(question: Question, rows: IntArray) -> Candidates:
    basket = question.served.shelf.state.basket
    return neighbours_of(basket, rows, _ones(rows), limit=N_CANDIDATES, allowed=question.allowed())


def _session_first(question: Question, ranked: Candidates) -> Candidates:
    """Give every other position, from the first on, to candidates of the session.

    This is a rule because the head learns from purchases: where it was never trained on looks, it cannot weigh them.
    """
    n_session = int(question.request.limit * SESSION_SHARE)
    chosen = session_candidates(question).rows[:n_session].tolist()
    if not chosen:
        return ranked
    score = dict(zip(ranked.rows.tolist(), ranked.scores.tolist(), strict=True))
    rest = [row for row in score if row not in set(chosen)]
    pairs = zip_longest(chosen, rest[: len(chosen)])
    order = [row for pair in pairs for row in pair if row is not None] + rest[len(chosen) :]
    return Candidates(np.array(order, np.int32), np.array([score.get(row, 0.0) for row in order], np.float32))


def _diversified(question: Question, ranked: Candidates) -> Candidates:
    vectors = question.served.shelf.vectors
    near = None if vectors is None else vectors[ranked.rows]
    limit = question.request.limit
    first = policy.diversify(ranked.scores, near, limit=limit, weight=conf.get("DIVERSITY"))
    order = np.concatenate([first, np.setdiff1d(np.arange(len(ranked)), first, assume_unique=True)])
    return Candidates(ranked.rows[order], ranked.scores[order])


def _ordered(rows: IntArray, scores: FloatArray) -> Candidates:
    return Candidates.best(rows, scores, len(rows))


def _listed(question: Question, ranked: Candidates, rung: Rung | None = None) -> Listed:
    """Move what cannot be bought now behind the rest."""
    order = policy.available_first(question.served.shelf.available[ranked.rows])
    return Listed(ranked.rows[order], ranked.scores[order], rung or question.rung(), len(order))


def _ones(rows: IntArray) -> FloatArray:
    return np.ones(len(rows), np.float32)
