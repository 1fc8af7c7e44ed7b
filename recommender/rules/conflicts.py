"""Finds rules that collide: two pins for one position, or two rules that want opposite things of one item."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass

from django.db.models import Q
from django.utils.translation import gettext as _

from recommender.models import Rule
from recommender.rules.checking import item_ids_of
from recommender.text.letters import fold
from recommender.text.query import normal_query
from recommender.text.stems import stem
from recommender.text.words import tokens
from recommender.types import Slot

Action = Rule.Action
OPPOSITES = frozenset(
    {
        frozenset({Action.PIN, Action.EXCLUDE}),
        frozenset({Action.BOOST, Action.EXCLUDE}),
        frozenset({Action.FILTER, Action.EXCLUDE}),
        frozenset({Action.BOOST, Action.BURY}),
        frozenset({Action.PIN, Action.BURY}),
    }
)


@dataclass(frozen=True, slots=True)
class Conflict:
    """Another rule that collides, in words; `is_refused` where both cannot be live at the same time."""

    other: Rule
    text: str
    is_refused: bool = False


def conflicts_of(rule: Rule, *, at: dt.datetime) -> list[Conflict]:
    """What collides with a rule among those that are live or in review. One query, one more for each that names items
    by an attribute."""
    open_states = (Rule.State.LIVE, Rule.State.REVIEW)
    others = Rule.objects.filter(Q(ends_at=None) | Q(ends_at__gt=at), state__in=open_states).exclude(pk=rule.pk)
    return list(_collisions(rule, others))


def _collisions(rule: Rule, others: Iterable[Rule]) -> Iterable[Conflict]:
    for other in others:
        if not _may_meet(rule, other):
            continue
        actions = frozenset({rule.action, other.action})
        if actions == {Action.PIN}:
            if shared := sorted(_positions(rule) & _positions(other)):
                text = _("“%(name)s” pins an item to position %(position)d too. Choose another position.")
                if is_tried := rule.experiment_id != other.experiment_id:
                    text = _("“%(name)s” pins an item to position %(position)d too. The one that is tried comes first.")
                yield Conflict(other, text % {"name": other.name, "position": shared[0]}, is_refused=not is_tried)
        elif actions == {Action.REDIRECT} and rule.url != other.url:
            text = _("“%(name)s” leads the same query to %(url)s. The closer match wins, then the older rule.")
            yield Conflict(other, text % {"name": other.name, "url": other.url})
        elif actions in OPPOSITES and (both := item_ids_of(rule) & item_ids_of(other)):
            text = _("“%(name)s” (%(action)s) is about the same items, %(n)d of them.")
            values = {"name": other.name, "action": other.get_action_display(), "n": len(both)}
            yield Conflict(other, text % values)


def _positions(rule: Rule) -> set[int]:
    first = rule.position or 1
    return set(range(first, first + len(rule.item_ids)))


def _may_meet(rule: Rule, other: Rule) -> bool:
    """Whether one list may obey both: at the same time, in the same slot, for the same people and query."""
    do_overlap = (
        (rule.starts_at is None or other.ends_at is None or rule.starts_at < other.ends_at)
        and (other.starts_at is None or rule.ends_at is None or other.starts_at < rule.ends_at)
        and (not _slot(rule) or not _slot(other) or _slot(rule) == _slot(other))
        and (rule.experiment_id is None or other.experiment_id in (None, rule.experiment_id))
        and (rule.segment_id is None or other.segment_id is None or rule.segment_id == other.segment_id)
    )
    return do_overlap and _may_match_both(rule, other)


def _slot(rule: Rule) -> str:
    """The only slot of a rule, "" for several."""
    return Slot.SEARCH.value if rule.match in (Rule.Match.EXACT, Rule.Match.CONTAINS) else rule.slot


def _may_match_both(rule: Rule, other: Rule) -> bool:
    matches = {rule.match, other.match}
    if matches == {Rule.Match.EXACT}:
        return fold(normal_query(rule.query)) == fold(normal_query(other.query))
    if matches <= {Rule.Match.EXACT, Rule.Match.CONTAINS}:
        return _contains(rule.query, other.query) or _contains(other.query, rule.query)
    if matches == {Rule.Match.CATEGORY}:
        return fold(rule.query) == fold(other.query)
    return True


def _contains(query: str, part: str) -> bool:
    words, wanted = (tuple(map(stem, tokens(text))) for text in (query, part))
    return any(words[start : start + len(wanted)] == wanted for start in range(len(words)))
