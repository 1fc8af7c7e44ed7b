"""Counts the exposure of each day in the background: each hour only what was shown since, so that the page never
reads a list."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

import numpy as np
from django.db import router, transaction
from django.db.models import Count
from django.utils import timezone

from recommender.exposure.catalogue import groups_with_floor, read_columns
from recommender.exposure.groups import Columns, Groups, divided
from recommender.exposure.sums import ALL, ExposureSums, GroupSums, Key, ShownList, summed
from recommender.models import Event, ExposureDay, GroupExposure, GroupFigures, Impression
from recommender.models.claims import ROWS_OF_THE_SHOP
from recommender.models.staff import visitors_of_staff
from recommender.types import EventType

DAY = dt.timedelta(days=1)
N_DAYS_BACK = 30
"""Days that the first count goes back, as many as the page shows."""

SETTLED = dt.timedelta(hours=6)
"""So long after its end a day is counted a last time, with orders and lists that came late."""

CHUNK_SIZE = 2_000
LOOKED_AT = (EventType.SELECT_ITEM.value, EventType.VIEW_ITEM.value)


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a day, which is added to what was counted of it before, or replaces that."""

    day: dt.date
    start: dt.datetime
    end: dt.datetime
    replaces: bool
    is_final: bool


def count_days(*, at: dt.datetime | None = None, everything: bool = False) -> int:
    """Count what was shown since the last count; return the number of lists. Each day is a transaction.

    everything: count all of the last `N_DAYS_BACK` days anew.
    """
    at = at or timezone.now()
    spans = _spans(at, everything=everything)
    if not spans:
        return 0
    columns, apart, staff = read_columns(at=at), groups_with_floor(), visitors_of_staff()
    index = {item_id: row for row, item_id in enumerate(columns.ids)}
    n_lists = 0
    for span in spans:
        groups = divided(columns, at=_midnight(span.day).timestamp(), apart=apart)
        sums = _sums_by_arm(span, groups, index, staff)
        figures = _figures(span, groups, columns, index)
        n_lists += sum(arm.of[ALL].n_lists for arm in sums.values() if arm.of)
        _store(span, sums, figures)
    return n_lists


def _midnight(day: dt.date) -> dt.datetime:
    """The beginning of a day by the current time zone."""
    return timezone.make_aware(dt.datetime.combine(day, dt.time()))


def _spans(at: dt.datetime, *, everything: bool) -> list[Span]:
    """What is to be counted: of today and an unsettled yesterday what is new, of a day that is over all, once."""
    today = timezone.localdate(at)
    counted = {} if everything else {row.day: row for row in ExposureDay.objects.filter(day__gte=today - 31 * DAY)}
    spans = []
    for n_days in range(N_DAYS_BACK - 1, -1, -1):
        day = today - n_days * DAY
        row, start, end = counted.get(day), _midnight(day), min(_midnight(day + DAY), at)
        is_final = at >= _midnight(day + DAY) + SETTLED
        if row is None or (is_final and not row.is_final):
            spans.append(Span(day, start, end, replaces=True, is_final=is_final))
        elif row.counted_until < end and not row.is_final:
            spans.append(Span(day, row.counted_until, end, replaces=False, is_final=False))
    return spans


def _sums_by_arm(
    span: Span, groups: Mapping[str, Groups], index: Mapping[str, int], staff: frozenset[int]
) -> dict[str, ExposureSums]:
    sums: defaultdict[str, ExposureSums] = defaultdict(ExposureSums)
    shown = _shown(span, staff)
    while chunk := list(islice(shown, CHUNK_SIZE)):
        by_arm: defaultdict[str, list[ShownList]] = defaultdict(list)
        for arm, item_ids, first_position in chunk:
            rows = np.array([index.get(str(item_id), -1) for item_id in item_ids], np.int32)
            by_arm[arm].append((rows, first_position))
        for arm, lists in by_arm.items():
            for key, group in summed(lists, groups).of.items():
                sums[arm].add(key, group)
    return sums


def _shown(span: Span, staff: frozenset[int]) -> Iterator[tuple[str, list[str], int]]:
    """Bundle, items and first position of each list that a shopper saw. One query, read in chunks."""
    lists = Impression.objects.filter(is_bot=False, occurred_at__gte=span.start, occurred_at__lt=span.end)
    rows = lists.values_list("bundle", "item_ids", "first_position", "visitor_id").iterator(chunk_size=CHUNK_SIZE)
    return ((bundle, item_ids, first) for bundle, item_ids, first, visitor_id in rows if visitor_id not in staff)


def _figures(
    span: Span, groups: Mapping[str, Groups], columns: Columns, index: Mapping[str, int]
) -> dict[Key, GroupFigures]:
    """What each group has of the catalogue, and of what was ordered and looked at. Two queries."""
    ordered = _wanted(span, index, type=EventType.PURCHASE.value, source=ROWS_OF_THE_SHOP)
    looked_at = _wanted(span, index, type__in=LOOKED_AT)
    figures: dict[Key, GroupFigures] = {}
    for attribute, own in groups.items():
        counted = {"n_items": own.counts(columns.listed), "n_orders": own.counts(ordered),
                   "n_clicks": own.counts(looked_at)}  # fmt: skip
        for name, counts in counted.items():
            for value, n in counts.items():
                row = figures.setdefault(
                    (attribute, value), GroupFigures(day=span.day, attribute=attribute, value=value)
                )
                setattr(row, name, n)
    return figures


def _wanted(span: Span, index: Mapping[str, int], **of_kind: object) -> np.ndarray:
    """The row of each item that people ordered or looked at, repeated as often as they did."""
    events = Event.objects.filter(is_bot=False, occurred_at__gte=span.start, occurred_at__lt=span.end, **of_kind)
    counts = [(index.get(item_id, -1), n) for item_id, n in events.values_list("item_id").annotate(n=Count("pk"))]
    rows, numbers = [row for row, _n in counts if row >= 0], [n for row, n in counts if row >= 0]
    return np.repeat(np.array(rows, np.int64), numbers)


def _store(span: Span, sums: Mapping[str, ExposureSums], figures: dict[Key, GroupFigures]) -> None:
    """Replace the rows of a day; unless the span replaces what was counted before, that is added to the sums."""
    before = [] if span.replaces else list(GroupExposure.objects.filter(day=span.day))
    if not span.replaces:
        for earlier in GroupFigures.objects.filter(day=span.day):
            _add_demand(figures, earlier)
    by_arm: defaultdict[str, ExposureSums] = defaultdict(ExposureSums, sums)
    for row in before:
        own = GroupSums(row.n_lists, row.n_places, row.exposure, row.squares, row.cross)
        by_arm[row.arm].add((row.attribute, row.value), own)
    with transaction.atomic(using=router.db_for_write(GroupExposure)):
        GroupExposure.objects.filter(day=span.day).delete()
        GroupFigures.objects.filter(day=span.day).delete()
        GroupExposure.objects.bulk_create(_rows(span.day, by_arm), batch_size=500)
        GroupFigures.objects.bulk_create(figures.values(), batch_size=500)
        ExposureDay.objects.update_or_create(
            day=span.day, defaults={"counted_until": span.end, "is_final": span.is_final}
        )


def _add_demand(figures: dict[Key, GroupFigures], before: GroupFigures) -> None:
    """Add the demand of earlier hours; the catalogue is the present one."""
    key = before.attribute, before.value
    row = figures.setdefault(key, GroupFigures(day=before.day, attribute=before.attribute, value=before.value))
    row.n_orders += before.n_orders
    row.n_clicks += before.n_clicks


def _rows(day: dt.date, by_arm: Mapping[str, ExposureSums]) -> Iterable[GroupExposure]:
    return [
        GroupExposure(
            day=day, arm=arm, attribute=attribute, value=value, n_lists=own.n_lists, n_places=own.n_places,
            exposure=own.exposure, squares=own.squares, cross=own.cross,
        )
        for arm, sums in sorted(by_arm.items())
        for (attribute, value), own in sorted(sums.of.items())
    ]  # fmt: skip
