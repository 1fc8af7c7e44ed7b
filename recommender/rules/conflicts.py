"""Finds rules that collide: two pins for one position, redirects in a circle, or opposite wishes for one item."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass

from django.db.models import Q
from django.utils.translation import gettext as _

from recommender.models import Rule
from recommender.rules.checking import item_ids_of
from recommender.rules.meeting import may_meet
from recommender.rules.redirects import loop_through, query_led_to

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
    return [*_loops(rule, others), *_collisions(rule, others)]


def _loops(rule: Rule, others: Iterable[Rule]) -> Iterable[Conflict]:
    """The redirects that lead a shopper back to the query from which this one leads away."""
    if rule.action != Action.REDIRECT:
        return
    redirects = [other for other in others if other.action == Action.REDIRECT]
    if loop := loop_through(rule, redirects):
        text = _("“%(name)s” leads the search for “%(query)s” back to where this rule leads away from, so that nobody "
                 "would arrive. Lead one of them to another page.")  # fmt: skip
        words = {"name": "”, “".join(other.name for other in loop), "query": query_led_to(rule.url)}
        yield Conflict(loop[-1], text % words, is_refused=True)


def _collisions(rule: Rule, others: Iterable[Rule]) -> Iterable[Conflict]:
    for other in others:
        if not may_meet(rule, other):
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
