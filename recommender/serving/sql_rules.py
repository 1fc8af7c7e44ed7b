"""The rules of merchandisers for lists that come from SQL: an item that they hide is not shown while a process starts.

What moves items by places is left to the lists in memory, and so are rules for what only a model knows: which category
a query is about.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from django.db.models import BooleanField, Case, Q, QuerySet, When

from recommender.models import Item, Rule
from recommender.rules.checking import OWN_COLUMNS
from recommender.serving.rule_book import compiled, live_rules
from recommender.serving.shelf import empty_shelf
from recommender.types import Request

MOVING = (Rule.Action.BOOST, Rule.Action.BURY)


@dataclass(frozen=True, slots=True)
class Pin:
    """An item that a rule wants at a position, from 1 on, or the next that is free."""

    position: int
    item_id: str
    rule: int


@dataclass(frozen=True, slots=True)
class SqlRules:
    """What the rules make of one request. excluded and wanted tell items by conditions: those that are never shown, and
    those that stand before all others, None for none; pins have positions of their own."""

    rules: tuple[int, ...] = ()
    held_out: tuple[int, ...] = ()
    excluded: Q | None = None
    wanted: Q | None = None
    pins: tuple[Pin, ...] = ()
    redirect: str = ""
    banners: tuple[str, ...] = ()

    def applied_to(self, items: QuerySet[Item]) -> QuerySet[Item]:
        """These items without what is excluded, each with whether it `is_wanted`."""
        if self.excluded is not None:
            items = items.exclude(self.excluded)
        wanted = Q(pk__isnull=False) if self.wanted is None else self.wanted  # PostgreSQL orders by no constant
        return items.annotate(is_wanted=Case(When(wanted, then=True), default=False, output_field=BooleanField()))

    def excluded_among(self, item_ids: Collection[str]) -> frozenset[str]:
        """Which of these items are never shown. One query where a rule excludes any."""
        if self.excluded is None:
            return frozenset()
        return frozenset(Item.objects.filter(self.excluded, item_id__in=item_ids).values_list("item_id", flat=True))


def rules_for(request: Request, sources: Sequence[Rule] | None = None) -> SqlRules:
    """The rules that a request obeys. sources: the live rules; they are read in one query where they are not given."""
    rows = live_rules() if sources is None else sources
    if not rows:
        return SqlRules()
    shelf, row_of = empty_shelf(), {row.pk: row for row in rows}
    applied = compiled(rows, shelf).applied(request, shelf)
    obeyed = [row_of[rule.id] for rule in applied.rules if rule.action not in MOVING]
    filters = [_items_of(row) for row in obeyed if row.action == Rule.Action.FILTER]
    excludes = [_items_of(row) for row in obeyed if row.action == Rule.Action.EXCLUDE]
    return SqlRules(
        tuple(row.pk for row in obeyed),
        applied.held_out,
        _any(excludes),
        Q(*filters) if filters else None,
        tuple(_pins([row for row in obeyed if row.action == Rule.Action.PIN])),
        applied.redirect,
        applied.banners,
    )


def _items_of(rule: Rule) -> Q:
    if rule.item_ids or not rule.attribute:
        return Q(item_id__in=rule.item_ids)
    name = rule.attribute if rule.attribute in OWN_COLUMNS else f"attributes__{rule.attribute}"
    return Q(**{f"{name}__in": rule.values})


def _any(conditions: Sequence[Q]) -> Q | None:
    return Q(*conditions, _connector=Q.OR) if conditions else None


def _pins(rules: Sequence[Rule]) -> list[Pin]:
    return [Pin(rule.position or 1, item_id, rule.pk) for rule in rules for item_id in rule.item_ids]
