"""Who was shown a list of an experiment, in which arm and since when: the people whose orders are compared."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import models
from django.db.models import Min

from recommender.experiments.assignment import CONTROL, VARIANT
from recommender.models import Experiment, Impression, Segment, Visitor
from recommender.models.segments import in_segment
from recommender.models.staff import visitors_of_staff


@dataclass(slots=True)
class Exposed:
    """One person: all visitors of theirs, the arms that they saw, and their first list."""

    first: dt.datetime
    user_key: str = ""
    arms: set[str] = field(default_factory=set)
    visitor_pks: set[int] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Exposures:
    """The people of an experiment whose days are over, and how many are left out because their days are not, or because
    they saw both arms, for example before and after they signed in."""

    people: tuple[Exposed, ...]
    n_waiting: int = 0
    n_mixed: int = 0


def lists_of(experiment: Experiment) -> models.QuerySet[Impression]:
    """The lists that shoppers were shown in the experiment."""
    lists = Impression.objects.exclude(arms="").filter(
        arms__regex=rf"(^| ){experiment.pk}[{CONTROL}{VARIANT}]+( |$)", is_bot=False, visitor__isnull=False
    )
    if experiment.started_at is not None:
        lists = lists.filter(occurred_at__gte=experiment.started_at)
    if experiment.ended_at is not None:
        lists = lists.filter(occurred_at__lt=experiment.ended_at)
    return lists


def exposures(experiment: Experiment, *, at: dt.datetime) -> Exposures:
    """The people of an experiment, by `at`. Three queries at most, and one row for each visitor and arm."""
    rows = _first_lists(lists_of(experiment), "arms")
    prefix = str(experiment.pk)
    return _closed(_people(rows, prefix), at - dt.timedelta(days=experiment.outcome_days))


def anybody(since: dt.datetime, until: dt.datetime, *, segment: Segment | None = None) -> Exposures:
    """The people who were shown any list between two moments, of a segment as it is now: what an experiment could
    count on."""
    lists = Impression.objects.filter(
        is_bot=False, visitor__isnull=False, occurred_at__gte=since, occurred_at__lt=until
    )
    if segment is not None:
        lists = lists.filter(in_segment(segment, "visitor__"))
    return Exposures(tuple(_people(_first_lists(lists), "").values()))


def _first_lists(lists: models.QuerySet[Impression], *columns: str) -> Iterable[tuple[Any, ...]]:
    grouped = lists.order_by().values_list("visitor_id", "visitor__user_key", *columns).annotate(Min("occurred_at"))
    return grouped.iterator(chunk_size=5_000)


def _people(rows: Iterable[tuple[Any, ...]], prefix: str) -> dict[str, Exposed]:
    """By user, or by visitor of who has not signed in."""
    staff, people = visitors_of_staff(), dict[str, Exposed]()
    for visitor_pk, user_key, *arms, first in rows:
        if visitor_pk in staff:
            continue
        person = people.setdefault(user_key or f"visitor {visitor_pk}", Exposed(first, user_key or ""))
        person.first = min(person.first, first)
        person.visitor_pks.add(visitor_pk)
        person.arms.update(arm for text in arms for arm in _arms_in(text, prefix))
    return people


def _arms_in(text: str, prefix: str) -> list[str]:
    """The arms of one experiment in what is logged of a list, such as "7b 9ab"."""
    return [token.removeprefix(prefix) for token in text.split() if token.rstrip(CONTROL + VARIANT) == prefix]


def _closed(people: dict[str, Exposed], until: dt.datetime) -> Exposures:
    single = [person for person in people.values() if len(person.arms) == 1]
    closed = tuple(person for person in single if person.first <= until)
    return Exposures(closed, len(single) - len(closed), len(people) - len(single))


def all_visitors_of(people: Sequence[Exposed]) -> dict[int, int]:
    """By primary key of each visitor of these people, the person's index: of those too who only ordered. One query."""
    index = {pk: number for number, person in enumerate(people) for pk in person.visitor_pks}
    users = {person.user_key: number for number, person in enumerate(people) if person.user_key}
    signed_in = Visitor.objects.filter(user_key__isnull=False).order_by().values_list("pk", "user_key")
    for pk, user_key in signed_in.iterator(chunk_size=5_000) if users else ():
        if user_key in users:
            index.setdefault(pk, users[user_key])
    return index
