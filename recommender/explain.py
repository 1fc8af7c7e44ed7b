"""Why an item is there: rows of a finished list and the shopper's profile in, reasons in words out. No SQL."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from recommender.retrieval.shelf import Shelf
from recommender.state import Neighbours
from recommender.types import EVENT_CODES, EventType, FloatArray, IntArray, Profile, Reason

N_ANCHORS = 40
"""Newest distinct items of the history that a reason may name."""

ANCHOR_HALF_LIFE = 8.0
"""Places from the newest after which an anchor weighs half: what was just clicked explains more than an old order."""

MIN_COSINE = 0.45
"""Two titles below this share no subject; read off the untuned encoder, whose random pairs have .15 on average."""

PURCHASE = EVENT_CODES[EventType.PURCHASE]
REFUND = EVENT_CODES[EventType.REFUND]
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


def explain(rows: IntArray, profile: Profile, shelf: Shelf, *, query: str = "") -> list[tuple[Reason, ...]]:
    """One or two reasons for each of `rows` (n,), the strongest first."""
    anchors = Anchors.of(profile)
    together, together_anchor = _strongest_neighbour(rows, anchors, shelf.state.basket)
    alike, alike_anchor = _nearest_text(rows, anchors, shelf)
    worded = shelf.lexical.score(query, rows) > 0 if query and len(rows) else np.zeros(len(rows), bool)
    reasons = []
    for place, row in enumerate(rows.tolist()):
        found = [
            *_search_reasons(query, has_words=bool(worded[place])),
            *_own_reasons(row, profile),
            *_anchor_reasons(place, together, together_anchor, alike, alike_anchor, profile, shelf),
            *_popularity_reasons(row, shelf),
        ]
        reasons.append(tuple(found[:2]))
    return reasons


def _search_reasons(query: str, *, has_words: bool) -> list[Reason]:
    if not query:
        return []
    if has_words:
        return [Reason("matches_query", _("Matches “%(query)s”") % {"query": query[:60]})]
    return [Reason("near_query", _("Close in meaning to “%(query)s”") % {"query": query[:60]})]


def _own_reasons(row: int, profile: Profile) -> list[Reason]:
    own = profile.item == row
    n_bought = int((own & (profile.type == PURCHASE)).sum()) - int((own & (profile.type == REFUND)).sum())
    if n_bought > 0:
        text = ngettext("You bought this before", "You bought this %(n)d times", n_bought) % {"n": n_bought}
        return [Reason("own_purchase", text)]
    if (own & np.isin(profile.type, VIEWS)).any():
        return [Reason("own_view", _("You looked at this"))]
    return []


def _anchor_reasons(
    place: int,
    together: FloatArray,
    together_anchor: IntArray,
    alike: FloatArray,
    alike_anchor: IntArray,
    profile: Profile,
    shelf: Shelf,
) -> list[Reason]:
    found: list[tuple[float, Reason]] = []
    if together[place] > 0:
        anchor = int(together_anchor[place])
        text = _("Often bought with %(title)s") % {"title": shelf.titles[anchor]}
        found.append((float(together[place]), Reason("bought_together", text, shelf.items.ids[anchor])))
    if alike[place] > 0:
        anchor = int(alike_anchor[place])
        text = _similar_text(anchor, profile) % {"title": shelf.titles[anchor]}
        found.append((float(alike[place]), Reason("similar", text, shelf.items.ids[anchor])))
    return [reason for _strength, reason in sorted(found, key=lambda pair: -pair[0])]


def _similar_text(anchor: int, profile: Profile) -> str:
    if anchor == profile.current_item:
        return _("Similar to this")
    if ((profile.item == anchor) & (profile.type == PURCHASE)).any():
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
    place_of = {row: place for place, row in enumerate(rows.tolist())}
    for anchor, weight in zip(anchors.rows.tolist(), anchors.weights.tolist(), strict=True):
        for row, score in neighbours.of(anchor):
            place = place_of.get(row)
            if place is not None and row != anchor and score * weight > best[place]:
                best[place], which[place] = score * weight, anchor
    return best, which


def _nearest_text(rows: IntArray, anchors: Anchors, shelf: Shelf) -> tuple[FloatArray, IntArray]:
    """For each row the best weighted cosine over the anchors that passes `MIN_COSINE`, and that anchor."""
    if shelf.vectors is None or not len(anchors.rows) or not len(rows):
        return np.zeros(len(rows), np.float32), np.full(len(rows), -1, np.int32)
    cosine = shelf.vectors[rows] @ shelf.vectors[anchors.rows].T
    cosine[rows[:, None] == anchors.rows[None, :]] = 0
    weighted = np.where(cosine >= MIN_COSINE, cosine * anchors.weights, 0)
    which = weighted.argmax(axis=1)
    return weighted.max(axis=1).astype(np.float32), anchors.rows[which]
