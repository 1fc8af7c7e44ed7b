"""Warnings about events that are stored but useless for training: unknown items and unknown fields."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from recommender import conf
from recommender.api.parameters import MAX_ID_LENGTH, MAX_NAMED
from recommender.api.serializers import EventSerializer
from recommender.capture import EventDraft, Rejection
from recommender.catalog import catalogs
from recommender.models import Item

Warned = tuple[int, EventDraft, Mapping[str, Any]]
"""The place of a stored event in its body, its draft, and what was sent."""


def warnings_of(stored: Iterable[Warned]) -> list[Rejection]:
    """Warnings of stored events, ascending by place. One query, three where an item does not exist."""
    stored = list(stored)
    hints = strays({draft.item_id for _, draft, _ in stored if draft.item_id})
    fields = list(EventSerializer().fields)
    warnings: list[Rejection] = []
    for index, draft, sent in stored:
        if draft.item_id in hints:
            warnings.append(Rejection(index, "item_id", hints[draft.item_id]))
        warnings += [Rejection(index, name, message) for name, message in _unknown_fields(sent, fields)]
    return warnings


def strays(item_ids: Collection[str]) -> dict[str, str]:
    """What to say of each id that no item has; an item that has left the catalogue exists."""
    existing = Item.objects.filter(item_id__in=item_ids).values_list("item_id", flat=True)
    missing = set(item_ids) - set(existing) if item_ids else set()
    if not missing:
        return {}
    active = Item.objects.filter(is_active=True)
    by_object = active.filter(label__in=[catalog.label for catalog in catalogs()], object_id__in=missing)
    meant = dict(by_object.order_by("-pk").values_list("object_id", "item_id"))
    example = active.values_list("item_id", flat=True).first()
    return {item_id: _said_of(meant.get(item_id), example) for item_id in missing}


def _said_of(meant: str | None, example: str | None) -> str:
    problem = "No item has this id: the event is stored, but it teaches nothing until there is one."
    if meant is not None:
        return f"{problem} Did you mean {meant!r}?"
    return f"{problem} Take ids from search or from a list, such as {example!r}." if example else problem


def _unknown_fields(sent: Mapping[str, Any], fields: list[str]) -> Iterator[tuple[str, str]]:
    for name in sorted(set(sent) - set(fields))[:MAX_NAMED]:
        nearest = conf.closest(name, fields) or f"There are: {', '.join(fields)}."
        yield name[:MAX_ID_LENGTH], f"There is no such field: it is not stored. {nearest}"
