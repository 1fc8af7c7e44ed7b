"""SQL in, columns out: the catalogue, the behaviour as it was recorded, and their copy in files for training."""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import json
import uuid
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np
from django.db import models
from django.utils import timezone
from scipy import sparse

from recommender.datasets.cleaning import CLOCK_SKEW_SECONDS, MAX_VIEWS_PER_DAY, CleaningReport, Recorded, clean
from recommender.durations import ATTRIBUTION_WINDOW_SECONDS, DAY_SECONDS
from recommender.features.shop_state import existing_since, first_events
from recommender.features.weights import EVENT_WEIGHTS
from recommender.models import Event, Impression, Item, Judgement, Visitor
from recommender.models.claims import ROWS_OF_THE_SHOP, counted_as, counted_at, order_of
from recommender.models.staff import visitors_of_staff
from recommender.tables import Impressions, Interactions, ItemTable, Judgements
from recommender.types import EVENT_CODES, SLOT_CODES, IntArray, Slot, TimeArray

__all__ = [
    "CleaningReport",
    "Dataset",
    "Recorded",
    "clean",
    "data_hash",
    "read_dataset",
    "read_impressions",
    "read_interactions",
    "read_items",
    "read_judgements",
    "read_names",
    "read_people",
    "summary",
    "user_item_matrix",
]

CHUNK_SIZE = 20_000
"""Rows read per query: each chunk is a query of its own, so nothing holds a transaction open."""

People = Mapping[int, tuple[int, bool]]
"""By primary key of the visitor: the row of the person, -1 for nobody, and whether it is a bot."""

EVENT_COLUMNS = (
    "pk", "visitor_id", "item_id", "type", "occurred_at", "quantity", "order_id", "query", "is_bot",
    "device", "region", "source", "received_at",
)  # fmt: skip

LIST_COLUMNS = (
    "pk", "visitor_id", "occurred_at", "slot", "query", "current_item_id", "item_ids", "propensities", "first_position",
)  # fmt: skip

OUTCOMES = {"select_item": 0, "add_to_cart": 1, "purchase": 2}
"""The row of each event in what `_outcomes` finds."""


@dataclasses.dataclass(frozen=True, slots=True)
class Dataset:
    """What one run trains on, read once: `taken_at` is seconds since the epoch.

    titles, brands: parallel to `items`; no brands where none were read.
    """

    items: ItemTable
    titles: tuple[str, ...]
    recorded: Recorded
    taken_at: float
    judgements: Judgements = dataclasses.field(default_factory=Judgements.none)
    impressions: Impressions = dataclasses.field(default_factory=Impressions.none)
    brands: tuple[str, ...] = ()


def read_items(*, until: dt.datetime | None = None) -> ItemTable:
    """Every item that was known before `until`, inactive ones too: their behaviour still teaches. 20,000 a query."""
    items = Item.objects.all() if until is None else Item.objects.filter(first_seen_at__lt=until)
    rows = list(_pages(items, ("pk", "item_id", "text", "category", "price", "first_seen_at", "is_active")))
    names = tuple(sorted({row[3] for row in rows if row[3]}))
    code = {name: place for place, name in enumerate(names)} | {"": -1}
    return ItemTable(
        ids=tuple(row[1] for row in rows),
        texts=tuple(row[2] for row in rows),
        category=np.array([code[row[3]] for row in rows], np.int32),
        category_names=names,
        price=np.array([np.nan if row[4] is None else float(row[4]) for row in rows], np.float32),
        first_seen=np.array([row[5].timestamp() for row in rows], np.float64),
        active=np.array([row[6] for row in rows], bool),
    )


def read_names(items: ItemTable) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The title and the brand of each item, in the order of `items`; "" for one that is gone or has none."""
    names = {row[1]: row[2:] for row in _pages(Item.objects, ("pk", "item_id", "title", "brand"))}
    titles, brands = (
        zip(*(names.get(item_id, ("", "")) for item_id in items.ids), strict=True) if len(items) else ((), ())
    )
    return titles, brands


def read_interactions(
    items: ItemTable,
    *,
    until: dt.datetime | None = None,
    received_until: dt.datetime | None = None,
    people: People | None = None,
) -> Recorded:
    """Every event before `until` as it was recorded, ascending by time; one query per 20,000 events.

    `received_until` leaves out what happened before it but was not known yet.

    Visitors of one user share a row. Who has not consented, or has switched profiling off, is nobody (-1): such
    events feed popularity and co-purchase only. With `people`, only their events.
    """
    events = _events(until, received_until)
    if people is not None:
        events = events.filter(visitor_id__in=list(people))
    return _recorded(items, events, read_people() if people is None else people)


def _events(until: dt.datetime | None, received_until: dt.datetime | None) -> models.QuerySet[Event]:
    events = Event.objects.all() if until is None else Event.objects.filter(occurred_at__lt=until)
    return events if received_until is None else events.filter(received_at__lt=received_until)


def _recorded(items: ItemTable, events: models.QuerySet[Event], visitors: People) -> Recorded:
    rows = list(_pages(events, EVENT_COLUMNS))
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(EVENT_COLUMNS)
    (_, visitor_ids, item_ids, types, times, quantities, order_ids, queries, bots, devices, regions, sources,
     received) = columns  # fmt: skip
    orders = list(map(order_of, order_ids, sources))
    item_row = {item_id: row for row, item_id in enumerate(items.ids)} | {"": Recorded.NO_ITEM}
    query_row, order_row, device_row, region_row = map(_codes, (queries, orders, devices, regions))
    n = len(rows)
    known, staff = [visitors.get(key, (-1, False)) for key in visitor_ids], visitors_of_staff()
    recorded = Recorded(
        Interactions(
            visitor=np.fromiter((row for row, _ in known), np.int32, n),
            item=np.fromiter((item_row.get(key, Recorded.UNKNOWN_ITEM) for key in item_ids), np.int32, n),
            type=np.fromiter((EVENT_CODES[kind] for kind in map(counted_as, types, sources)), np.int8, n),
            time=np.fromiter((at.timestamp() for at in map(counted_at, times, received, sources)), np.float64, n),
            quantity=np.fromiter(quantities, np.float32, n),
            basket=np.fromiter((order_row[key] for key in orders), np.int32, n),
            query=np.fromiter((query_row[key] for key in queries), np.int32, n),
            queries=tuple(filter(None, query_row)),
            device=np.fromiter((device_row[key] for key in devices), np.int32, n),
            region=np.fromiter((region_row[key] for key in regions), np.int32, n),
            devices=tuple(filter(None, device_row)),
            regions=tuple(filter(None, region_row)),
            claim=_claims(visitor_ids, received, sources, visitors),
        ),
        is_bot=np.fromiter(
            (
                bot or of_bot or (key in staff and source != ROWS_OF_THE_SHOP)  # what is bought counts, whoever buys
                for bot, (_, of_bot), key, source in zip(bots, known, visitor_ids, sources, strict=True)
            ),
            bool,
            n,
        ),
    )
    return recorded.take(np.argsort(recorded.interactions.time, kind="stable"))


def _claims(visitor_ids: Any, received: Any, sources: Any, visitors: People) -> IntArray:
    """As `Interactions.claim`: by person and day of receipt, whether the person may be profiled or not."""
    numbers: dict[tuple[int, int], int] = {}

    def number(visitor_id: int | None, at: dt.datetime, source: str) -> int:
        if source == ROWS_OF_THE_SHOP:
            return -1
        row = visitors.get(visitor_id or 0, (-1, False))[0]
        person = row if row >= 0 else -2 - (visitor_id or 0)
        return numbers.setdefault((person, int(at.timestamp() // DAY_SECONDS)), len(numbers))

    return np.fromiter(map(number, visitor_ids, received, sources), np.int32, len(sources))


def read_impressions(
    items: ItemTable, *, people: People | None = None, until: dt.datetime | None = None
) -> Impressions:
    """Every list that a known person was shown, with what is attributed to it, ascending by time.

    Left out: lists and events of bots, of the shop's staff, of nobody, of whoever has not consented or has switched
    profiling off, and all lists of a person on a day with more than `MAX_VIEWS_PER_DAY`. An event counts where the
    same person caused it through the list's token; a cart and an order imply the click. One query per 20,000 lists
    and per 20,000 events.
    """
    people = read_people() if people is None else people
    known = {pk for pk, (row, is_bot) in people.items() if row >= 0 and not is_bot} - visitors_of_staff()
    lists = Impression.objects.filter(is_bot=False, visitor__isnull=False)
    if until is not None:
        lists = lists.filter(occurred_at__lt=until)
    rows = [row for row in _pages(lists, LIST_COLUMNS, after=uuid.UUID(int=0)) if row[1] in known]
    rows = _without_floods(sorted(rows, key=lambda row: row[2]), people)
    shown = _shown(rows, items, people)
    clicked, carted, bought = _outcomes(shown, {row[0]: place for place, row in enumerate(rows)}, items, people)
    return dataclasses.replace(shown, clicked=clicked, carted=carted, bought=bought)


def _without_floods(rows: list[tuple[Any, ...]], people: People) -> list[tuple[Any, ...]]:
    days = [(people[row[1]][0], row[2].date()) for row in rows]
    n_lists = Counter(days)
    return [row for row, day in zip(rows, days, strict=True) if n_lists[day] <= MAX_VIEWS_PER_DAY]


def _shown(rows: list[tuple[Any, ...]], items: ItemTable, people: People) -> Impressions:
    """The lists of rows of `LIST_COLUMNS`; nothing has followed yet."""
    item_row = {item_id: row for row, item_id in enumerate(items.ids)}
    query_row, n = _codes(row[4] for row in rows), len(rows)
    sizes = np.fromiter((len(row[6]) for row in rows), np.int64, n)
    start = np.concatenate(([0], np.cumsum(sizes)))
    n_places = int(start[-1])
    first = np.fromiter((row[8] for row in rows), np.int64, n)
    chances = (chance for row in rows for chance in _chances(row[7], len(row[6])))
    return Impressions(
        visitor=np.fromiter((people[row[1]][0] for row in rows), np.int32, n),
        slot=np.fromiter((SLOT_CODES[Slot(row[3])] for row in rows), np.int8, n),
        time=np.fromiter((row[2].timestamp() for row in rows), np.float64, n),
        query=np.fromiter((query_row[row[4]] for row in rows), np.int32, n),
        current=np.fromiter((item_row.get(row[5], -1) for row in rows), np.int32, n),
        start=start,
        item=np.fromiter(
            (item_row.get(item_id, Recorded.UNKNOWN_ITEM) for row in rows for item_id in row[6]), np.int32, n_places
        ),
        position=(np.arange(n_places) - np.repeat(start[:-1] - first, sizes)).astype(np.int32),
        propensity=np.fromiter(chances, np.float32, n_places),
        clicked=np.full(n_places, np.inf),
        carted=np.full(n_places, np.inf),
        bought=np.full(n_places, np.inf),
        queries=tuple(filter(None, query_row)),
    )


def _chances(stored: Any, n: int) -> list[float]:
    """The propensities of one list; 1 where none, or none that can be read, was stored."""
    if not isinstance(stored, list) or len(stored) != n:
        return [1.0] * n
    return [float(one) if isinstance(one, int | float) and 0 < one <= 1 else 1.0 for one in stored]


def _outcomes(shown: Impressions, place_of: Mapping[uuid.UUID, int], items: ItemTable, people: People) -> TimeArray:
    """When each place was first clicked, carted and bought by whom it was shown to: (3, m), inf for never."""
    item_row = {item_id: row for row, item_id in enumerate(items.ids)}
    events = Event.objects.filter(type__in=list(OUTCOMES), ranking_id__isnull=False, is_bot=False)
    told = [
        (place_of[row[4]], item_row[row[2]], OUTCOMES[counted_as(row[1], row[6])], row[3].timestamp(),
         people.get(row[5], (-1, False))[0])
        for row in _pages(events, ("pk", "type", "item_id", "occurred_at", "ranking_id", "visitor_id", "source"))
        if row[4] in place_of and row[2] in item_row
    ]  # fmt: skip
    moments = np.full((len(OUTCOMES), len(shown.item)), np.inf)
    if not told:
        return moments
    columns = np.array(told, np.float64).T
    listed, item, kind, person = (columns[number].astype(np.int64) for number in (0, 1, 2, 4))
    time, at = columns[3], shown.time[listed]
    is_theirs = person == shown.visitor[listed]
    in_time = (time >= at - CLOCK_SKEW_SECONDS) & (time < at + ATTRIBUTION_WINDOW_SECONDS)
    lists = np.repeat(np.arange(len(shown)), np.diff(shown.start))
    key = lists * (len(items) + 2) + shown.item + 2
    wanted, order = listed * (len(items) + 2) + item + 2, np.argsort(key, kind="stable")
    found = order[np.minimum(np.searchsorted(key, wanted, sorter=order), len(key) - 1)]
    counts = is_theirs & in_time & (key[found] == wanted)
    np.minimum.at(moments, (kind[counts], found[counts]), np.maximum(time, at)[counts])
    moments[0] = moments.min(axis=0)
    return moments


def read_judgements(items: ItemTable, *, until: dt.datetime | None = None) -> Judgements:
    """Every judgement before `until` of an item that is known; one by several sources counts with its mean grade."""
    judged = Judgement.objects.all() if until is None else Judgement.objects.filter(judged_at__lt=until)
    row_of = {item_id: row for row, item_id in enumerate(items.ids)}
    grades: dict[tuple[str, int], list[float]] = {}
    for _, query, item_id, grade in _pages(judged, ("pk", "query", "item_id", "grade")):
        if item_id in row_of and query.strip():
            grades.setdefault((query, row_of[item_id]), []).append(grade)
    queries = {query: place for place, query in enumerate(dict.fromkeys(query for query, _ in grades))}
    return Judgements(
        tuple(queries),
        np.fromiter((queries[query] for query, _ in grades), np.int32, len(grades)),
        np.fromiter((row for _, row in grades), np.int32, len(grades)),
        np.fromiter((sum(given) / len(given) for given in grades.values()), np.float32, len(grades)),
    )


def read_people(pks: Collection[int] | None = None) -> People:
    """The row and the bot flag of each visitor; visitors of one user share a row, nobody is -1. `pks` narrows them.

    Somebody is who has consented, or whose orders may teach without it, and has not switched profiling off.
    """
    rows: dict[Any, int] = {}
    found = {}
    for pk, user_key, has_consented, is_pseudonymous, is_profiled, is_bot in _pages(
        Visitor.objects if pks is None else Visitor.objects.filter(pk__in=pks),
        ("pk", "user_key", "has_consented", "is_pseudonymous", "is_profiled", "is_bot"),
    ):
        is_known = (has_consented or is_pseudonymous) and is_profiled
        found[pk] = (rows.setdefault(user_key or pk, len(rows)) if is_known else -1, is_bot)
    return found


def read_dataset(*, as_of: float | None = None) -> Dataset:
    """Everything that a run needs, as it is now, or without what came in after `as_of` (seconds since the epoch).

    The past can be read again only as far as it was kept: what was erased or changed since is not as it was.
    """
    then = None if as_of is None else dt.datetime.fromtimestamp(as_of, dt.UTC)
    now, items, people = timezone.now().timestamp(), read_items(until=then), read_people()
    titles, brands = read_names(items)
    recorded = _recorded(items, _events(then, then), people)
    by_people = recorded.take(~recorded.is_bot).interactions
    items = existing_since(items, first_events(by_people, n_items=len(items)))
    return Dataset(
        items, titles, recorded, now if as_of is None else as_of,
        read_judgements(items, until=then), read_impressions(items, people=people, until=then), brands,
    )  # fmt: skip


def user_item_matrix(interactions: Interactions, items: ItemTable) -> sparse.csr_matrix:
    """(n_visitors, n_items) float32: the summed `EVENT_WEIGHTS` of each visitor and item; nobody's events stay out."""
    weight = EVENT_WEIGHTS[interactions.type]
    used = (interactions.visitor >= 0) & (interactions.item >= 0) & (weight > 0)
    n_visitors = int(interactions.visitor.max(initial=-1)) + 1
    cells = (weight[used], (interactions.visitor[used], interactions.item[used]))
    return sparse.coo_matrix(cells, shape=(n_visitors, len(items)), dtype=np.float32).tocsr()


def summary(
    interactions: Interactions, items: ItemTable, report: CleaningReport, judged: Judgements | None = None
) -> dict[str, Any]:
    """What a run trained on, as `Run.report` keeps it."""
    matrix = user_item_matrix(interactions, items)
    n_visitors = int((np.diff(matrix.indptr) > 0).sum())
    times = interactions.time
    return {
        "n_read": report.n_read,
        "n_clean": report.n_clean,
        "removed": dict(report.removed),
        "n_quantities_capped": report.n_quantities_capped,
        "n_visitors": n_visitors,
        "n_items": len(items),
        "n_interactions": len(interactions),
        "density": matrix.nnz / max(n_visitors * len(items), 1),
        "from": _day(times[0]) if len(times) else "",
        "to": _day(times[-1]) if len(times) else "",
        "data_hash": data_hash(interactions, items, judged),
    }


def data_hash(interactions: Interactions, items: ItemTable, judged: Judgements | None = None) -> str:
    """32 hex digits that change when any value in any column does."""
    digest = hashlib.blake2b(digest_size=16)
    tables: list[Interactions | ItemTable | Judgements] = [interactions, items]
    for table in tables + ([judged] if judged is not None and len(judged) else []):
        for name, value in columns_of(table).items():
            digest.update(name.encode())
            digest.update(value.tobytes() if isinstance(value, np.ndarray) else json.dumps(value).encode())
    return digest.hexdigest()


def _pages(
    rows: models.Manager[Any] | models.QuerySet[Any], columns: tuple[str, ...], *, after: Any = 0
) -> Iterator[tuple[Any, ...]]:
    """Read by primary key, a chunk per query, from beyond `after`; the first column must be "pk"."""
    last = after
    while page := list(rows.filter(pk__gt=last).order_by("pk").values_list(*columns)[:CHUNK_SIZE]):
        yield from page
        last = page[-1][0]


def _codes(names: Any) -> dict[str, int]:
    """A number per distinct name in the order of appearance; -1 for the empty one."""
    distinct = dict.fromkeys(name for name in names if name)
    return {name: place for place, name in enumerate(distinct)} | {"": -1}


def columns_of(table: Interactions | ItemTable | Judgements | Impressions) -> dict[str, Any]:
    return {field.name: getattr(table, field.name) for field in dataclasses.fields(table)}


def _day(seconds: float) -> str:
    return dt.datetime.fromtimestamp(float(seconds), dt.UTC).date().isoformat()
