"""The list of each slot (home, cart, similar, …): turns a question into catalogue rows in order. Runs without SQL."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import zip_longest

import numpy as np

from recommender import conf
from recommender.features.head import DEFAULT_NEW_SHARE
from recommender.retrieval import fusion
from recommender.retrieval.base import Candidates, Mask, Wanted
from recommender.retrieval.behaviour import neighbours_of
from recommender.retrieval.candidates import N_CANDIDATES, candidates, newest, similar_items
from recommender.retrieval.popular import PopularRetriever, popularity
from recommender.serving import policy
from recommender.serving.corrections import items_of
from recommender.serving.profit import by_profit
from recommender.serving.question import Listed, Question
from recommender.serving.search import search
from recommender.serving.session import LOOKS, PURCHASE, Session
from recommender.types import EventType, FloatArray, IntArray, Rung, Slot

N_LAST_PURCHASES = 5
"""Newest purchases that stand in for the cart where it is empty."""

N_DUE = 50
"""Own items that are due and are scored for "for you": of them the longest list shows at most half its limit."""


def home(question: Question) -> Listed:
    """For you: candidates of every source in the order of the head, led by what the session is about.

    A composed list takes new items and own items that are due in turns. A visitor without a history sees bestsellers,
    unless the head was shown to rank better for newcomers.
    """
    ranker = question.served.ranker
    if ranker is not None and not ranker.knows_newcomers and question.is_blank:
        return trending(question)
    wanted, due = wanted_at_home(question)
    shelf, context_vector = question.served.shelf, wanted.vector
    retrieved = candidates(wanted, shelf.state, shelf.items, question.near)
    rows = np.concatenate([retrieved.rows, due.rows])
    scores = question.scores(rows, context_vector) if len(rows) else None
    if scores is not None:
        n = len(retrieved)
        retrieved, due = _ordered(retrieved.rows, scores[:n]), _ordered(due.rows, scores[n:])
    ranked = _in_turns(question, by_profit(question, _diversified(question, retrieved)), due)
    if question.request.is_composed and len(ranked) < question.request.limit:
        ranked = _followed_by(ranked, question.own_items(N_CANDIDATES))
    if not len(ranked):
        return Listed.empty()
    session = Session.of(question)
    led = ranked if session is None else _led(session.rows(), ranked)
    led = _led_by_pinned(question, led)
    return replace(_listed(question, led), session=session, without_session=ranked.rows, source=Slot.HOME)


def wanted_at_home(question: Question) -> tuple[Wanted, Candidates]:
    """What "for you" looks for, and the own items that are due; in a composed list the former is new to the shopper."""
    allowed, due = question.allowed(), Candidates.none()
    if question.request.is_composed:
        allowed, due = question.new(allowed), question.due_items(N_DUE, allowed)
    return Wanted(question.profile, allowed, question.context_vector()), due


def cart(question: Question) -> Listed:
    """Items ordered together with those of the cart; "for you" if there are none."""
    together = by_profit(question, ordered_with_cart(question))
    return _listed(question, together) if len(together) else home(question)


def similar(question: Question) -> Listed:
    """Items near to the current one in text, and those that the same visitors chose, weighted by their evidence.

    Without a current item: bestsellers.
    """
    shelf, current = question.served.shelf, question.here()
    if not len(current):
        return trending(question)
    allowed = question.allowed()
    near = similar_items(current, near_to(question, allowed), shelf.state, allowed)
    return _listed(question, by_profit(question, near))


def near_to(question: Question, allowed: Mask) -> Candidates:
    """What is near in text to the current item: by vectors, without them by the words of its title."""
    shelf, near, current = question.served.shelf, question.near, question.profile.current_item
    if near is not None:
        return near.nearest(near.vectors[current], limit=N_CANDIDATES, allowed=allowed)
    words = shelf.lexical.search(shelf.titles[current], N_CANDIDATES)
    return Candidates(words.rows[allowed[words.rows]], words.scores[allowed[words.rows]])


def bought_together(question: Question) -> Listed:
    """Items of the same orders as the current one; empty if it was never ordered with another."""
    return _listed(question, by_profit(question, _ordered_with(question, question.here())))


def recently_viewed(question: Question) -> Listed:
    """What the visitor looked at, the newest first."""
    rows = question.last_items(LOOKS, N_CANDIDATES)
    rows = rows[question.allowed()[rows]]
    return _listed(question, Candidates(rows, np.linspace(1, 0, len(rows), endpoint=False, dtype=np.float32)))


def buy_again(question: Question) -> Listed:
    """What the visitor bought and kept: the most overdue by its own cycle first, then what will be due soonest.

    What was bought once has no cycle: it follows in the order of the head.
    """
    bought = question.own_items(N_CANDIDATES, (EventType.PURCHASE,))
    scores = question.scores(bought.rows, question.context_vector()) if len(bought) else None
    if scores is not None:
        bought = _ordered(bought.rows, scores)
    order = np.argsort(-question.elapsed_cycles(bought.rows), kind="stable")
    return _listed(question, Candidates(bought.rows[order], bought.scores[order]))


def trending(question: Question) -> Listed:
    """What sells now; in a shop without events its newest items, which also follow where the page shows the rest."""
    wanted, shelf, request = Wanted(question.profile, question.allowed()), question.served.shelf, question.request
    popular = PopularRetriever(popularity(shelf.state)).retrieve(wanted, limit=N_CANDIDATES)
    popular = by_profit(question, popular)
    is_cut = bool(request.shown_item_ids or request.exclude_item_ids) and len(popular) < request.limit
    if is_cut or not len(popular):
        popular = _followed_by(popular, newest(wanted, shelf.items))
    return replace(_listed(question, popular, Rung.POPULARITY), source=Slot.TRENDING)


def ordered_with_cart(question: Question, *, without: int = -1) -> Candidates:
    """Items ordered together with those of the cart, or with the last purchases where it is empty.

    without: an item that is left out of both, to see what it contributes.
    """
    return _ordered_with(question, cart_or_purchases(question, without=without))


def cart_or_purchases(question: Question, *, without: int = -1) -> IntArray:
    """The rows of the cart, or where it is empty those of the last purchases."""
    in_cart = question.profile.cart[question.profile.cart != without]
    if len(in_cart):
        return in_cart
    return question.last_items(PURCHASE, N_LAST_PURCHASES, mask=question.profile.item != without)


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
    return neighbours_of(basket, rows, _ones(rows), limit=N_CANDIDATES, allowed=question.allowed(), public_only=True)


def _led(chosen: IntArray, ranked: Candidates) -> Candidates:
    """Give every other position, from the first on, to the rows that the session chose.

    This is a rule because the head learns from purchases: where it was never trained on looks, it cannot weigh them.
    """
    if not len(chosen):
        return ranked
    score = dict(zip(ranked.rows.tolist(), ranked.scores.tolist(), strict=True))
    rest = [row for row in score if row not in set(chosen.tolist())]
    pairs = zip_longest(chosen.tolist(), rest[: len(chosen)])
    order = [row for pair in pairs for row in pair if row is not None] + rest[len(chosen) :]
    return Candidates(np.array(order, np.int32), np.array([score.get(row, 0.0) for row in order], np.float32))


def _led_by_pinned(question: Question, ranked: Candidates) -> Candidates:
    """Give every other position, from the first on, to pinned interests: no other one then has more. Where the list has
    too few of their items, those that sell most follow."""
    pinned = question.request.pinned
    if not pinned:
        return ranked
    shelf, n_wanted = question.served.shelf, (question.request.limit + 1) // 2
    is_pinned = items_of(shelf, pinned)
    own = ranked.rows[is_pinned[ranked.rows]]
    if len(own) < n_wanted:
        wanted = Wanted(question.profile, question.new(question.allowed() & is_pinned))
        more = PopularRetriever(popularity(shelf.state)).retrieve(wanted, limit=n_wanted + len(own))
        newer = _followed_by(more, newest(wanted, shelf.items)).rows
        own = np.concatenate([own, newer[~np.isin(newer, own)]])
    return _led(own[:n_wanted], ranked)


def _in_turns(question: Question, new: Candidates, due: Candidates) -> Candidates:
    """New items and own items that are due in turns, by the share that validation chose."""
    if not len(due):
        return new
    ranker, share = question.served.ranker, question.request.new_share
    if share is None:
        share = DEFAULT_NEW_SHARE if ranker is None else ranker.new_share
    order = fusion.turns(len(new), len(due), share=share)
    return Candidates(np.concatenate([new.rows, due.rows])[order], np.concatenate([new.scores, due.scores])[order])


def _diversified(question: Question, ranked: Candidates) -> Candidates:
    vectors = question.served.shelf.vectors
    near = None if vectors is None else vectors[ranked.rows]
    limit, weight = question.request.limit, question.request.diversity
    weight = conf.get("DIVERSITY") if weight is None else weight
    first = policy.diversify(ranked.scores, near, limit=limit, weight=weight)
    order = np.concatenate([first, np.setdiff1d(np.arange(len(ranked)), first, assume_unique=True)])
    return Candidates(ranked.rows[order], ranked.scores[order])


def _followed_by(first: Candidates, rest: Candidates) -> Candidates:
    """Append what the first does not have yet, with a score of 0."""
    rows = rest.rows[~np.isin(rest.rows, first.rows)]
    return Candidates(
        np.concatenate([first.rows, rows]), np.concatenate([first.scores, np.zeros(len(rows), np.float32)])
    )


def _ordered(rows: IntArray, scores: FloatArray) -> Candidates:
    return Candidates.best(rows, scores, len(rows))


def _listed(question: Question, ranked: Candidates, rung: Rung | None = None) -> Listed:
    """Move what cannot be bought now behind the rest."""
    order = policy.available_first(question.served.shelf.available[ranked.rows])
    return Listed(ranked.rows[order], ranked.scores[order], rung or question.rung(), len(order))


def _ones(rows: IntArray) -> FloatArray:
    return np.ones(len(rows), np.float32)
