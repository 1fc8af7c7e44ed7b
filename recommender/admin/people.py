"""The people behind visitors: their names, their numbers of events, and the shopper that the pipeline sees."""

from __future__ import annotations

import datetime as dt
import uuid
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import AbstractBaseUser
from django.core.exceptions import ValidationError
from django.db.models import Count, Q, QuerySet
from django.utils import timezone

from recommender.models import Event, Visitor
from recommender.models.claims import PAST_EVENT_COLUMNS, past_events
from recommender.models.corrections import UNCORRECTED, Corrections, corrections_of
from recommender.models.segments import whole_id
from recommender.types import Context, Live, PastEvent

N_MATCHES = 200
"""Most people that a search may find; with more, its words are too common."""

N_NAMED = 6
"""People who are named where words mean several."""

N_EVENTS = 500
"""Newest events that a description uses; the pipeline reads as many."""


def names_of(user_keys: Iterable[str | None]) -> dict[str, str]:
    """Return the shop's name for each key that is a user's; one query, none for no key."""
    keys = {key for key in user_keys if key}
    pks = {pk for key in keys if (pk := _user_pk(key)) is not None}
    if not pks:
        return {}
    return {str(user.pk): _name(user) for user in get_user_model()._default_manager.filter(pk__in=pks)}


def keys_matching(words: str) -> list[str]:
    """Return keys of the users whose name holds `words`, at most `N_MATCHES`. One query."""
    model = get_user_model()
    field_names = {entry.name for entry in model._meta.get_fields()}
    fields = [model.USERNAME_FIELD, *(name for name in ("first_name", "last_name") if name in field_names)]
    matches = Q()
    for word in words.split()[:4]:
        condition = Q()
        for name in fields:
            condition |= Q(**{f"{name}__icontains": word})
        matches &= condition
    if not matches:
        return []
    return [str(pk) for pk in model._default_manager.filter(matches).values_list("pk", flat=True)[:N_MATCHES]]


def visitors_matching(words: str) -> Q:
    """Return the condition on `Visitor` for a search by name, user key or visitor key; every part has an index."""
    words = words.strip()
    condition = Q(user_key__in=[words, *keys_matching(words)])
    key = uuid_or_none(words)
    return condition | Q(key=key) if key else condition


def people_named(words: str) -> list[Visitor]:
    """Return the newest visitor of each person whom words name, at most `N_NAMED`; a whole user name names one."""
    words = words.strip()
    model = get_user_model()
    exact = model._default_manager.filter(**{model.USERNAME_FIELD: words}).values_list("pk", flat=True)
    keys = [str(pk) for pk in exact]
    condition = Q(user_key__in=keys) if keys else visitors_matching(words)
    by_person: dict[str, Visitor] = {}
    for visitor in Visitor.objects.filter(condition).order_by("-last_seen_at")[:N_MATCHES]:
        by_person.setdefault(visitor.user_key or str(visitor.key), visitor)
    return list(by_person.values())[:N_NAMED]


def uuid_or_none(words: str) -> uuid.UUID | None:
    """Return the UUID that was typed; None for anything else."""
    try:
        return uuid.UUID(words)
    except ValueError:
        return None


def visitors_of(visitor: Visitor) -> QuerySet[Visitor]:
    """Return all visitors that are the same person: those with the same user key, else the one."""
    if visitor.user_key:
        return Visitor.objects.filter(user_key=visitor.user_key)
    return Visitor.objects.filter(pk=visitor.pk)


def n_events_of(visitors: Sequence[Visitor]) -> dict[int, int]:
    """Return the number of events of each person on a page, by the visitor's pk. Two queries for any page."""
    keys = [visitor.user_key for visitor in visitors if visitor.user_key]
    same = list(Visitor.objects.filter(user_key__in=keys).values_list("pk", "user_key")) if keys else []
    pks = {visitor.pk for visitor in visitors} | {pk for pk, _ in same}
    rows = Event.objects.filter(visitor_id__in=pks).order_by().values_list("visitor_id").annotate(n=Count("pk"))
    by_visitor: dict[int | None, int] = dict(rows)
    by_user: Counter[str] = Counter()
    for pk, key in same:
        by_user[key or ""] += by_visitor.get(pk, 0)
    return {v.pk: by_user[v.user_key] if v.user_key else by_visitor.get(v.pk, 0) for v in visitors}


@dataclass(slots=True)
class SeenAs:
    """A visitor as the pipeline sees a shopper, but without a request, so that nothing is recorded."""

    person_key: str
    events: tuple[PastEvent, ...] = ()
    device: str = ""
    live: dict[str, Live | None] = field(default_factory=dict)
    n_live_reads: int = 0
    segment_id: int | None = None
    corrections: Corrections = UNCORRECTED
    entered: frozenset[int] = frozenset()

    def history(self) -> tuple[PastEvent, ...]:
        return self.events

    def context(self, at: dt.datetime | None = None) -> Context:
        return Context(at or timezone.now(), device=self.device)


def seen_as(visitor: Visitor, *, at: dt.datetime | None = None) -> SeenAs:
    """Return the shopper with the newest `N_EVENTS` events of the person until a moment. Two queries."""
    consenting = visitors_of(visitor).filter(has_consented=True, is_profiled=True)
    rows = list(consenting.order_by("-last_seen_at").values_list("pk", "device", "corrections", whole_id(), "entered"))
    devices = {pk: device for pk, device, *_columns in rows}
    device = visitor.device or next(filter(None, devices.values()), "")
    return SeenAs(
        visitor.user_key or str(visitor.key),
        newest_events(list(devices), until=at),
        device,
        segment_id=next((segment_id for pk, *_columns, segment_id, _entered in rows if pk == visitor.pk), None),
        corrections=corrections_of(row[2] for row in rows),
        entered=frozenset(number for row in rows for number in row[-1] or ()),
    )


def newest_events(visitor_pks: Sequence[int], *, until: dt.datetime | None = None) -> tuple[PastEvent, ...]:
    """Return the newest events of some visitors, until a moment, oldest first. One query."""
    events = Event.objects.filter(visitor_id__in=visitor_pks)
    if until is not None:
        events = events.filter(occurred_at__lte=until)
    rows = events.order_by("-occurred_at", "-pk").values_list(*PAST_EVENT_COLUMNS)[:N_EVENTS]
    return past_events(list(rows))


def _user_pk(key: str) -> Any:
    """Return the key as a primary key of the user model; None where it is none."""
    try:
        return get_user_model()._meta.pk.to_python(key)
    except ValidationError:
        return None


def _name(user: AbstractBaseUser) -> str:
    full_name = getattr(user, "get_full_name", str)()
    return str(full_name).strip() or user.get_username()
