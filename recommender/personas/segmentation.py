"""Segments in the database: group the visitors seen last, store the segments, then assign every visitor to one."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterator, Sequence

import numpy as np
from django.db import transaction
from django.db.models import Max, Q, QuerySet
from django.utils import timezone

from recommender import datasets
from recommender.datasets.cleaning import excess_claims
from recommender.experiments.entering import keep_entered
from recommender.features.credibility import control
from recommender.models import Segment, Visitor
from recommender.personas import merging
from recommender.personas.axes import axes_named
from recommender.personas.segments import Previous, Segments, Trait, build_segments, item_counts
from recommender.personas.wording import segment_in_words, spellings_of, trait_in_words
from recommender.tables import Interactions, ItemTable
from recommender.types import FloatArray

N_FITTED = 20_000
"""Visitors seen last that the groups are made from; the others are only assigned to the nearest one."""

COMPUTED = ("name", "traits", "axes", "item_counts", "n_people", "computed_at", "retired_at")
"""The columns of a segment that are written; what staff write meanwhile, such as its name, is left as it is."""

CHUNK_SIZE = 2_000
SEED = 0


def refresh(*, at: dt.datetime | None = None) -> int:
    """Group and assign all visitors in this process, for a command; return the number of segments."""
    n_segments = refresh_segments(at=at)
    for first, last in chunks():
        assign_segments(first, last, at=at)
    return n_segments


def refresh_segments(*, at: dt.datetime | None = None) -> int:
    """Group the visitors anew as of `at` (default now) and store the segments; return how many there are.

    A segment that continues keeps its number and name. Visitors are assigned afterwards by `assign_segments`.
    """
    keep_entered()
    at, items = at or timezone.now(), datasets.read_items()
    newest = _profiled(Visitor.objects.all()).order_by("-last_seen_at", "-pk")
    people = datasets.read_people(list(newest.values_list("pk", flat=True)[:N_FITTED]))
    events = _read(items, people, at)
    events = events.take(~control(events).is_excess)
    previous = Previous(
        stored_segments(items),
        _assigned_numbers(people),
        Segment.objects.filter(is_merged=False).aggregate(highest=Max("number"))["highest"] or 0,
    )
    segments, member = build_segments(
        events, items, at=at.timestamp(), seed=SEED, previous=previous, utc_offset_seconds=_utc_offset(at)
    )
    counts = item_counts(events, member, n_segments=len(segments), n_items=len(items), at=at.timestamp())
    with transaction.atomic():
        _store(segments, counts, items, at)
    return len(segments)


def chunks() -> Iterator[tuple[int, int]]:
    """Return ranges of primary keys that hold `CHUNK_SIZE` visitors each. One query per chunk."""
    last = 0
    while pks := list(Visitor.objects.filter(pk__gt=last).order_by("pk").values_list("pk", flat=True)[:CHUNK_SIZE]):
        yield pks[0], pks[-1]
        last = pks[-1]


def assign_segments(first: int, last: int, *, at: dt.datetime | None = None) -> int:
    """Assign the visitors with first <= pk <= last to their segments; return how many rows changed.

    Visitors who have not consented, have switched profiling off or have shown no taste are in none. May run twice or in
    parallel: the same events give the same segment.
    """
    keep_entered(between=(first, last))
    at, items = at or timezone.now(), datasets.read_items()
    segments = stored_segments(items)
    in_range = Visitor.objects.filter(pk__range=(first, last))
    pks = set(_profiled(in_range).values_list("pk", flat=True))
    users = in_range.filter(user_key__isnull=False).values("user_key")
    of_users = _profiled(Visitor.objects.filter(user_key__in=users)).values_list("pk", flat=True)
    people = datasets.read_people([*pks, *of_users])
    member = np.full(max((row for row, _ in people.values()), default=-1) + 1, -1, np.int64)
    if segments is not None:
        member = segments.members(_read(items, people, at), at=at.timestamp(), n_visitors=len(member))
    segment_pks = dict(Segment.objects.computed().values_list("number", "pk"))
    assigned: dict[int | None, list[int]] = {None: list(in_range.exclude(pk__in=pks).values_list("pk", flat=True))}
    for pk in pks:
        person = people[pk][0] if pk in people else -1
        row = int(member[person]) if person >= 0 else -1
        segment_pk = segment_pks.get(segments.numbers[row]) if segments is not None and row >= 0 else None
        assigned.setdefault(segment_pk, []).append(pk)
    return sum(_assign(group, segment_pk) for segment_pk, group in assigned.items())


def _assign(pks: Sequence[int], segment_pk: int | None) -> int:
    """Write the segment of those visitors that have another one."""
    elsewhere = ~Q(segment=segment_pk) | Q(segment__isnull=True) if segment_pk else Q(segment__isnull=False)
    return Visitor.objects.filter(elsewhere, pk__in=pks).update(segment=segment_pk)


def stored_segments(items: ItemTable) -> Segments | None:
    """Return the segments as arrays over a catalogue, None if there are none. One query."""
    rows = list(Segment.objects.computed().order_by("number"))
    if not rows:
        return None
    names = [(str(block), str(name)) for block, name, *_ in rows[0].axes]
    return Segments(
        numbers=tuple(segment.number for segment in rows),
        axes=axes_named(names, items, utc_offset_seconds=_utc_offset(rows[0].computed_at)),
        centroids=np.asarray([[axis[2] for axis in segment.axes] for segment in rows], np.float32),
        mean=np.asarray([axis[3] for axis in rows[0].axes], np.float32),
        sizes=np.asarray([segment.n_people for segment in rows], np.int64),
    )


def segment_of(visitor_key: uuid.UUID) -> Segment | None:
    """Return the stored segment of a visitor, the merged one where it is part of one, or None. One query."""
    visitor = Visitor.objects.select_related("segment__merged_into").filter(key=visitor_key).first()
    return visitor.segment.whole if visitor and visitor.segment else None


def _store(segments: Segments, counts: FloatArray, items: ItemTable, at: dt.datetime) -> None:
    stored = {segment.number: segment for segment in Segment.objects.filter(is_merged=False)}
    spellings = spellings_of((name for block, name in segments.axes.names if block == "word"), items.texts)
    for row, number in enumerate(segments.numbers):
        segment = stored.get(number, Segment(number=number))
        traits = segments.traits(row)
        if not segment.name or not _is_still_named_right(segment, traits):
            segment.name = segment_in_words(traits, spellings)[:160]
        segment.traits = [
            [*trait.axis, trait_in_words(trait, spellings), round(trait.share, 4), round(trait.overall, 4)]
            for trait in traits
        ]
        shares = zip(segments.axes.names, segments.centroids[row].tolist(), segments.mean.tolist(), strict=True)
        segment.axes = [[*axis, share, overall] for axis, share, overall in shares]
        segment.item_counts = {
            items.ids[item]: round(float(counts[row, item]), 3) for item in np.flatnonzero(counts[row])
        }
        segment.n_people, segment.computed_at, segment.retired_at = int(segments.sizes[row]), at, None
        segment.save(update_fields=COMPUTED if segment.pk else None)
    retired = Segment.objects.computed().exclude(number__in=segments.numbers)
    Visitor.objects.filter(segment__in=retired).update(segment=None)
    retired.update(retired_at=at, n_people=0, item_counts={})
    merging.renew()


def _is_still_named_right(segment: Segment, traits: Sequence[Trait]) -> bool:
    """Return whether the first trait that the stored segment had still distinguishes it."""
    first = next(iter(segment.traits), None)
    return first is not None and (first[0], first[1]) in {trait.axis for trait in traits}


def _profiled(visitors: QuerySet[Visitor]) -> QuerySet[Visitor]:
    return visitors.filter(has_consented=True, is_profiled=True, is_bot=False)


def _read(items: ItemTable, people: datasets.People, at: dt.datetime) -> Interactions:
    """Read the events as recorded, with refunds beside their purchases, but without bots and excess claims."""
    recorded = datasets.read_interactions(items, until=at, people=people, visitor_pks=list(people))
    events = recorded.take(~recorded.is_bot).interactions
    return events.take(~excess_claims(events))


def _assigned_numbers(people: datasets.People) -> dict[int, int]:
    """Return the number of the segment that each person is in, by row of the person."""
    numbers = Visitor.objects.filter(segment__isnull=False).values_list("pk", "segment__number")
    return {people[pk][0]: number for pk, number in numbers if number and pk in people and people[pk][0] >= 0}


def _utc_offset(at: dt.datetime) -> float:
    offset = timezone.localtime(at, timezone.get_default_timezone()).utcoffset()
    return offset.total_seconds() if offset else 0.0
