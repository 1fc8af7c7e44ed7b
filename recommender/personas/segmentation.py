"""Segments in SQL: the newest visitors' events in, a few `Segment` rows out; then the segment of every visitor."""

from __future__ import annotations

import datetime as dt
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from django.db import transaction
from django.db.models import Max, Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext, gettext_lazy

from recommender import datasets
from recommender.datasets.cleaning import Recorded, excess_claims
from recommender.models import Segment, Visitor
from recommender.personas.axes import Axis, axes_named
from recommender.personas.segments import Segments, Trait, build_segments, lifts
from recommender.tables import Interactions, ItemTable
from recommender.text.vocabulary import terms

N_FITTED = 20_000
"""Visitors seen last that the groups are made of; the others are only put into the nearest one."""

CHUNK_SIZE = 2_000
SEED = 0

TELLING_RATIO = 1.15
"""An axis enters the name of a segment when its members have this much more of it than everybody."""

WORDED: Mapping[Axis, Any] = {
    ("price", "low"): gettext_lazy("low price"),
    ("price", "middle"): gettext_lazy("middle price"),
    ("price", "high"): gettext_lazy("high price"),
    ("time", "weekday morning"): gettext_lazy("weekday mornings"),
    ("time", "weekday afternoon"): gettext_lazy("weekday afternoons"),
    ("time", "weekday evening"): gettext_lazy("weekday evenings"),
    ("time", "weekend"): gettext_lazy("weekends"),
    ("orders", "none"): gettext_lazy("no order yet"),
    ("orders", "one"): gettext_lazy("one order"),
    ("orders", "often"): gettext_lazy("order often"),
    ("orders", "seldom"): gettext_lazy("order now and then"),
    ("device", "mobile"): gettext_lazy("by phone"),
    ("device", "tablet"): gettext_lazy("by tablet"),
    ("device", "desktop"): gettext_lazy("at a computer"),
}
TASTES = ("category", "word")
HABITS = ("time", "orders", "device")


def refresh_segments(*, at: dt.datetime | None = None) -> int:
    """Group the visitors anew as of `at` (default now) and store the segments; return how many there are.

    A segment keeps its number and its name while it stays itself. Members follow by `assign_segments`.
    """
    at = at or timezone.now()
    items = datasets.read_items()
    people = datasets.read_people(_fitted_pks())
    events = _read(items, people, at)
    found, _ = build_segments(
        events,
        items,
        at=at.timestamp(),
        seed=SEED,
        before=stored_segments(items),
        members_before=_members_before(people),
        highest=Segment.objects.aggregate(most=Max("number"))["most"] or 0,
        utc_offset_seconds=_utc_offset(at),
    )
    with transaction.atomic():
        _store(found, items, at)
    return len(found)


def chunks() -> Iterator[tuple[int, int]]:
    """Return ranges of primary keys that hold `CHUNK_SIZE` visitors each. One query per chunk."""
    last = 0
    while pks := list(Visitor.objects.filter(pk__gt=last).order_by("pk").values_list("pk", flat=True)[:CHUNK_SIZE]):
        yield pks[0], pks[-1]
        last = pks[-1]


def assign_segments(first: int, last: int, *, at: dt.datetime | None = None) -> int:
    """Put the visitors with first <= pk <= last into their segments; return how many rows changed.

    Who has not consented, has switched profiling off, or has shown no taste is in none. May run twice or at once with
    others: the same events give the same segment.
    """
    at, items = at or timezone.now(), datasets.read_items()
    segments = stored_segments(items)
    here = Visitor.objects.filter(pk__range=(first, last))
    pks = set(_profiled(here).values_list("pk", flat=True))
    users = here.filter(user_key__isnull=False).values("user_key")
    people = datasets.read_people(
        [*pks, *_profiled(Visitor.objects.filter(user_key__in=users)).values_list("pk", flat=True)]
    )
    rows = {pk: row for pk, (row, _) in people.items() if row >= 0}
    n_people = max(rows.values(), default=-1) + 1
    member = np.full(n_people, -1, np.int64)
    if segments is not None:
        member = segments.members(_read(items, people, at), at=at.timestamp(), n_visitors=n_people)
    keys = dict(Segment.objects.filter(retired_at=None).values_list("number", "pk"))
    wanted: dict[int | None, list[int]] = {None: list(here.exclude(pk__in=pks).values_list("pk", flat=True))}
    for pk in pks:
        row = int(member[rows[pk]]) if pk in rows else -1
        key = keys.get(segments.numbers[row]) if segments is not None and row >= 0 else None
        wanted.setdefault(key, []).append(pk)
    return sum(_put(group, key) for key, group in wanted.items())


def refresh(*, at: dt.datetime | None = None) -> int:
    """Group and assign in this process, for a command; return the number of segments."""
    n_segments = refresh_segments(at=at)
    for first, last in chunks():
        assign_segments(first, last, at=at)
    return n_segments


def stored_segments(items: ItemTable) -> Segments | None:
    """Return the segments as arrays over a catalogue, None where there are none. One query."""
    rows = list(Segment.objects.filter(retired_at=None).order_by("number"))
    if not rows:
        return None
    names = [(str(axis[0]), str(axis[1])) for axis in rows[0].axes]
    place = {item_id: row for row, item_id in enumerate(items.ids)}
    counts = np.zeros((len(rows), len(items)), np.float32)
    for row, segment in enumerate(rows):
        for item_id, count in segment.item_counts.items():
            if item_id in place:
                counts[row, place[item_id]] = count
    return Segments(
        numbers=tuple(segment.number for segment in rows),
        axes=axes_named(names, items, utc_offset_seconds=_utc_offset(rows[0].computed_at)),
        centroids=np.asarray([[axis[2] for axis in segment.axes] for segment in rows], np.float32),
        mean=np.asarray([axis[3] for axis in rows[0].axes], np.float32),
        sizes=np.asarray([segment.n_people for segment in rows], np.int64),
        counts=counts,
        lift=lifts(counts, counts.sum(axis=0)),
    )


def segment_of(visitor_key: uuid.UUID) -> Segment | None:
    """Return the stored segment of a visitor; None for one in no segment. One query."""
    visitor = Visitor.objects.select_related("segment").filter(key=visitor_key).first()
    return visitor.segment if visitor else None


def in_words(traits: Sequence[Trait], written: Mapping[str, str]) -> str:
    """Return "Christmas and vintage, low price, weekday mornings": kinds, price, one habit; `written` by stem."""
    telling = [trait for trait in traits if trait.share >= TELLING_RATIO * trait.overall]
    tastes = [trait_in_words(trait, written) for trait in telling if trait.axis[0] in TASTES][:2]
    parts = [gettext("%(first)s and %(second)s") % {"first": tastes[0], "second": tastes[1]}] if tastes[1:] else tastes
    for blocks in (("price",), HABITS):
        parts += [trait_in_words(trait, written) for trait in telling if trait.axis[0] in blocks][:1]
    text = ", ".join(parts) or gettext("a bit of everything")
    return text[:1].upper() + text[1:]


def trait_in_words(trait: Trait, written: Mapping[str, str]) -> str:
    """Return an axis as people say it."""
    block, name = trait.axis
    return str(WORDED[trait.axis]) if trait.axis in WORDED else written.get(name, name) if block == "word" else name


def _store(found: Segments, items: ItemTable, at: dt.datetime) -> None:
    known = {segment.number: segment for segment in Segment.objects.all()}
    written = _written(items, [name for block, name in found.axes.names if block == "word"])
    for row, number in enumerate(found.numbers):
        segment = known.get(number, Segment(number=number))
        traits = found.traits(row)
        if not segment.name or not _is_still(segment, traits):
            segment.name = in_words(traits, written)[:160]
        segment.traits = [
            [*trait.axis, trait_in_words(trait, written), round(trait.share, 4), round(trait.overall, 4)]
            for trait in traits
        ]
        shares = zip(found.axes.names, found.centroids[row].tolist(), found.mean.tolist(), strict=True)
        segment.axes = [[*axis, share, overall] for axis, share, overall in shares]
        counted = np.flatnonzero(found.counts[row])
        segment.item_counts = {items.ids[place]: round(float(found.counts[row, place]), 3) for place in counted}
        segment.n_people, segment.computed_at, segment.retired_at = int(found.sizes[row]), at, None
        segment.save()
    gone = Segment.objects.filter(retired_at=None).exclude(number__in=found.numbers)
    Visitor.objects.filter(segment__in=gone).update(segment=None)
    gone.update(retired_at=at, n_people=0, item_counts={})


def _is_still(segment: Segment, traits: Sequence[Trait]) -> bool:
    """Does the first thing that the stored segment was told by still distinguish it? Then its name stays."""
    first = next(iter(segment.traits), None)
    return first is not None and (first[0], first[1]) in {trait.axis for trait in traits}


def _written(items: ItemTable, stems: Iterable[str]) -> dict[str, str]:
    """Return each stem as the titles mostly write it."""
    wanted, forms = set(stems), dict[str, Counter[str]]()
    for text in items.texts:
        for stem, words in terms(text).items():
            if stem in wanted:
                forms.setdefault(stem, Counter())[words] += 1
    return {stem: min(found, key=lambda words: (-found[words], words)) for stem, found in forms.items()}


def _profiled(visitors: QuerySet[Visitor]) -> QuerySet[Visitor]:
    return visitors.filter(has_consented=True, is_profiled=True, is_bot=False)


def _fitted_pks() -> list[int]:
    return list(
        _profiled(Visitor.objects.all()).order_by("-last_seen_at", "-pk").values_list("pk", flat=True)[:N_FITTED]
    )


def _read(items: ItemTable, people: datasets.People, at: dt.datetime) -> Interactions:
    """Read the events as they were recorded, refunds beside their purchases; none of bots, none claimed too often."""
    recorded: Recorded = datasets.read_interactions(items, until=at, people=people)
    events = recorded.take(~recorded.is_bot).interactions
    return events.take(~excess_claims(events))


def _members_before(people: datasets.People) -> dict[int, int]:
    """Return the number of the segment of each person that has one, by row."""
    told = Visitor.objects.filter(segment__isnull=False).values_list("pk", "segment__number")
    return {people[pk][0]: number for pk, number in told if number and pk in people and people[pk][0] >= 0}


def _put(pks: Sequence[int], key: int | None) -> int:
    elsewhere = Q(segment__isnull=False) if key is None else ~Q(segment=key) | Q(segment__isnull=True)
    return Visitor.objects.filter(elsewhere, pk__in=pks).update(segment=key)


def _utc_offset(at: dt.datetime) -> float:
    offset = timezone.localtime(at, timezone.get_default_timezone()).utcoffset()
    return offset.total_seconds() if offset else 0.0
