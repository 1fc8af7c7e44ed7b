"""The people of a segment as a shop's own system takes them: key, orders, and what they are interested in."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.utils import timezone

from recommender.models import Segment
from recommender.models.corrections import UNCORRECTED
from recommender.models.segments import in_segment
from recommender.outreach import people
from recommender.personas import TitledItems, interests_of
from recommender.types import EventType, PastEvent

N_INTERESTS = 3
COLUMNS = ("user", "orders", "last_order", "interests")
"""Of a member in files and messages; the first is the key of the user."""


@dataclass(frozen=True, slots=True)
class Member:
    """One person of a segment. interests: what they are most interested in, first what most."""

    user_key: str
    n_orders: int
    last_order_on: dt.date | None
    interests: tuple[str, ...]


def members(segment: Segment, catalogue: TitledItems, *, at: dt.datetime | None = None) -> Iterator[Member]:
    """The people of a segment who have an account and have consented, by user key. Four queries for 500 of them."""
    at = at or timezone.now()
    users = people.reachable().filter(in_segment(segment)).values("user_key")
    for page in people.pages_of(people.reachable().filter(user_key__in=users)):
        histories = people.histories_of(page, until=at)
        corrections = people.corrections_by_user(page)
        for key in sorted(set(page.values())):
            interests = interests_of(
                histories.get(key, ()), catalogue, now=at, corrections=corrections.get(key, UNCORRECTED)
            )
            yield _member(key, histories.get(key, ()), tuple(interest.name for interest in interests[:N_INTERESTS]))


def cells_of(member: Member) -> tuple[Any, ...]:
    """A member as cells, in the order of `COLUMNS`."""
    return (member.user_key, member.n_orders, member.last_order_on, "; ".join(member.interests))


def _member(key: str, events: tuple[PastEvent, ...], interests: tuple[str, ...]) -> Member:
    bought = [event for event in events if event.type is EventType.PURCHASE]
    orders = {event.order_id or event.at.isoformat() for event in bought}
    return Member(key, len(orders), bought[-1].at.date() if bought else None, interests)
