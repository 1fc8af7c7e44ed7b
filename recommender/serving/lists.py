"""One function per slot: a question in, rows of the catalogue in order out. In memory only, no SQL."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from recommender import conf
from recommender.durations import SESSION_SECONDS
from recommender.retrieval import fusion
from recommender.retrieval.base import Candidates, Wanted
from recommender.retrieval.behaviour import NeighbourRetriever, OwnRetriever, evidence, neighbours_of
from recommender.retrieval.popular import PopularRetriever, popularity
from recommender.retrieval.vector import LatestRetriever, VectorRetriever, nearest
from recommender.serving import policy
from recommender.serving.question import Listed, Question
from recommender.serving.search import search
from recommender.types import EVENT_CODES, EventType, FloatArray, IntArray, Rung, Slot

N_CANDIDATES = 300
"""Candidates that the head scores: what its two milliseconds allow."""

N_SESSION_ANCHORS = 5
SESSION_SHARE = 0.5
"""Of the places of "for you", while the session shows an interest: it takes every other one, from the first on."""

PURCHASE = EVENT_CODES[EventType.PURCHASE]
SEARCH = EVENT_CODES[EventType.SEARCH]
LOOKS = tuple(EVENT_CODES[kind] for kind in (EventType.VIEW_ITEM, EventType.SELECT_ITEM, EventType.ADD_TO_CART))


def home(question: Question) -> Listed:
    """For you: candidates of every source in the order of the head; what the session is about leads.

    Somebody of whom nothing is known sees what sells, unless the head is known to be better.
    """
    ranker = question.served.ranker
    if ranker is not None and not ranker.knows_newcomers and question.is_blank:
        return trending(question)
    context_vector = question.context_vector()
    found = _candidates(question, context_vector)
    if not len(found):
        return Listed.empty()
    scores = question.scores(found.rows, context_vector)
    rung = Rung.POPULARITY if scores is None else question.served.rung
    ranked = _diversified(question, _ordered(found.rows, found.scores if scores is None else scores))
    return _listed(question, _session_first(question, ranked), rung)


def cart(question: Question) -> Listed:
    """What was ordered together with the items of the cart; "for you" where nothing was."""
    profile = question.profile
    here = profile.cart if len(profile.cart) else question.last_items(PURCHASE, 5)
    state = question.served.shelf.state
    found = neighbours_of(state.basket, here, _ones(here), limit=N_CANDIDATES, allowed=question.allowed())
    return _listed(question, found) if len(found) else home(question)


def similar(question: Question) -> Listed:
    """Items like the current one: near in text; what the same shoppers chose as far as many did; else what sells."""
    shelf, here = question.served.shelf, question.here()
    if not len(here):
        return trending(question)
    allowed = question.allowed()
    alike = neighbours_of(shelf.state.visitor, here, _ones(here), limit=N_CANDIDATES, allowed=allowed)
    if shelf.vectors is not None:
        near = nearest(shelf.vectors, _direction(shelf.vectors[here]), limit=N_CANDIDATES, allowed=allowed)
    else:
        words = shelf.lexical.search(shelf.titles[here[0]], N_CANDIDATES)
        near = Candidates(words.rows[allowed[words.rows]], words.scores[allowed[words.rows]])
    believed = evidence(shelf.state, int(here[0]), alike)
    return _listed(question, fusion.fuse_ranks([near, alike], limit=N_CANDIDATES, weights=[2, believed]))


def bought_together(question: Question) -> Listed:
    """Items of the same orders as the current one; empty where it was never ordered with another."""
    here = question.here()
    state = question.served.shelf.state
    found = neighbours_of(state.basket, here, _ones(here), limit=N_CANDIDATES, allowed=question.allowed())
    return _listed(question, found)


def recently_viewed(question: Question) -> Listed:
    """What the visitor looked at, the newest first."""
    rows = question.last_items(LOOKS, N_CANDIDATES)
    rows = rows[question.allowed()[rows]]
    return _listed(question, Candidates(rows, np.linspace(1, 0, len(rows), endpoint=False, dtype=np.float32)))


def buy_again(question: Question) -> Listed:
    """What the visitor bought and kept, the likeliest to be due first."""
    wanted = Wanted(question.profile, question.allowed())
    found = OwnRetriever((EventType.PURCHASE,)).retrieve(wanted, limit=N_CANDIDATES)
    scores = question.scores(found.rows, question.context_vector()) if len(found) else None
    return _listed(question, found if scores is None else _ordered(found.rows, scores))


def trending(question: Question) -> Listed:
    """What everybody buys now."""
    wanted = Wanted(question.profile, question.allowed())
    found = PopularRetriever(popularity(question.served.shelf.state)).retrieve(wanted, limit=N_CANDIDATES)
    if not len(found):  # a shop without events: its newest items
        rows = np.flatnonzero(question.allowed())
        found = Candidates.best(rows, question.served.shelf.items.first_seen[rows], N_CANDIDATES)
    return _listed(question, found, Rung.POPULARITY)


def session_candidates(question: Question) -> Candidates:
    """What is near to the items and queries of the last half hour, without what the shopper knows already."""
    profile, shelf = question.profile, question.served.shelf
    now = (profile.time >= profile.now - SESSION_SECONDS) & (profile.time <= profile.now)
    rows = question.last_items(LOOKS, N_SESSION_ANCHORS, mask=now)
    queries = [query for query, here in zip(profile.queries, now.tolist(), strict=True) if here and query][-2:]
    if not len(rows) and not queries:
        return Candidates.none()
    allowed = question.allowed()
    allowed[profile.item[(profile.item >= 0) & np.isin(profile.type, (PURCHASE, *LOOKS))]] = False
    alike = neighbours_of(shelf.state.visitor, rows, _ones(rows), limit=N_CANDIDATES, allowed=allowed)
    if shelf.vectors is None:
        return alike
    directions = [shelf.vectors[rows], *[question.query_vector(query)[None] for query in queries]]
    near = nearest(shelf.vectors, _direction(np.concatenate(directions)), limit=N_CANDIDATES, allowed=allowed)
    return fusion.fuse_ranks([near, alike], limit=N_CANDIDATES, weights=[2, 1])


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


def _candidates(question: Question, context_vector: FloatArray | None) -> Candidates:
    """Own items, neighbours by order and by shopper, near in vector, popular: fused by rank."""
    state, shelf = question.served.shelf.state, question.served.shelf
    wanted = Wanted(question.profile, question.allowed(), context_vector)
    sources = (
        OwnRetriever(),
        NeighbourRetriever(state.visitor),
        NeighbourRetriever(state.basket),
        NeighbourRetriever(state.regression),
        NeighbourRetriever(state.sequel),
        VectorRetriever(shelf.vectors),
        LatestRetriever(shelf.vectors),
        PopularRetriever(popularity(state)),
    )
    found = [source.retrieve(wanted, limit=N_CANDIDATES) for source in sources]
    fused = fusion.fuse_ranks(found, limit=N_CANDIDATES)
    return fused if len(fused) else Candidates(*trending(question).pair())


def _session_first(question: Question, ranked: Candidates) -> Candidates:
    """Give every other place, from the first on, to what is near to what the session looked at or searched.

    The head learns what is bought; where it never saw a look, it cannot know how much one tells, so this is a rule.
    """
    near = session_candidates(question)
    n_places = int(question.request.limit * SESSION_SHARE)
    chosen = near.rows[:n_places].tolist()
    if not chosen:
        return ranked
    taken = set(chosen)
    rest = iter([row for row in ranked.rows.tolist() if row not in taken])
    order: list[int] = []
    for row in chosen:
        order.extend([row, *[follower for follower in [next(rest, None)] if follower is not None]])
    rows = np.array([*order, *rest], np.int32)
    return Candidates(rows, _descending(rows, ranked))


def _diversified(question: Question, ranked: Candidates) -> Candidates:
    vectors = question.served.shelf.vectors
    near = None if vectors is None else vectors[ranked.rows]
    limit = question.request.limit
    head = policy.diversify(ranked.scores, near, limit=limit, weight=conf.get("DIVERSITY"))
    tail = np.setdiff1d(np.arange(len(ranked)), head, assume_unique=True)
    order = np.concatenate([head, tail])
    return Candidates(ranked.rows[order], ranked.scores[order])


def _ordered(rows: IntArray, scores: FloatArray) -> Candidates:
    return Candidates.best(rows, scores, len(rows))


def _listed(question: Question, found: Candidates, rung: Rung | None = None) -> Listed:
    """Stock first: what cannot be bought now goes behind the rest."""
    order = policy.available_first(question.served.shelf.available[found.rows])
    return Listed(found.rows[order], found.scores[order], rung or question.rung(), len(found))


def _descending(rows: IntArray, ranked: Candidates) -> FloatArray:
    known = dict(zip(ranked.rows.tolist(), ranked.scores.tolist(), strict=True))
    return np.array([known.get(row, 0.0) for row in rows.tolist()], np.float32)


def _direction(vectors: npt.NDArray[np.float32]) -> FloatArray:
    mean = vectors.mean(axis=0)
    return mean / max(float(np.linalg.norm(mean)), 1e-9)


def _ones(rows: IntArray) -> FloatArray:
    return np.ones(len(rows), np.float32)
