"""Which answers to a query it teaches most to grade: those on which the ranker and matching words disagree."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from django.utils import timezone

from recommender.serving.live_entries import ReadsOfOneList, with_live
from recommender.serving.memory import Served
from recommender.serving.ranking import rank
from recommender.types import Context, Entry, Ranking, Request, Slot

DEPTH = 10
"""Positions that are compared: what a shopper sees without a further page."""


@dataclass(frozen=True, slots=True)
class Contested:
    """One answer, its position by the ranker and by words (None: not among the first), and how much they disagree: the
    difference of its discounted gain, 0 to 1."""

    entry: Entry
    by_ranker: int | None
    by_words: int | None
    disagreement: float


def contested(query: str, served: Served) -> list[Contested]:
    """The answers of both orders that the shop offers, the most contested first. One query per catalogue model, for
    live prices."""
    sides = both_orders(query, served)
    shown = [with_live(side, served.shelf, page=ReadsOfOneList(), limit=DEPTH).entries for side in sides]
    return disagreements(*shown)


def both_orders(query: str, served: Served) -> tuple[Ranking, Ranking]:
    """The first page of a search by the ranker and by words, without what is only near, so that both are of a kind."""
    request = Request(Slot.SEARCH, Context(timezone.now()), query=query, limit=DEPTH, personal_weight=0.0)
    return rank(request, served=served), rank(request, served=Served(served.shelf))


def disagreements(by_ranker: Sequence[Entry], by_words: Sequence[Entry]) -> list[Contested]:
    """The answers of both orders, the most contested first.

    The discount is that of NDCG: what one order shows first and the other does not at all is contested most.
    """
    positions = [{entry.item_id: entry.position for entry in side} for side in (by_ranker, by_words)]
    entries = {entry.item_id: entry for side in (by_words, by_ranker) for entry in side}
    answers = [_contested(entry, *(places.get(item_id) for places in positions)) for item_id, entry in entries.items()]
    return sorted(answers, key=lambda answer: (-answer.disagreement, answer.entry.item_id))


def _contested(entry: Entry, by_ranker: int | None, by_words: int | None) -> Contested:
    return Contested(entry, by_ranker, by_words, abs(_gain(by_ranker) - _gain(by_words)))


def _gain(position: int | None) -> float:
    return 0.0 if position is None else 1 / math.log2(1 + position)
