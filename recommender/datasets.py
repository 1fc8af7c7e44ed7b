"""SQL in, columns out: the catalogue, the behaviour as it was recorded, and their copy in files for training."""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from django.db import models
from django.utils import timezone
from scipy import sparse

from recommender.cleaning import CleaningReport, Recorded, clean
from recommender.models import Event, Item, Judgement, Visitor
from recommender.state import EVENT_WEIGHTS
from recommender.types import EVENT_CODES, EventType, Interactions, ItemTable, Judgements

__all__ = [
    "CleaningReport",
    "Dataset",
    "Recorded",
    "clean",
    "data_hash",
    "load",
    "read_dataset",
    "read_interactions",
    "read_items",
    "read_judgements",
    "read_once",
    "read_people",
    "read_titles",
    "save",
    "summary",
    "user_item_matrix",
]

CHUNK_SIZE = 20_000
"""Rows read per query: each chunk is a query of its own, so nothing holds a transaction open."""

People = Mapping[int, tuple[int, bool]]
"""By primary key of the visitor: the row of the person, -1 for nobody, and whether it is a bot."""

EVENT_COLUMNS = (
    "pk", "visitor_id", "item_id", "type", "occurred_at", "quantity", "order_id", "query", "is_bot",
    "device", "region",
)  # fmt: skip


@dataclasses.dataclass(frozen=True, slots=True)
class Dataset:
    """What one run trains on, read once: `taken_at` is seconds since the epoch, titles are parallel to `items`."""

    items: ItemTable
    titles: tuple[str, ...]
    recorded: Recorded
    taken_at: float
    judgements: Judgements = dataclasses.field(default_factory=Judgements.none)


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


def read_titles(items: ItemTable) -> tuple[str, ...]:
    """The title of each item, in the order of `items`; "" for one that is gone."""
    titles = {row[1]: row[2] for row in _pages(Item.objects, ("pk", "item_id", "title"))}
    return tuple(titles.get(item_id, "") for item_id in items.ids)


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
    events = Event.objects.all() if until is None else Event.objects.filter(occurred_at__lt=until)
    if people is not None:
        events = events.filter(visitor_id__in=list(people))
    if received_until is not None:
        events = events.filter(received_at__lt=received_until)
    rows = list(_pages(events, EVENT_COLUMNS))
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(EVENT_COLUMNS)
    _, visitor_ids, item_ids, types, times, quantities, order_ids, queries, bots, devices, regions = columns
    visitors = read_people() if people is None else people
    item_row = {item_id: row for row, item_id in enumerate(items.ids)} | {"": Recorded.NO_ITEM}
    query_row, order_row, device_row, region_row = map(_codes, (queries, order_ids, devices, regions))
    n = len(rows)
    known = [visitors.get(key, (-1, False)) for key in visitor_ids]
    recorded = Recorded(
        Interactions(
            visitor=np.fromiter((row for row, _ in known), np.int32, n),
            item=np.fromiter((item_row.get(key, Recorded.UNKNOWN_ITEM) for key in item_ids), np.int32, n),
            type=np.fromiter((EVENT_CODES[EventType(name)] for name in types), np.int8, n),
            time=np.fromiter((at.timestamp() for at in times), np.float64, n),
            quantity=np.fromiter(quantities, np.float32, n),
            basket=np.fromiter((order_row[key] for key in order_ids), np.int32, n),
            query=np.fromiter((query_row[key] for key in queries), np.int32, n),
            queries=tuple(filter(None, query_row)),
            device=np.fromiter((device_row[key] for key in devices), np.int32, n),
            region=np.fromiter((region_row[key] for key in regions), np.int32, n),
            devices=tuple(filter(None, device_row)),
            regions=tuple(filter(None, region_row)),
        ),
        is_bot=np.fromiter((bot or of_bot for bot, (_, of_bot) in zip(bots, known, strict=True)), bool, n),
    )
    return recorded.take(np.argsort(recorded.interactions.time, kind="stable"))


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
    """The row and the bot flag of each visitor; visitors of one user share a row, nobody is -1. `pks` narrows them."""
    rows: dict[Any, int] = {}
    found = {}
    for pk, user_key, has_consented, is_profiled, is_bot in _pages(
        Visitor.objects if pks is None else Visitor.objects.filter(pk__in=pks),
        ("pk", "user_key", "has_consented", "is_profiled", "is_bot"),
    ):
        is_known = has_consented and is_profiled
        found[pk] = (rows.setdefault(user_key or pk, len(rows)) if is_known else -1, is_bot)
    return found


def read_dataset(*, as_of: float | None = None) -> Dataset:
    """Everything that a run needs, as it is now, or without what came in after `as_of` (seconds since the epoch).

    The past can be read again only as far as it was kept: what was erased or changed since is not as it was.
    """
    if as_of is None:
        now, items = timezone.now(), read_items()
        return Dataset(items, read_titles(items), read_interactions(items), now.timestamp(), read_judgements(items))
    then = dt.datetime.fromtimestamp(as_of, dt.UTC)
    items = read_items(until=then)
    recorded = read_interactions(items, until=then, received_until=then)
    return Dataset(items, read_titles(items), recorded, as_of, read_judgements(items, until=then))


def read_once(folder: Path, *, as_of: float | None = None) -> Dataset:
    """What an interrupted run has read into its folder already, else the dataset, saved there."""
    found = load(folder)
    if found is None:
        found = read_dataset() if as_of is None else read_dataset(as_of=as_of)
        save(found, folder)
    return found


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
        for name, value in _columns(table).items():
            digest.update(name.encode())
            digest.update(value.tobytes() if isinstance(value, np.ndarray) else json.dumps(value).encode())
    return digest.hexdigest()


def save(dataset: Dataset, folder: Path) -> None:
    """Write the dataset as two files, texts as JSON and numbers as npz; the JSON last, renamed into place."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, npt.NDArray[Any]] = {"is_bot": dataset.recorded.is_bot}
    texts: dict[str, Any] = {"titles": dataset.titles, "taken_at": dataset.taken_at}
    tables = (("events", dataset.recorded.interactions), ("items", dataset.items), ("judged", dataset.judgements))
    for prefix, table in tables:
        for name, value in _columns(table).items():
            (arrays if isinstance(value, np.ndarray) else texts)[f"{prefix}.{name}"] = value
    with (folder / "dataset.npz").open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
    draft = folder / "dataset.json.new"
    draft.write_text(json.dumps(texts))
    draft.replace(folder / "dataset.json")


def load(folder: Path) -> Dataset | None:
    """What `save` wrote there; None where it did not finish."""
    if not (folder / "dataset.json").is_file():
        return None
    texts = json.loads((folder / "dataset.json").read_text())
    with np.load(folder / "dataset.npz", allow_pickle=False) as arrays:
        values = {name: arrays[name] for name in arrays.files}
    lists = {name: tuple(value) for name, value in texts.items() if isinstance(value, list)}

    def table(prefix: str) -> dict[str, Any]:
        found = {**values, **lists}
        return {name.partition(".")[2]: value for name, value in found.items() if name.startswith(f"{prefix}.")}

    recorded = Recorded(Interactions(**table("events")), values["is_bot"])
    judged = Judgements(**table("judged"))
    return Dataset(ItemTable(**table("items")), lists["titles"], recorded, texts["taken_at"], judged)


def _pages(rows: models.Manager[Any] | models.QuerySet[Any], columns: tuple[str, ...]) -> Iterator[tuple[Any, ...]]:
    """Read by primary key, a chunk per query; the first column must be "pk"."""
    last = 0
    while page := list(rows.filter(pk__gt=last).order_by("pk").values_list(*columns)[:CHUNK_SIZE]):
        yield from page
        last = page[-1][0]


def _codes(names: Any) -> dict[str, int]:
    """A number per distinct name in the order of appearance; -1 for the empty one."""
    distinct = dict.fromkeys(name for name in names if name)
    return {name: place for place, name in enumerate(distinct)} | {"": -1}


def _columns(table: Interactions | ItemTable | Judgements) -> dict[str, Any]:
    return {field.name: getattr(table, field.name) for field in dataclasses.fields(table)}


def _day(seconds: float) -> str:
    return dt.datetime.fromtimestamp(float(seconds), dt.UTC).date().isoformat()
