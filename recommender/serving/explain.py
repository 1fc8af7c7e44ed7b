"""Explains a list to the shopper: one or two reasons for each item, and a notice if the search was relaxed. No SQL."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from recommender.serving.causes import N_PAST, Links, causes_of_cart, causes_of_home, causes_of_search
from recommender.serving.question import Listed, Question
from recommender.serving.shelf import Shelf
from recommender.tables import Profile
from recommender.text.intent import has_brand
from recommender.types import EVENT_CODES, EventType, FloatArray, IntArray, Intent, Reason, Relaxation, Role, Slot

N_REASONS = 2

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
        rows = list(dict.fromkeys(row for row in newest_first if row >= 0))[:N_PAST]
        age = np.arange(len(rows), dtype=np.float32)
        return cls(np.array(rows, np.int32), np.exp2(-age / ANCHOR_HALF_LIFE).astype(np.float32))


@dataclass(frozen=True, slots=True)
class OwnEvents:
    """What the shopper did, counted once for a whole list: purchases by item, items looked at, cart, current item.

    cycles: by item that is due, the days between its orders.
    """

    n_bought: Mapping[int, int]
    viewed: frozenset[int]
    in_cart: frozenset[int]
    current_item: int
    cycles: Mapping[int, float]

    @classmethod
    def of(cls, question: Question, rows: IntArray) -> OwnEvents:
        """Count a shopper's events; when an item is due again only for `rows` (n,)."""
        profile = question.profile
        bought, viewed = (profile.item[np.isin(profile.type, types)].tolist() for types in (PURCHASE, VIEWS))
        n_bought = Counter(bought)
        due = question.cycles.days_between_due() if any(row in n_bought for row in rows.tolist()) else {}
        return cls(n_bought, frozenset(viewed), frozenset(profile.cart.tolist()), profile.current_item, due)


Reasons = list[Reason]


def explain(question: Question, listed: Listed, rows: IntArray) -> list[tuple[Reason, ...]]:
    """One or two reasons for each of `rows` (n,) of a list: those of its slot first, then what the shopper knows of it.

    A list that is the same for everybody has no reason that names the shopper's past.
    """
    own, shelf = OwnEvents.of(question, rows), question.served.shelf
    slot = listed.source or question.request.slot
    of_slot = SLOT_REASONS[slot](question, listed, rows, own) if slot in SLOT_REASONS else [[] for _row in rows]
    explained = []
    for row, reasons in zip(rows.tolist(), of_slot, strict=True):
        if slot not in (Slot.TRENDING, Slot.SEARCH, Slot.HOME):  # the last two have said it in their own order
            reasons = [*reasons, *_own_reasons(row, own)]
        if len(reasons) < N_REASONS:
            reasons = [*reasons, *_popularity_reasons(row, shelf)]
        first_of_each = {reason.code: reason for reason in reversed(reasons)}
        explained.append(tuple(reason for reason in reasons if first_of_each[reason.code] is reason)[:N_REASONS])
    return explained


def added_reasons(row: int, shelf: Shelf, *, is_pinned: bool) -> tuple[Reason, ...]:
    """Why an item is there that only a rule brings into the list: the shop chose it, or it fills a position."""
    return (Reason("chosen", _("Chosen by the shop")),) if is_pinned else tuple(_popularity_reasons(row, shelf))


def notice(
    relaxed: Relaxation, query: str, relaxed_query: str, *, left_out: Sequence[str] = (), foreign_price: str = ""
) -> str:
    """Tell the shopper how a search was relaxed, what it left out and which price was ignored; "" if nothing was."""
    texts = {
        Relaxation.NONE: "",
        Relaxation.WORDS: _("Nothing has all of “%(query)s”. These are for “%(fewer)s”."),
        Relaxation.FILTERS: _("Nothing for “%(query)s” passes the filters. These are without them."),
        Relaxation.MEANING: _("Nothing has the words “%(query)s”. These are close in meaning."),
        Relaxation.POPULAR: _("Nothing was found for “%(query)s”. This is what others buy now."),
    }
    values = {"query": query[:60], "fewer": relaxed_query[:60], "excluded": ", ".join(left_out)[:60]}
    excluded = _("Items with “%(excluded)s” are left out.") if left_out else ""
    values["price"] = foreign_price[:60]
    foreign = _("Prices here are in another currency than “%(price)s”, which was not applied.") if foreign_price else ""
    return " ".join(text % values for text in (texts[relaxed], excluded, foreign) if text)


def _search_reasons(question: Question, listed: Listed, rows: IntArray, own: OwnEvents) -> list[Reasons]:
    """What an item has of the query, what the shopper did with it, what lifts it, and what it shares with the query's
    meaning. An item of this session is named where the entry stands lower without it."""
    shelf, query = question.served.shelf, listed.answered_query
    if not query:
        return [_own_reasons(row, own) for row in rows.tolist()]
    has_words = shelf.lexical.score(query, rows) > 0 if len(rows) else np.zeros(0, bool)
    is_near = np.isin(rows, listed.near)
    by_intent = _intent_reasons(rows, shelf, listed.intent) if listed.intent is not None else [[] for _row in rows]
    by_query, causes = _query_reasons(query), causes_of_search(question, listed, rows)
    return [
        [
            by_query[bool(has_words[index]), bool(is_near[index])],
            *_own_reasons(row, own),
            *([_naming("similar", _similar_text(causes[index], own), causes[index], shelf)] if index in causes else []),
            *by_intent[index],
        ]
        for index, row in enumerate(rows.tolist())
    ]


def _home_reasons(question: Question, listed: Listed, rows: IntArray, own: OwnEvents) -> list[Reasons]:
    """Why an own item is there; of a new one the item of the past that it is like, named where it decides."""
    shelf, anchors = question.served.shelf, Anchors.of(question.profile)
    is_new = np.array([row not in own.n_bought and row not in own.viewed for row in rows.tolist()], bool)
    links = Links.between(rows[is_new], anchors.rows, shelf)
    causes = causes_of_home(question, listed, links)
    of_new = iter(
        [*_named(links, index, causes, own, shelf), *unnamed]
        for index, unnamed in enumerate(_unnamed_reasons(links, anchors.weights, own))
    )
    return [
        next(of_new) if is_row_new else _own_reasons(row, own)
        for row, is_row_new in zip(rows.tolist(), is_new.tolist(), strict=True)
    ]


def _named(links: Links, index: int, causes: Mapping[int, int], own: OwnEvents, shelf: Shelf) -> Reasons:
    """The sentence with the title of the item that decides; none where no item does."""
    if (cause := causes.get(index, -1)) < 0:
        return []
    if links.is_by_orders(index, cause):
        return [_naming("bought_together", _together_text(), cause, shelf)]
    return [_naming("similar", _similar_text(cause, own), cause, shelf)]


def _unnamed_reasons(links: Links, weights: FloatArray, own: OwnEvents) -> list[Reasons]:
    """For each entry what it has in common with the past as a whole, the stronger link first; weights (m,)."""
    if not len(links.past) or not len(links.entries):
        return [[] for _entry in links.entries]
    kinds = [(code, table * weights) for code, table in (("bought_together", links.together), ("similar", links.alike))]
    strongest = [(code, table.max(axis=1).tolist(), table.argmax(axis=1).tolist()) for code, table in kinds]
    past = links.past.tolist()
    return [
        [
            Reason(code, _unnamed_text(code, past[anchor[index]], own))
            for code, strength, anchor in sorted(strongest, key=lambda kind: -kind[1][index])
            if strength[index] > 0
        ]
        for index in range(len(links.entries))
    ]


def _cart_reasons(question: Question, listed: Listed, rows: IntArray, own: OwnEvents) -> list[Reasons]:
    """The item of the cart, or of the last purchases, that brings an entry into the list."""
    causes, shelf = causes_of_cart(question, rows), question.served.shelf
    unnamed = _("Often bought with what is in your cart") if own.in_cart else _("Often bought with what you bought")
    return [
        [_naming("bought_together", _together_text(), causes[index], shelf)]
        if index in causes
        else [Reason("bought_together", unnamed)]
        for index in range(len(rows))
    ]


def _together_reasons(question: Question, listed: Listed, rows: IntArray, own: OwnEvents) -> list[Reasons]:
    """The current item, with which all of them were bought."""
    reason = _naming("bought_together", _together_text(), own.current_item, question.served.shelf)
    return [[reason] for _row in rows]


def _similar_reasons(question: Question, listed: Listed, rows: IntArray, own: OwnEvents) -> list[Reasons]:
    """The current item, where the texts are alike; others are there because the same shoppers chose them."""
    shelf = question.served.shelf
    alike = Links.between(rows, question.here(), shelf).alike[:, 0].tolist()
    reason = Reason("similar", _("Similar to this"), shelf.items.ids[own.current_item])
    return [[reason] if cosine > 0 else [] for cosine in alike]


def _viewed_reasons(question: Question, listed: Listed, rows: IntArray, own: OwnEvents) -> list[Reasons]:
    return [[Reason("own_view", _("You looked at this"))] for _row in rows]


SLOT_REASONS = {
    Slot.SEARCH: _search_reasons,
    Slot.HOME: _home_reasons,
    Slot.CART: _cart_reasons,
    Slot.BOUGHT_TOGETHER: _together_reasons,
    Slot.SIMILAR: _similar_reasons,
    Slot.RECENTLY_VIEWED: _viewed_reasons,
}
"""Of the other slots: "buy again" says what was bought, and "trending" what sells."""


def _query_reasons(query: str) -> dict[tuple[bool, bool], Reason]:
    """The reason by whether an item has words of the query, and whether it is only near and no match."""
    values = {"query": query[:60]}
    close = Reason("near_query", _("Close in meaning to “%(query)s”") % values)
    return {
        (True, False): Reason("matches_query", _("Matches “%(query)s”") % values),
        (True, True): Reason("some_words", _("Has part of “%(query)s”") % values),
        (False, False): close,
        (False, True): close,
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


def _own_reasons(row: int, own: OwnEvents) -> Reasons:
    """When it is due again, how often it was bought, or that it was looked at."""
    reasons = []
    if row in own.cycles:
        n_days = max(1, round(own.cycles[row]))
        text = ngettext("You buy this about every day", "You buy this about every %(n)d days", n_days) % {"n": n_days}
        reasons.append(Reason("due_again", text))
    if (n_bought := own.n_bought.get(row, 0)) > 0:
        text = ngettext("You bought this before", "You bought this %(n)d times", n_bought) % {"n": n_bought}
        return [*reasons, Reason("own_purchase", text)]
    return [Reason("own_view", _("You looked at this"))] if row in own.viewed else []


def _naming(code: str, text: str, anchor: int, shelf: Shelf) -> Reason:
    return Reason(code, text % {"title": shelf.titles[anchor]}, shelf.items.ids[anchor])


def _together_text() -> str:
    return _("Often bought with %(title)s")


def _similar_text(anchor: int, own: OwnEvents) -> str:
    if anchor in own.in_cart:
        return _("Similar to %(title)s in your cart")
    if anchor in own.n_bought:
        return _("Similar to %(title)s, which you bought")
    return _("Similar to %(title)s, which you looked at")


def _unnamed_text(code: str, anchor: int, own: OwnEvents) -> str:
    if anchor in own.in_cart:
        return _("Often bought with what is in your cart") if code == "bought_together" else _("Similar to your cart")
    if anchor in own.n_bought:
        return _("Often bought with what you bought") if code == "bought_together" else _("Similar to what you bought")
    if code == "bought_together":
        return _("Often bought with what you looked at")
    return _("Similar to what you looked at")


def _popularity_reasons(row: int, shelf: Shelf) -> list[Reason]:
    _day, week, month, _ever = (float(count) for count in shelf.state.counts[row])
    if week > 0 and week * 30 / 7 > 1.5 * month:
        return [Reason("trending", _("Selling faster than usual"))]
    if month > 0:
        return [Reason("popular", _("Popular in the last 30 days"))]
    return [Reason("catalogue", _("From our range"))]
