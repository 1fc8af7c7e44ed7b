"""Warnings about events that are stored but useless for training: unknown items, lists and fields."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from recommender import conf
from recommender.api.parameters import MAX_ID_LENGTH, MAX_NAMED
from recommender.api.serializers import EventSerializer
from recommender.capture import EventDraft, Rejection
from recommender.catalog import catalogs
from recommender.models import Impression, Item, Visitor

FOREIGN_LIST = (
    "No list of this visitor has this id: the event is stored without it. Send the ranking_id of the list in which the "
    "item was chosen, as this visitor's own token got it."
)
UNKNOWN_LIST = "No list with this id is recorded: the event is stored, but it leads back to no list."

Warned = tuple[int, EventDraft, Mapping[str, Any]]
"""The place of a stored event in its body, its draft, and what was sent."""


NIL = uuid.UUID(int=0)


def own_rankings(indices: list[int], drafts: list[EventDraft]) -> tuple[list[EventDraft], dict[int, str]]:
    """The drafts without lists that are another's, and by place in the body what to say of a list.

    A list that is not known stays: its recording may have failed. One query where a list is named, two where it was
    shown to another visitor, who may be the same person.
    """
    owners = _owners_of({draft.ranking_id for draft in drafts if draft.ranking_id is not None} - {NIL})
    own_keys = {draft.visitor_key for draft in drafts if draft.visitor_key is not None}
    if any(key not in own_keys for key, _user_key in owners.values()):
        users = Visitor.objects.filter(key__in=own_keys, user_key__isnull=False)
        own_users = set(users.values_list("user_key", flat=True))
    else:
        own_users = set()
    messages: dict[int, str] = {}
    for position, (index, draft) in enumerate(zip(indices, drafts, strict=True)):
        if draft.ranking_id is None:
            continue
        key, user_key = owners.get(draft.ranking_id, (None, None))
        if draft.ranking_id == NIL or (
            draft.ranking_id in owners and key not in own_keys and user_key not in own_users
        ):
            drafts[position] = replace(draft, ranking_id=None, position=None)
            messages[index] = FOREIGN_LIST
        elif draft.ranking_id not in owners:
            messages[index] = UNKNOWN_LIST
    return drafts, messages


def _owners_of(ranking_ids: Collection[uuid.UUID]) -> dict[uuid.UUID, tuple[uuid.UUID | None, str | None]]:
    """The key and the user of the visitor to whom each list was shown. One query, none for no list."""
    if not ranking_ids:
        return {}
    rows = Impression.objects.filter(ranking_id__in=ranking_ids)
    owners = rows.values_list("ranking_id", "visitor__key", "visitor__user_key")
    return {ranking_id: (key, user_key) for ranking_id, key, user_key in owners}


def warnings_of(stored: Iterable[Warned], *, foreign: Mapping[int, str]) -> list[Rejection]:
    """Warnings of stored events, ascending by place. One query, three where an item does not exist."""
    stored = list(stored)
    hints = strays({draft.item_id for _, draft, _ in stored if draft.item_id})
    fields = list(EventSerializer().fields)
    warnings: list[Rejection] = []
    for index, draft, sent in stored:
        if draft.item_id in hints:
            warnings.append(Rejection(index, "item_id", hints[draft.item_id]))
        if index in foreign:
            warnings.append(Rejection(index, "ranking_id", foreign[index]))
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
