"""Read the lists that were shown, and what they led to: the labels of the heads that predict clicks and purchases."""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from recommender.datasets.cleaning import CLOCK_SKEW_SECONDS, MAX_VIEWS_PER_DAY, Recorded
from recommender.datasets.columns import People, PeopleColumns, claims_of, days_of, seconds_of
from recommender.datasets.pages import rows_of
from recommender.datasets.reading import codes_of, read_people
from recommender.durations import LABEL_WINDOW_SECONDS
from recommender.features.credibility import control
from recommender.models import Event, Impression
from recommender.models.claims import ROWS_OF_THE_SHOP, counted_as, order_of
from recommender.models.staff import visitors_of_staff
from recommender.tables import Impressions, Interactions, ItemTable
from recommender.types import EVENT_CODES, SLOT_CODES, Slot, TimeArray

OUTCOMES = {"select_item": 0, "add_to_cart": 1, "purchase": 2}
"""The row of each event type in the result of `_outcomes`."""


class _ImpressionRow(NamedTuple):
    """The columns of `models.Impression` that are read."""

    pk: uuid.UUID
    visitor_id: int
    occurred_at: dt.datetime
    slot: str
    query: str
    current_item_id: str
    item_ids: list[str]
    propensities: Any
    first_position: int


class _OutcomeRow(NamedTuple):
    """The columns of `models.Event` that are read."""

    pk: int
    type: str
    item_id: str
    occurred_at: dt.datetime
    received_at: dt.datetime
    ranking_id: uuid.UUID
    visitor_id: int
    source: str
    order_id: str


def read_impressions(
    items: ItemTable, *, people: People | None = None, until: dt.datetime | None = None
) -> Impressions:
    """Read the lists shown to identified visitors, ascending by time, and their outcome within `LABEL_WINDOW_SECONDS`.

    Left out are lists and events of bots, of the shop's staff and of anonymous visitors, and all lists of a person on a
    day with more than `MAX_VIEWS_PER_DAY`. An event counts if the same person caused it through the list's token; a
    cart and an order imply the click. One query per 20,000 lists and per 20,000 events.
    """
    people = read_people() if people is None else people
    read_pks = {pk for pk, person in people.items() if person.row >= 0 and not person.is_bot} - visitors_of_staff()
    stored = Impression.objects.filter(is_bot=False, visitor__isnull=False)
    if until is not None:
        stored = stored.filter(occurred_at__lt=until)
    rows = (_ImpressionRow(*row) for row in rows_of(stored, _ImpressionRow._fields, after=uuid.UUID(int=0)))
    lists = sorted((row for row in rows if row.visitor_id in read_pks), key=lambda row: row.occurred_at)
    lists = _without_floods(lists, people)
    impressions = _without_outcomes(lists, items, people)
    clicked, carted, bought = _outcomes(
        impressions, {row.pk: number for number, row in enumerate(lists)}, items, people
    )
    return dataclasses.replace(impressions, clicked=clicked, carted=carted, bought=bought)


def _without_floods(lists: list[_ImpressionRow], people: People) -> list[_ImpressionRow]:
    days = [(people[row.visitor_id].row, row.occurred_at.date()) for row in lists]
    n_lists = Counter(days)
    return [row for row, day in zip(lists, days, strict=True) if n_lists[day] <= MAX_VIEWS_PER_DAY]


def _without_outcomes(lists: list[_ImpressionRow], items: ItemTable, people: People) -> Impressions:
    item_row = {item_id: row for row, item_id in enumerate(items.ids)}
    query_code = codes_of(row.query for row in lists)
    sizes = np.array([len(row.item_ids) for row in lists], np.int64)
    start = np.concatenate(([0], np.cumsum(sizes)))
    first_position = np.array([row.first_position for row in lists], np.int64)
    propensities = [chance for row in lists for chance in _propensities(row.propensities, len(row.item_ids))]
    item = [item_row.get(item_id, Recorded.UNKNOWN_ITEM) for row in lists for item_id in row.item_ids]
    never = np.full(len(item), np.inf)
    return Impressions(
        visitor=np.array([people[row.visitor_id].row for row in lists], np.int32),
        slot=np.array([SLOT_CODES[Slot(row.slot)] for row in lists], np.int8),
        time=np.array([row.occurred_at.timestamp() for row in lists], np.float64),
        query=np.array([query_code[row.query] for row in lists], np.int32),
        current=np.array([item_row.get(row.current_item_id, -1) for row in lists], np.int32),
        start=start,
        item=np.array(item, np.int32),
        position=(np.arange(len(item)) - np.repeat(start[:-1] - first_position, sizes)).astype(np.int32),
        propensity=np.array(propensities, np.float32),
        clicked=never,
        carted=never,
        bought=never,
        queries=tuple(filter(None, query_code)),
    )


def _propensities(stored: Any, n: int) -> list[float]:
    """Return the propensities of one list; 1 where none, or an invalid one, is stored."""
    if not isinstance(stored, list) or len(stored) != n:
        return [1.0] * n
    return [float(chance) if isinstance(chance, int | float) and 0 < chance <= 1 else 1.0 for chance in stored]


def _outcomes(
    impressions: Impressions, list_numbers: Mapping[uuid.UUID, int], items: ItemTable, people: People
) -> TimeArray:
    """Return (3, m): when each entry was first clicked, carted and bought by the person who saw it, inf for never."""
    item_row = {item_id: row for row, item_id in enumerate(items.ids)}
    events = Event.objects.filter(type__in=list(OUTCOMES), ranking_id__isnull=False, is_bot=False)
    rows = [
        row for row in (_OutcomeRow(*row) for row in rows_of(events, _OutcomeRow._fields))
        if row.ranking_id in list_numbers and row.item_id in item_row
    ]  # fmt: skip
    first = np.full((len(OUTCOMES), len(impressions.item)), np.inf)
    if not rows:
        return first
    happened = _happened(rows, item_row, people)
    credited = np.flatnonzero(~control(happened).is_excess)
    rows, happened = [rows[row] for row in credited], happened.take(credited)
    number = np.array([list_numbers[row.ranking_id] for row in rows], np.int64)
    outcome = np.array([OUTCOMES[counted_as(row.type, row.source)] for row in rows], np.int64)
    item, time, person = happened.item.astype(np.int64), happened.time, happened.visitor
    shown_at = impressions.time[number]
    is_in_time = (time >= shown_at - CLOCK_SKEW_SECONDS) & (time < shown_at + LABEL_WINDOW_SECONDS)
    key = np.repeat(np.arange(len(impressions)), np.diff(impressions.start)) * (len(items) + 2) + impressions.item + 2
    event_key = number * (len(items) + 2) + item + 2
    order = np.argsort(key, kind="stable")
    entry = order[np.minimum(np.searchsorted(key, event_key, sorter=order), len(key) - 1)]
    counts = (person == impressions.visitor[number]) & is_in_time & (key[entry] == event_key)
    np.minimum.at(first, (outcome[counts], entry[counts]), np.maximum(time, shown_at)[counts])
    first[0] = first.min(axis=0)
    return first


def _happened(rows: list[_OutcomeRow], item_row: Mapping[str, int], people: People) -> Interactions:
    """Return the events as interactions, in the same order."""
    order_code = codes_of(order_of(row.order_id, row.source) for row in rows)
    time, received = (seconds_of([getattr(row, name) for row in rows]) for name in ("occurred_at", "received_at"))
    visitor = np.array([row.visitor_id or 0 for row in rows], np.int64)
    is_row = np.array([row.source == ROWS_OF_THE_SHOP for row in rows], bool)
    person, _ = PeopleColumns.of(people).look_up(visitor)
    return Interactions(
        visitor=person.astype(np.int32),
        item=np.array([item_row[row.item_id] for row in rows], np.int32),
        type=np.array([EVENT_CODES[counted_as(row.type, row.source)] for row in rows], np.int8),
        time=time,
        quantity=np.ones(len(rows), np.float32),
        basket=np.array([order_code[order_of(row.order_id, row.source)] for row in rows], np.int32),
        query=np.full(len(rows), -1, np.int32),
        claim=claims_of(visitor, person, received, is_row),
        day=days_of(time, received, is_row),
    )
