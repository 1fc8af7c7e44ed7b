"""Reads searches: what was typed, by whom, and whether anything matched; one repeated within the hour is the same."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass

from recommender.models import Event, Impression
from recommender.models.staff import visitors_of_staff
from recommender.text.query import encoder_text
from recommender.types import EventType, Slot

Person = str | int
"""The key of a user, or the primary key of a visitor who is not signed in."""


@dataclass(slots=True)
class Search:
    """One query of one person within one hour. n_found: how many items matched, None if the list was not ours."""

    query: str
    hour: dt.datetime
    person: Person | None
    n_found: int | None = None


def hour_of(moment: dt.datetime) -> dt.datetime:
    """The hour in which a moment lies, by UTC."""
    return moment.astimezone(dt.UTC).replace(minute=0, second=0, microsecond=0)


def person_of(visitor_id: int | None, user_key: str | None) -> Person | None:
    """The same person on all devices; None if nobody is named."""
    return user_key or visitor_id


def searches_between(start: dt.datetime, end: dt.datetime) -> list[Search]:
    """The searches of a span, without those of bots and of the shop's staff. Two queries, and two for the staff.

    A search event and the first page of a list for the same query are one search, however often it is repeated within
    the hour and whatever filters are chosen meanwhile. A search of nobody counts each time.
    """
    searches: dict[tuple[dt.datetime, Person, str], Search] = {}
    for number, (at, query, visitor_id, user_key, n_found) in enumerate(_rows(start, end)):
        person, hour, text = person_of(visitor_id, user_key), hour_of(at), encoder_text(query)
        if not text:
            continue
        key = (hour, f"nobody {number}" if person is None else person, text)
        search = searches.setdefault(key, Search(text, hour, person))
        if n_found is not None:
            search.n_found = max(n_found, search.n_found or 0)
    return list(searches.values())


_Row = tuple[dt.datetime, str, int | None, str | None, int | None]


def _rows(start: dt.datetime, end: dt.datetime) -> Iterator[_Row]:
    staff = visitors_of_staff()
    columns = ("occurred_at", "query", "visitor_id", "visitor__user_key")
    shared = {"occurred_at__gte": start, "occurred_at__lt": end, "is_bot": False}
    lists = Impression.objects.filter(slot=Slot.SEARCH.value, first_position=1, **shared).exclude(query="")
    for at, query, visitor_id, user_key, n_found in lists.values_list(*columns, "n_found").iterator():
        if visitor_id not in staff:
            yield at, query, visitor_id, user_key, n_found
    events = Event.objects.filter(type=EventType.SEARCH.value, **shared).exclude(query="")
    for at, query, visitor_id, user_key in events.values_list(*columns).iterator():
        if visitor_id not in staff:
            yield at, query, visitor_id, user_key, None
