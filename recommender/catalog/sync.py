"""Copies the shop's objects into `Item` rows: all of them, those that changed, or one that was just saved."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache, partial
from itertools import count, islice
from typing import Any

from django.core.cache import cache
from django.db import connections, models, router, transaction
from django.db.models.signals import m2m_changed, post_delete, post_save
from django.utils import timezone

from recommender.catalog import Catalog, catalog_for_label, catalog_of, catalogs, past_prices
from recommender.catalog.paths import concrete_label, object_key
from recommender.catalog.registry import catalogs_for
from recommender.catalog.values import ItemFacts, text_hash
from recommender.exceptions import ConfigurationError
from recommender.models import Item
from recommender.models.connections import apart, committed
from recommender.signals import items_changed

logger = logging.getLogger(__name__)

MAX_FAILURES_KEPT = 20
MAX_FOLLOWED = 500
"""After a change of a category or a brand at most this many items are read again; the next sync reads the others."""

N_COMPARED = 5_000
"""Rows whose columns are compared in one query."""

INCREMENTAL_OVERLAP = timedelta(minutes=2)
COPIED = tuple(
    column.name for column in dataclasses.fields(ItemFacts) if column.name not in ("item_id", "first_seen_at")
)

Progress = Callable[[int, int], None]


@dataclass(slots=True)
class SyncReport:
    """The outcome of a sync. `failures` holds the first "id: message" of the objects that were skipped; `n_undated`
    counts objects whose columns differ although their `updated` field is the same."""

    n_created: int = 0
    n_changed: int = 0
    n_unchanged: int = 0
    n_deactivated: int = 0
    n_failed: int = 0
    n_undated: int = 0
    failures: list[str] = field(default_factory=list)

    def fail(self, name: str, error: Exception) -> None:
        """Count a skipped object and keep the first messages."""
        self.n_failed += 1
        if len(self.failures) < MAX_FAILURES_KEPT:
            self.failures.append(f"{name}: {error}")


def sync(*, chunk_size: int = 500, progress: Progress | None = None) -> SyncReport:
    """Read every object of every Catalog, write what differs, deactivate what is gone. Two queries a chunk."""
    return _sync(full=True, chunk_size=chunk_size, progress=progress)


def sync_changed(
    *, chunk_size: int = 500, progress: Progress | None = None, most_compared: int | None = None
) -> SyncReport:
    """Read only what changed since the newest item, where a Catalog names its `updated` field; else as `sync`.

    `QuerySet.update()` and SQL do not change that field. So the columns of all objects are compared with those of the
    last sync, in two queries for each 5,000 and without creating objects; with `most_compared` only of that many, and
    the next call continues from there. Changes in methods, translations and relations to many need a full sync.
    """
    report = _sync(full=False, chunk_size=chunk_size, progress=progress)
    for catalog in catalogs():
        if catalog.updated and _is_usable(catalog, report):
            _sync_undated(catalog, chunk_size, most_compared, report)
    return report


def sync_objects(catalog: Catalog, objects: Iterable[Any]) -> SyncReport:
    """Write the items of these objects of one Catalog. Two queries, or one where nothing changed."""
    report = SyncReport()
    _write(catalog, objects, report)
    return report


def _sync(*, full: bool, chunk_size: int, progress: Progress | None) -> SyncReport:
    report = SyncReport()
    sources = [(catalog, _changed_objects(catalog, full=full)) for catalog in catalogs() if _is_usable(catalog, report)]
    total = sum(objects.count() for _, objects in sources)
    done = 0
    for catalog, objects in sources:
        for chunk in _chunks(objects.order_by("pk").iterator(chunk_size=chunk_size), chunk_size):
            _write(catalog, chunk, report)
            done += len(chunk)
            if progress is not None:
                progress(done, total)
        _deactivate_missing(catalog, report)
    return report


def _is_usable(catalog: Catalog, report: SyncReport) -> bool:
    """Does the Catalog's model exist? If not, this is reported, and the other Catalogs are synced."""
    try:
        catalog.model  # noqa: B018  looking it up is the check
    except ConfigurationError as error:
        report.fail(catalog.label, error)
        logger.error("catalog %s is left out: %s", catalog.label, error)
        return False
    return True


def _changed_objects(catalog: Catalog, *, full: bool) -> models.QuerySet[Any]:
    if full:
        return catalog.own_objects(catalog.queryset())
    newest = Item.objects.filter(label=catalog.label).aggregate(newest=models.Max("updated_at"))["newest"]
    objects = catalog.queryset() if newest is None else catalog.changed_since(newest - INCREMENTAL_OVERLAP)
    return catalog.own_objects(objects)


def _sync_undated(catalog: Catalog, chunk_size: int, most_compared: int | None, report: SyncReport) -> None:
    """Read the objects whose columns differ from the last time."""
    bookmark = f"recommender:compared:{catalog.label}"
    rows = catalog.own_objects(catalog.queryset()).order_by("pk").values_list("pk", *catalog.columns)
    last = cache.get(bookmark) if most_compared else None
    for n_compared in count(step=N_COMPARED):
        if most_compared and n_compared >= most_compared:
            break
        chunk = list((rows if last is None else rows.filter(pk__gt=last))[:N_COMPARED])
        for pks in _chunks(iter(_different(catalog, chunk)), chunk_size):
            n_before = report.n_created + report.n_changed
            _write(catalog, catalog.own_objects(catalog.queryset().filter(pk__in=pks)), report)
            report.n_undated += report.n_created + report.n_changed - n_before
        last = chunk[-1][0] if len(chunk) == N_COMPARED else None
        if last is None:
            break
    if most_compared:
        cache.set(bookmark, last, None)


def _different(catalog: Catalog, rows: list[tuple[Any, ...]]) -> list[Any]:
    """The primary keys of rows that differ from the last time, and of rows without an item if every row should have
    one."""
    keys = {object_key(row[0]): row for row in rows}
    read: dict[str, str] = {}
    for part in _chunks(iter(keys), 500):
        stored = Item.objects.filter(label=catalog.label, object_id__in=part)
        read.update(stored.values_list("object_id", "source_hash"))
    are_all_items = catalog.group is None and type(catalog).should_index is Catalog.should_index
    return [row[0] for key, row in keys.items() if (key in read or are_all_items) and read.get(key) != _hash_of(row)]


def _source_hashes(catalog: Catalog, objects: Sequence[Any]) -> dict[str, str]:
    """The hash that `_different` compares, by object key; empty for a Catalog without an `updated` field, because every
    sync reads all its objects. One query."""
    if not catalog.updated or not objects:
        return {}
    rows = catalog.model._base_manager.filter(pk__in=[obj.pk for obj in objects])
    return {object_key(row[0]): _hash_of(row) for row in rows.values_list("pk", *catalog.columns)}


def _hash_of(row: tuple[Any, ...]) -> str:
    return text_hash("\x1f".join(map(str, row)))


def _chunks(objects: Iterator[Any], size: int) -> Iterator[list[Any]]:
    while chunk := list(islice(objects, size)):
        yield chunk


def _write(catalog: Catalog, objects: Iterable[Any], report: SyncReport) -> None:
    objects = list(objects)
    models.prefetch_related_objects(objects, *catalog.prefetched)
    facts = {fact.item_id: fact for fact in _facts(catalog, objects, report)}
    stored = {item.item_id: item for item in Item.objects.filter(item_id__in=facts)}
    _refuse_others(catalog, facts, stored, report)
    now, hashes, prices = timezone.now(), _source_hashes(catalog, objects), past_prices.prices_of(stored.values())
    created = [_new_item(catalog, fact, now) for item_id, fact in facts.items() if item_id not in stored]
    differences = {item_id: _apply(item, catalog, facts[item_id], now) for item_id, item in stored.items()}
    changed = [stored[item_id] for item_id, names in differences.items() if names]
    rehashed = [item for item in (*created, *stored.values()) if item.source_hash != hashes.get(item.object_id, "")]
    for item in rehashed:
        item.source_hash = hashes.get(item.object_id, "")

    def write() -> None:
        if created:
            Item.objects.bulk_create(created, ignore_conflicts=True)
        if changed:
            Item.objects.bulk_update(changed, ["updated_at", *sorted(set().union(*differences.values()))])
            past_prices.remember(prices, changed, now)
        if as_before := [item for item in rehashed if item.pk]:
            Item.objects.bulk_update(as_before, ["source_hash"])

    using = router.db_for_write(Item)
    if connections[using].in_atomic_block:
        write()
    else:
        committed(write, using=using)
    report.n_created += len(created)
    report.n_changed += len(changed)
    report.n_unchanged += len(stored) - len(changed)
    _announce([item.item_id for item in (*created, *changed)])


def _refuse_others(catalog: Catalog, facts: dict[str, ItemFacts], stored: dict[str, Item], report: SyncReport) -> None:
    """If two Catalogs give the same id, the first keeps the item: else they would overwrite each other in every
    sync."""
    labels = {other.label for other in catalogs()} - {catalog.label}
    for item_id in [item_id for item_id, item in stored.items() if item.label in labels and item.is_active]:
        taken = (
            f"the id {item_id!r} is an item of {stored.pop(item_id).label} already. Give the Catalog an id of its own"
        )
        object_id = facts.pop(item_id).object_id
        report.fail(f"{catalog.label} {object_id}", ConfigurationError(f'{taken}, such as id = "uuid".'))
        logger.warning("catalog %s skips object %s: %s", catalog.label, object_id, taken)


def _facts(catalog: Catalog, objects: Iterable[Any], report: SyncReport) -> Iterator[ItemFacts]:
    unwanted = []
    for obj in objects:
        try:
            if catalog.is_item(obj):
                yield catalog.facts(obj)
            else:
                unwanted.append(object_key(obj.pk))
        except Exception as error:  # the shop's own code: one bad object must not stop the other thousand
            report.fail(f"{catalog.label} {obj.pk}", error)
            logger.warning("catalog %s skips object %s: %s", catalog.label, obj.pk, error)
    if unwanted:
        items = Item.objects.filter(label=catalog.label, object_id__in=unwanted, is_active=True)
        report.n_deactivated += _deactivate(list(items.values_list("item_id", flat=True)))


def _new_item(catalog: Catalog, fact: ItemFacts, now: datetime) -> Item:
    return Item(
        item_id=fact.item_id,
        label=catalog.label,
        updated_at=now,
        first_seen_at=fact.first_seen_at or now,
        **{name: getattr(fact, name) for name in COPIED},
    )


def _apply(item: Item, catalog: Catalog, fact: ItemFacts, now: datetime) -> set[str]:
    """Copy the facts into the item; return the names of the columns that differed."""
    wanted = {name: getattr(fact, name) for name in COPIED} | {"label": catalog.label}
    if fact.first_seen_at is not None:
        wanted["first_seen_at"] = fact.first_seen_at
    different = {name for name, value in wanted.items() if getattr(item, name) != value}
    for name in different:
        setattr(item, name, wanted[name])
    if different:
        item.updated_at = now
    return different


def _deactivate_missing(catalog: Catalog, report: SyncReport) -> None:
    """Items whose object left the Catalog's queryset become inactive; their behaviour stays."""
    keys = catalog.own_objects(catalog.queryset()).order_by().values_list("pk", flat=True)
    listed = {object_key(pk) for pk in keys.iterator(chunk_size=5000)}
    active = Item.objects.filter(label=catalog.label, is_active=True).values_list("item_id", "object_id")
    gone = [item_id for item_id, object_id in active.iterator(chunk_size=5000) if object_id not in listed]
    report.n_deactivated += _deactivate(gone)


def _deactivate(item_ids: Sequence[str]) -> int:
    n_deactivated = 0
    for chunk in _chunks(iter(item_ids), 500):
        n_deactivated += Item.objects.filter(item_id__in=chunk, is_active=True).update(
            is_active=False, updated_at=timezone.now()
        )
    _announce(list(item_ids))
    return n_deactivated


def _announce(item_ids: list[str]) -> None:
    if item_ids:
        using = router.db_for_write(Item)
        transaction.on_commit(lambda: items_changed.send(sender=Item, item_ids=item_ids), using=using, robust=True)


def connect() -> None:
    """Follow the saves and deletions of every model that has a Catalog."""
    post_save.connect(_saved, dispatch_uid="recommender_saved")
    post_delete.connect(_deleted, dispatch_uid="recommender_deleted")
    m2m_changed.connect(_categorised, dispatch_uid="recommender_categorised")


def _saved(
    sender: type[models.Model], instance: models.Model, using: str | None = None, raw: bool = False, **_: Any
) -> None:
    if raw or not _may_change_items(type(instance), tuple(catalogs())):
        return
    catalog = catalog_of(instance)
    if catalog is not None:
        transaction.on_commit(lambda: _follow_save(catalog, instance), using=using)
    for other in catalogs():
        for lookup in _lookups(other, sender):
            transaction.on_commit(partial(_follow_related, other, lookup, instance.pk), using=using)


@lru_cache(maxsize=1024)
def _may_change_items(model: type[models.Model], described: tuple[Catalog, ...]) -> bool:
    """Can saving an object of the model change an item? Cached, because many pages save a session, which cannot."""
    return bool(catalogs_for(model)) or any(_lookups(catalog, model) for catalog in described)


def _categorised(
    sender: Any,
    instance: models.Model,
    action: str,
    reverse: bool,
    model: Any,
    pk_set: Any,
    using: str | None = None,
    **_: Any,
) -> None:
    """Follow `product.categories.add(...)` and its like, from either side."""
    if not action.startswith("post_"):
        return
    catalog = catalog_of(instance)
    if catalog is not None and not reverse:
        transaction.on_commit(lambda: _follow_save(catalog, instance), using=using)
    elif reverse and pk_set and (other := catalog_for_label(model._meta.label)) is not None:
        transaction.on_commit(lambda: _follow_related(other, "pk__in", list(pk_set)), using=using)


def _lookups(catalog: Catalog, sender: type[models.Model]) -> list[str]:
    try:
        return catalog.watched.get(concrete_label(sender), [])
    except Exception:  # a Catalog of a model that does not exist: the system checks say so, the shop's save goes on
        return []


def _deleted(sender: type[models.Model], instance: models.Model, using: str | None = None, **_: Any) -> None:
    catalog = catalog_of(instance)
    if catalog is not None:
        object_id = object_key(instance.pk)
        transaction.on_commit(lambda: _follow_deletion(catalog, object_id), using=using)
        if catalog.group is not None:
            transaction.on_commit(lambda: _follow_save(catalog, instance), using=using)


def _follow_save(catalog: Catalog, instance: models.Model) -> None:
    try:
        with apart():
            catalog, instance = catalog.owning_catalog(instance)
            objects = list(catalog.items_about(instance)[:MAX_FOLLOWED])
            sync_objects(catalog, objects)
            if instance.pk not in {obj.pk for obj in objects}:
                _follow_deletion(catalog, object_key(instance.pk))
    except Exception:  # the shop's save has succeeded and must stay so; the next sync repairs the item
        logger.exception("item of %s %s was not updated; run recommender_sync", catalog.label, instance.pk)


def _follow_related(catalog: Catalog, lookup: str, value: Any) -> None:
    try:
        with apart():
            objects = list(
                catalog.own_objects(catalog.queryset())
                .filter(**{lookup: value})
                .order_by("pk")
                .distinct()[: MAX_FOLLOWED + 1]
            )
            sync_objects(catalog, objects[:MAX_FOLLOWED])
            if len(objects) > MAX_FOLLOWED:
                message = "a change of %s=%s concerns more than %d objects of %s; run recommender_sync"
                logger.warning(message, lookup, value, MAX_FOLLOWED, catalog.label)
    except Exception:  # as above
        logger.exception(
            "items of %s were not updated after a change of %s; run recommender_sync", catalog.label, lookup
        )


def _follow_deletion(catalog: Catalog, object_id: str) -> None:
    try:
        with apart():
            items = Item.objects.filter(label=catalog.label, object_id=object_id)
            _deactivate(list(items.values_list("item_id", flat=True)))
    except Exception:  # as above
        logger.exception("item of %s %s was not deactivated; run recommender_sync", catalog.label, object_id)
