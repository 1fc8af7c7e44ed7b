"""Makes the list of a slot as the merchandisers' rules want it: filtered, filled, moved and pinned. Without SQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from recommender.models import Rule
from recommender.retrieval.base import Mask
from recommender.serving import policy
from recommender.serving.filters import effective_filters, filtered
from recommender.serving.limits import limited
from recommender.serving.lists import LISTS, trending
from recommender.serving.question import Listed, Question, no_rows
from recommender.serving.rule_book import NOTHING, Applied, LiveRule, Moves
from recommender.serving.shelf import Shelf
from recommender.types import IntArray, Relaxation, SkippedPin, Slot, Sort, WhySkipped

OWN_LISTS = (Slot.RECENTLY_VIEWED, Slot.BUY_AGAIN, Slot.SEARCH)
"""Lists that nothing else may fill: of the shopper's own items, and of what matches a query."""


@dataclass(frozen=True, slots=True)
class Ruled:
    """A list as the rules want it. pinned: position and rule by row; added: rows that the list would not have had."""

    listed: Listed
    applied: Applied = NOTHING
    pinned: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    added: frozenset[int] = frozenset()
    skipped: tuple[SkippedPin, ...] = ()

    def position_of(self, row: int) -> int:
        """The position that a rule gives a row, 0 for none."""
        return self.pinned[row][0] if row in self.pinned else 0

    def rules_of(self, row: int) -> tuple[int, ...]:
        """The ids of the rules that moved a row."""
        moves = self.applied.moves
        pinning = (self.pinned[row][1],) if row in self.pinned else ()
        return pinning if moves is None else (*pinning, *moves.rules_of(row))


def ruled(question: Question, applied: Applied) -> Ruled:
    """The list of the request's slot under the rules that apply to it. Limits hold, but for what is pinned.

    Another order than relevance is the shopper's own: there rules only filter and exclude.
    """
    request = question.request
    listed = LISTS[request.slot](question)
    if not applied.rules:
        return Ruled(_limited(listed, question), applied)
    listed, added = _filled(listed, question, applied)
    is_by_relevance = request.sort is Sort.RELEVANCE
    if is_by_relevance and applied.moves is not None:
        listed = _moved(listed, question, applied.moves)
    listed = _limited(listed, question)
    if is_by_relevance and applied.pins and len(listed.rows):
        return _pinned(listed, question, applied, added)
    return Ruled(listed, applied, added=frozenset(added.tolist()))


def _limited(listed: Listed, question: Question) -> Listed:
    request = question.request
    if not request.at_most:
        return listed
    return limited(listed, question.served.shelf, request.at_most, n_places=request.limit)


def _filled(listed: Listed, question: Question, applied: Applied) -> tuple[Listed, IntArray]:
    """The list with what a filter has left out behind it where it would be short, and in the place of what is excluded
    what sells most; also the rows of the latter, which the list would not have had."""
    request = question.request
    n_wanted = request.offset + request.limit
    filters = [rule for rule in applied.rules if rule.action == Rule.Action.FILTER]
    is_unmatched = listed.relaxed is Relaxation.POPULAR
    if applied.allowed is None or (len(listed.rows) >= n_wanted and not (filters and is_unmatched)):
        return listed, no_rows()
    if filters:
        whole = LISTS[request.slot](replace(question, permitted=applied.unfiltered))
        listed = _followed_by(listed if not is_unmatched else _named(listed, filters), whole)
    if request.slot in OWN_LISTS or applied.unfiltered is None:
        return listed, no_rows()
    n_natural = min(len(LISTS[request.slot](replace(question, permitted=None)).rows), n_wanted)
    popular = trending(replace(question, permitted=applied.unfiltered))
    added = popular.rows[~np.isin(popular.rows, listed.rows)][: max(0, n_natural - len(listed.rows))]
    return _with_rows(listed, added), added


def _named(listed: Listed, filters: Sequence[LiveRule]) -> Listed:
    """Of a search that nothing matches only what the filters name item by item."""
    named = np.concatenate([no_rows(), *(rule.rows for rule in filters if rule.pins)])
    is_named = np.isin(listed.rows, named)
    return replace(listed, rows=listed.rows[is_named], scores=listed.scores[is_named])


def _followed_by(first: Listed, whole: Listed) -> Listed:
    """The whole list, led by the rows of the first."""
    is_rest = ~np.isin(whole.rows, first.rows)
    rows = np.concatenate([first.rows, whole.rows[is_rest]])
    scores = np.concatenate([first.scores, whole.scores[is_rest]])
    n_more = len(rows) - len(whole.rows)
    return replace(whole, rows=rows, scores=scores, n_found=whole.n_found + n_more if whole.n_found else len(rows))


def _with_rows(listed: Listed, rows: IntArray) -> Listed:
    scores = np.concatenate([listed.scores, np.zeros(len(rows), np.float32)])
    return replace(listed, rows=np.concatenate([listed.rows, rows]), scores=scores)


def _moved(listed: Listed, question: Question, moves: Moves) -> Listed:
    """Move what is boosted up and what is buried down; what cannot be bought stays behind the rest."""
    places = moves.of_rows(listed.rows)
    if not places.any():
        return listed
    order = policy.moved(places)
    available = question.served.shelf.available[listed.rows[order]]
    if not available.all():
        order = order[policy.available_first(available)]
    return replace(listed, rows=listed.rows[order], scores=listed.scores[order])


def _pinned(listed: Listed, question: Question, applied: Applied, added: IntArray) -> Ruled:
    """Give each pinned item its position, or the next that is free; say which cannot be shown, and why."""
    allowed = replace(question, permitted=applied.unfiltered).allowed()
    wanted = _wanted(listed, question)
    shelf = question.served.shelf
    pinned: dict[int, tuple[int, int]] = {}
    skipped: list[SkippedPin] = []
    taken: dict[int, int] = {}
    for rule in applied.pins:
        position = rule.position
        for row, item_id in rule.pins:
            why = _why_not(row, allowed, shelf)
            if why is not None:
                skipped.append(SkippedPin(rule.id, item_id, why))
            elif row not in pinned and (wanted is None or wanted[row]):
                while position in taken:
                    position = taken[position]
                taken[position] = position + 1
                pinned[row] = (position, rule.id)
    seated, new = _seated(listed, sorted((position - 1, row) for row, (position, _rule) in pinned.items()))
    return Ruled(seated, applied, pinned, frozenset((*added.tolist(), *new)), tuple(skipped))


def _seated(listed: Listed, pins: Sequence[tuple[int, int]]) -> tuple[Listed, list[int]]:
    """The list with each row at its index, ascending; also the rows that it did not have."""
    if not pins:
        return listed, []
    is_pin = np.zeros(len(listed.rows), bool)
    for _index, row in pins:
        is_pin |= listed.rows == row
    score = dict(zip(listed.rows[is_pin].tolist(), listed.scores[is_pin].tolist(), strict=True))
    others = listed.rows[~is_pin]
    return replace(
        listed,
        rows=policy.seated(others, pins),
        scores=policy.seated(listed.scores[~is_pin], [(index, score.get(row, 0.0)) for index, row in pins]),
        n_found=listed.n_found + len(pins) - len(score),
    ), [row for _index, row in pins if row not in score]


def _wanted(listed: Listed, question: Question) -> Mask | None:
    """Which items (n_items,) pass the filters that the shopper has set; None for all, also where the search gave them
    up."""
    if listed.intent is None or listed.relaxed is Relaxation.FILTERS:
        return None
    filters = effective_filters(question.request.filters, listed.intent)
    return filtered(question.served.shelf, filters) if filters else None


def _why_not(row: int, allowed: Mask, shelf: Shelf) -> WhySkipped | None:
    """Why an item cannot be shown; None where it can."""
    if row < 0:
        return WhySkipped.GONE
    if not shelf.items.active[row]:
        return WhySkipped.HIDDEN
    if not shelf.available[row]:
        return WhySkipped.SOLD_OUT
    return None if allowed[row] else WhySkipped.EXCLUDED
