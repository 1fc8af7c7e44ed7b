"""Why an item is there: rows of a finished list and the shopper's profile in, reasons in words out. No SQL."""

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
"""Newest distinct items of the history that a reason may name."""

ANCHOR_HALF_LIFE = 8.0
"""Places from the newest after which an anchor weighs half: what was just clicked explains more than an old order."""

MIN_CATEGORY_PROBABILITY = 0.5
"""A query is said to mean a category when it more likely does than not."""

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
        here = [profile.current_item, *profile.cart.tolist(), *profile.item[::-1].tolist()]
        rows = list(dict.fromkeys(row for row in here if row >= 0))[:N_ANCHORS]
        places = np.arange(len(rows), dtype=np.float32)
        return cls(np.array(rows, np.int32), np.exp2(-places / ANCHOR_HALF_LIFE).astype(np.float32))


@dataclass(frozen=True, slots=True)
class Known:
    """What the shopper did with each item, counted once for a whole list: purchases that were kept, and looks."""

    n_bought: Mapping[int, int]
    bought: frozenset[int]
    looked_at: frozenset[int]

    @classmethod
    def of(cls, profile: Profile) -> Known:
        """Count a profile."""
        bought = profile.item[profile.type == PURCHASE].tolist()
        return cls(Counter(bought), frozenset(bought), frozenset(profile.item[np.isin(profile.type, VIEWS)].tolist()))


def explain(
    rows: IntArray, profile: Profile, shelf: Shelf, *, query: str = "", intent: Intent | None = None
) -> list[tuple[Reason, ...]]:
    """One or two reasons for each of `rows` (n,), the strongest first."""
    anchors, known = Anchors.of(profile), Known.of(profile)
    together, together_anchor = _strongest_neighbour(rows, anchors, shelf.state.basket)
    alike, alike_anchor = _nearest_text(rows, anchors, shelf)
    worded = shelf.lexical.score(query, rows) > 0 if query and len(rows) else np.zeros(len(rows), bool)
    by_query = {has_words: _search_reasons(query, has_words=has_words) for has_words in (True, False)}
    meant = _meant_reasons(rows, shelf, intent) if query and intent is not None else [[] for _row in rows]
    reasons = []
    for place, row in enumerate(rows.tolist()):
        found = [*by_query[bool(worded[place])], *_own_reasons(row, known), *meant[place]]
        if len(found) < N_REASONS:
            found += _anchor_reasons(
                place, together, together_anchor, alike, alike_anchor, profile.current_item, known, shelf
            )
        if len(found) < N_REASONS:
            found += _popularity_reasons(row, shelf)
        reasons.append(tuple(found[:N_REASONS]))
    return reasons


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


def _search_reasons(query: str, *, has_words: bool) -> list[Reason]:
    if not query:
        return []
    if has_words:
        return [Reason("matches_query", _("Matches “%(query)s”") % {"query": query[:60]})]
    return [Reason("near_query", _("Close in meaning to “%(query)s”") % {"query": query[:60]})]


def _meant_reasons(rows: IntArray, shelf: Shelf, intent: Intent) -> list[list[Reason]]:
    """For each row what it shares with what the query means: its brand, then its category."""
    found: list[list[Reason]] = [[] for _row in rows]
    for name in dict.fromkeys(word.value for word in intent.words if word.role is Role.BRAND and word.value):
        reason = Reason("matches_brand", _("Of the brand %(name)s") % {"name": name})
        for place in np.flatnonzero(has_brand(name, rows, shelf)).tolist():
            found[place].append(reason)
    if intent.categories and intent.categories[0][1] >= MIN_CATEGORY_PROBABILITY:
        name = intent.categories[0][0]
        reason = Reason("matches_category", _("In %(name)s") % {"name": name})
        for place in np.flatnonzero(shelf.items.category[rows] == shelf.items.category_names.index(name)).tolist():
            found[place].append(reason)
    return found


def _own_reasons(row: int, known: Known) -> list[Reason]:
    n_bought = known.n_bought.get(row, 0)
    if n_bought > 0:
        text = ngettext("You bought this before", "You bought this %(n)d times", n_bought) % {"n": n_bought}
        return [Reason("own_purchase", text)]
    return [Reason("own_view", _("You looked at this"))] if row in known.looked_at else []


def _anchor_reasons(
    place: int,
    together: FloatArray,
    together_anchor: IntArray,
    alike: FloatArray,
    alike_anchor: IntArray,
    current_item: int,
    known: Known,
    shelf: Shelf,
) -> list[Reason]:
    found: list[tuple[float, Reason]] = []
    if together[place] > 0:
        anchor = int(together_anchor[place])
        text = _("Often bought with %(title)s") % {"title": shelf.titles[anchor]}
        found.append((float(together[place]), Reason("bought_together", text, shelf.items.ids[anchor])))
    if alike[place] > 0:
        anchor = int(alike_anchor[place])
        text = _similar_text(anchor, current_item, known) % {"title": shelf.titles[anchor]}
        found.append((float(alike[place]), Reason("similar", text, shelf.items.ids[anchor])))
    return [reason for _strength, reason in sorted(found, key=lambda pair: -pair[0])]


def _similar_text(anchor: int, current_item: int, known: Known) -> str:
    if anchor == current_item:
        return _("Similar to this")
    if anchor in known.bought:
        return _("Similar to %(title)s, which you bought")
    return _("Similar to %(title)s, which you looked at")


def _popularity_reasons(row: int, shelf: Shelf) -> list[Reason]:
    _day, week, month, _ever = (float(count) for count in shelf.state.counts[row])
    if week > 0 and week * 30 / 7 > 1.5 * month:
        return [Reason("trending", _("Selling faster than usual"))]
    if month > 0:
        return [Reason("popular", _("Popular in the last 30 days"))]
    return [Reason("catalogue", _("From our range"))]


def _strongest_neighbour(rows: IntArray, anchors: Anchors, neighbours: Neighbours) -> tuple[FloatArray, IntArray]:
    """For each row the best weighted neighbour score over the anchors, and that anchor; 0 and -1 for none."""
    best, which = np.zeros(len(rows), np.float32), np.full(len(rows), -1, np.int32)
    if not len(rows) or not len(anchors.rows):
        return best, which
    found, score = neighbours.spread(anchors.rows, anchors.weights)
    anchor = np.repeat(anchors.rows, neighbours.start[anchors.rows + 1] - neighbours.start[anchors.rows])
    order = np.argsort(rows)
    place = order[np.minimum(np.searchsorted(rows, found, sorter=order), len(rows) - 1)]
    shown = (rows[place] == found) & (found != anchor)
    place, score, anchor = place[shown], score[shown], anchor[shown]
    strongest_last = np.argsort(-score, kind="stable")[::-1]  # the last write is the best, of equals the newest anchor
    best[place[strongest_last]] = score[strongest_last]
    which[place[strongest_last]] = anchor[strongest_last]
    return best, which


def _nearest_text(rows: IntArray, anchors: Anchors, shelf: Shelf) -> tuple[FloatArray, IntArray]:
    """For each row the best weighted cosine over the anchors that passes `Floors.alike`, and that anchor."""
    if shelf.vectors is None or not len(anchors.rows) or not len(rows):
        return np.zeros(len(rows), np.float32), np.full(len(rows), -1, np.int32)
    cosine = shelf.vectors[rows] @ shelf.vectors[anchors.rows].T
    cosine[rows[:, None] == anchors.rows[None, :]] = 0
    weighted = np.where(cosine > shelf.floors.alike, cosine * anchors.weights, 0)
    which = weighted.argmax(axis=1)
    return weighted.max(axis=1).astype(np.float32), anchors.rows[which]
