"""Who may be written to: people with an account who have consented and are personalised, a page of them at a time."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from django.db.models import Q, QuerySet

from recommender.features.profiles import profile_of
from recommender.models import Event, Visitor
from recommender.models.claims import PAST_EVENT_COLUMNS, past_events
from recommender.models.corrections import Corrections, corrections_of
from recommender.tables import Profile
from recommender.types import Context, EventType, PastEvent, Request, Slot

PEOPLE_A_PAGE = 500
"""People whose events are in memory at the same time."""

People = Mapping[int, str]
"""The key of the user of each visitor, by the visitor's primary key."""


def reachable() -> QuerySet[Visitor]:
    """The visitors of users who have consented. Nobody who has objected, or has switched personalisation off, on any of
    their devices."""
    unwilling = Visitor.objects.filter(Q(is_profiled=False) | Q(has_objected=True), user_key__isnull=False)
    consenting = Visitor.objects.filter(user_key__isnull=False, has_consented=True, is_profiled=True, is_bot=False)
    return consenting.exclude(user_key__in=unwilling.values("user_key"))


def pages_of(visitors: QuerySet[Visitor], *, most_people: int | None = None) -> Iterator[People]:
    """These visitors by the key of their user, ascending, `PEOPLE_A_PAGE` users at a time. Two queries a page."""
    last, n_people = "", 0
    while most_people is None or n_people < most_people:
        limit = PEOPLE_A_PAGE if most_people is None else min(PEOPLE_A_PAGE, most_people - n_people)
        users = visitors.filter(user_key__gt=last).order_by("user_key").values_list("user_key", flat=True).distinct()
        keys = [key for key in users[:limit] if key]
        if not keys:
            return
        yield {pk: key or "" for pk, key in visitors.filter(user_key__in=keys).values_list("pk", "user_key")}
        last, n_people = keys[-1], n_people + len(keys)


def histories_of(
    people: People, *, until: dt.datetime, types: Sequence[EventType] = tuple(EventType)
) -> dict[str, tuple[PastEvent, ...]]:
    """The events of each person before `until`, oldest first, by the key of the user, ascending. One query."""
    rows: dict[str, list[tuple[object, ...]]] = defaultdict(list)
    events = Event.objects.filter(visitor_id__in=people, type__in=types, is_bot=False, occurred_at__lt=until)
    for row in events.order_by("-occurred_at", "-pk").values_list(*PAST_EVENT_COLUMNS, "visitor_id"):
        rows[people[row[-1] or 0]].append(row)
    return {key: past_events(rows[key]) for key in sorted(rows)}


def corrections_by_user(people: People) -> dict[str, Corrections]:
    """What staff corrected of the interests of these people, by the key of the user. One query."""
    columns: dict[str, list[object]] = defaultdict(list)
    rows = Visitor.objects.filter(pk__in=people, corrections__isnull=False).values_list("pk", "corrections")
    for pk, column in rows:
        columns[people[pk]].append(column)
    return {key: corrections_of(entries) for key, entries in columns.items()}


def item_numbers(histories: Mapping[str, tuple[PastEvent, ...]]) -> dict[str, int]:
    """A number for each item of these histories, from 0 on in the order of appearance."""
    item_ids = dict.fromkeys(event.item_id for events in histories.values() for event in events if event.item_id)
    return {item_id: number for number, item_id in enumerate(item_ids)}


def profile_from(events: tuple[PastEvent, ...], numbers: Mapping[str, int], at: dt.datetime) -> Profile:
    """A history as the arrays that lists are computed from, its refunds taken off its purchases."""
    return profile_of(Request(Slot.BUY_AGAIN, Context(at), history=events), numbers)
