"""Explains a list to the shopper: one or two reasons for each item, and a notice if the search was relaxed. No SQL."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from recommender.features.neighbours import Neighbours
from recommender.serving.shelf import Shelf
from recommender.tables import Profile
from recommender.text.intent import has_brand
from recommender.types import EVENT_CODES, EventType, FloatArray, IntArray, Intent, Reason, Relaxation, Role

N_REASONS = 2

N_ANCHORS = 40
"""How many of the newest distinct items of the history a reason may name."""

ANCHOR_HALF_LIFE = 8.0
"""An anchor this many places behind the newest weighs half: a recent click explains more than an old order."""

MIN_CATEGORY_PROBABILITY = 0.5
"""A reason names the category of a query only if it is more likely than all others together."""

PURCHASE = EVENT_CODES[EventType.PURCHASE]
VIEWS = (EVENT_CODES[EventType.VIEW_ITEM], EVENT_CODES[EventType.SELECT_ITEM])


@dataclass(frozen=True, slots=True)
class Anchors:
    """Items that a reason may point at, newest first: rows (n,) int32, weights (n,) float32 in (0, 1]."""

    rows: IntArray
    weights: FloatArray

    @classmethod
    def of(cls, profile: Profile) -> Anchors:
        """The current item, the cart and the newest items of the history."""
        newest_first = [profile.current_item, *profile.cart.tolist(), *profile.item[::-1].tolist()]
        rows = list(dict.fromkeys(row for row in newest_first if row >= 0))[:N_ANCHORS]
        age = np.arange(len(rows), dtype=np.float32)
        return cls(np.array(rows, np.int32), np.exp2(-age / ANCHOR_HALF_LIFE).astype(np.float32))


@dataclass(frozen=True, slots=True)
class Links:
    """The strongest anchor of each item of a list: strength (n,) float32, 0 for none; anchor (n,) int32, its row."""

    strength: FloatArray
    anchor: IntArray


@dataclass(frozen=True, slots=True)
class OwnEvents:
    """What the shopper did, counted once for a whole list: purchases by item, items looked at, and the current item."""

    n_bought: Mapping[int, int]
    viewed: frozenset[int]
    current_item: int

    @classmethod
    def of(cls, profile: Profile) -> OwnEvents:
        """Count a profile."""
        bought, viewed = (profile.item[np.isin(profile.type, types)].tolist() for types in (PURCHASE, VIEWS))
        return cls(Counter(bought), frozenset(viewed), profile.current_item)


def explain(
    rows: IntArray, profile: Profile, shelf: Shelf, *, query: str = "", intent: Intent | None = None
) -> list[tuple[Reason, ...]]:
    """One or two reasons for each of `rows` (n,), the strongest first."""
    anchors, own = Anchors.of(profile), OwnEvents.of(profile)
    bought_with = _strongest_neighbours(rows, anchors, shelf.state.basket)
    similar_to = _nearest_texts(rows, anchors, shelf)
    has_words = shelf.lexical.score(query, rows) > 0 if query and len(rows) else np.zeros(len(rows), bool)
    by_query = _query_reasons(query)
    by_intent = _intent_reasons(rows, shelf, intent) if query and intent is not None else [[] for _row in rows]
    explained = []
    for index, row in enumerate(rows.tolist()):
        reasons = [*by_query[bool(has_words[index])], *_own_reasons(row, own), *by_intent[index]]
        if len(reasons) < N_REASONS:
            reasons += _anchor_reasons(index, bought_with, similar_to, own, shelf)
        if len(reasons) < N_REASONS:
            reasons += _popularity_reasons(row, shelf)
        explained.append(tuple(reasons[:N_REASONS]))
    return explained


def notice(relaxed: Relaxation, query: str, relaxed_query: str) -> str:
    """Tell the shopper how a search was relaxed; empty where it was not."""
    texts = {
        Relaxation.NONE: "",
        Relaxation.WORDS: _("Nothing has all of “%(query)s”. These are for “%(fewer)s”."),
        Relaxation.FILTERS: _("Nothing for “%(query)s” passes the filters. These are without them."),
        Relaxation.MEANING: _("Nothing has the words “%(query)s”. These are close in meaning."),
        Relaxation.POPULAR: _("Nothing was found for “%(query)s”. This is what others buy now."),
    }
    return texts[relaxed] % {"query": query[:60], "fewer": relaxed_query[:60]} if texts[relaxed] else ""


def _query_reasons(query: str) -> dict[bool, list[Reason]]:
    """The reason for an item that has words of the query (True) and for one that has none (False)."""
    if not query:
        return {True: [], False: []}
    values = {"query": query[:60]}
    return {
        True: [Reason("matches_query", _("Matches “%(query)s”") % values)],
        False: [Reason("near_query", _("Close in meaning to “%(query)s”") % values)],
    }


def _intent_reasons(rows: IntArray, shelf: Shelf, intent: Intent) -> list[list[Reason]]:
    """For each row what it shares with the meaning of the query: its brand, then its category."""
    reasons: list[list[Reason]] = [[] for _row in rows]
    for name in dict.fromkeys(word.value for word in intent.words if word.role is Role.BRAND and word.value):
        reason = Reason("matches_brand", _("Of the brand %(name)s") % {"name": name})
        for index in np.flatnonzero(has_brand(name, rows, shelf)).tolist():
            reasons[index].append(reason)
    if intent.categories and intent.categories[0][1] >= MIN_CATEGORY_PROBABILITY:
        name = intent.categories[0][0]
        reason = Reason("matches_category", _("In %(name)s") % {"name": name})
        for index in np.flatnonzero(shelf.items.category[rows] == shelf.items.category_names.index(name)).tolist():
            reasons[index].append(reason)
    return reasons


def _own_reasons(row: int, own: OwnEvents) -> list[Reason]:
    n_bought = own.n_bought.get(row, 0)
    if n_bought > 0:
        text = ngettext("You bought this before", "You bought this %(n)d times", n_bought) % {"n": n_bought}
        return [Reason("own_purchase", text)]
    return [Reason("own_view", _("You looked at this"))] if row in own.viewed else []


def _anchor_reasons(index: int, bought_with: Links, similar_to: Links, own: OwnEvents, shelf: Shelf) -> list[Reason]:
    """Up to two reasons that name another item, the stronger link first."""
    reasons: list[tuple[float, Reason]] = []
    for code, links in (("bought_together", bought_with), ("similar", similar_to)):
        if (strength := float(links.strength[index])) > 0:
            anchor = int(links.anchor[index])
            text = _("Often bought with %(title)s") if links is bought_with else _similar_text(anchor, own)
            reason = Reason(code, text % {"title": shelf.titles[anchor]}, shelf.items.ids[anchor])
            reasons.append((strength, reason))
    return [reason for _strength, reason in sorted(reasons, key=lambda pair: -pair[0])]


def _similar_text(anchor: int, own: OwnEvents) -> str:
    if anchor == own.current_item:
        return _("Similar to this")
    if anchor in own.n_bought:
        return _("Similar to %(title)s, which you bought")
    return _("Similar to %(title)s, which you looked at")


def _popularity_reasons(row: int, shelf: Shelf) -> list[Reason]:
    _day, week, month, _ever = (float(count) for count in shelf.state.counts[row])
    if week > 0 and week * 30 / 7 > 1.5 * month:
        return [Reason("trending", _("Selling faster than usual"))]
    if month > 0:
        return [Reason("popular", _("Popular in the last 30 days"))]
    return [Reason("catalogue", _("From our range"))]


def _strongest_neighbours(rows: IntArray, anchors: Anchors, neighbours: Neighbours) -> Links:
    """For each row the anchor with the best weighted neighbour score; anchor -1 where there is none."""
    links = Links(np.zeros(len(rows), np.float32), np.full(len(rows), -1, np.int32))
    if not len(rows) or not len(anchors.rows):
        return links
    neighbour, score = neighbours.spread(anchors.rows, anchors.weights)
    anchor = np.repeat(anchors.rows, neighbours.start[anchors.rows + 1] - neighbours.start[anchors.rows])
    order = np.argsort(rows)
    index = order[np.minimum(np.searchsorted(rows, neighbour, sorter=order), len(rows) - 1)]
    is_listed = (rows[index] == neighbour) & (neighbour != anchor)
    index, score, anchor = index[is_listed], score[is_listed], anchor[is_listed]
    strongest_last = np.argsort(-score, kind="stable")[::-1]  # the last write wins: the best, of equals the newest
    links.strength[index[strongest_last]] = score[strongest_last]
    links.anchor[index[strongest_last]] = anchor[strongest_last]
    return links


def _nearest_texts(rows: IntArray, anchors: Anchors, shelf: Shelf) -> Links:
    """For each row the anchor with the best weighted cosine above `Floors.alike`."""
    if shelf.vectors is None or not len(anchors.rows) or not len(rows):
        return Links(np.zeros(len(rows), np.float32), np.full(len(rows), -1, np.int32))
    cosine = shelf.vectors[rows] @ shelf.vectors[anchors.rows].T
    cosine[rows[:, None] == anchors.rows[None, :]] = 0
    weighted = np.where(cosine > shelf.floors.alike, cosine * anchors.weights, 0)
    return Links(weighted.max(axis=1).astype(np.float32), anchors.rows[weighted.argmax(axis=1)])
