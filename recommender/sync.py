"""The shop's objects in, `Item` rows out: in full, incrementally, or for one object that was just saved."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from itertools import islice
from typing import Any

from django.db import models, transaction
from django.db.models.signals import m2m_changed, post_delete, post_save
from django.utils import timezone

from recommender.catalog import Catalog, ItemFacts, catalog_for_label, catalog_of, catalogs
from recommender.exceptions import ConfigurationError
from recommender.models import Item
from recommender.signals import items_changed

logger = logging.getLogger(__name__)

MAX_FAILURES_KEPT = 20
MAX_FOLLOWED = 500
"""A change of a category or a brand re-reads at most so many items at once; the next sync reads the others."""

INCREMENTAL_OVERLAP = timedelta(minutes=2)
COPIED = tuple(
    column.name for column in dataclasses.fields(ItemFacts) if column.name not in ("item_id", "first_seen_at")
)

Progress = Callable[[int, int], None]


@dataclass(slots=True)
class SyncReport:
    """What a sync found. `failures` holds the first "id: message" of the objects that were skipped."""

    n_created: int = 0
    n_changed: int = 0
    n_unchanged: int = 0
    n_deactivated: int = 0
    n_failed: int = 0
    failures: list[str] = field(default_factory=list)

    @property
    def n_written(self) -> int:
        return self.n_created + self.n_changed + self.n_deactivated

    def fail(self, name: str, error: Exception) -> None:
        """Count a skipped object and keep the first messages."""
        self.n_failed += 1
        if len(self.failures) < MAX_FAILURES_KEPT:
            self.failures.append(f"{name}: {error}")


def sync(*, chunk_size: int = 500, progress: Progress | None = None) -> SyncReport:
    """Read every object of every Catalog, write what differs, deactivate what is gone. Two queries a chunk."""
    return _sync(full=True, chunk_size=chunk_size, progress=progress)


def sync_changed(*, chunk_size: int = 500, progress: Progress | None = None) -> SyncReport:
    """Read only what changed since the newest item, where a Catalog names its `updated` field; else as `sync`."""
    return _sync(full=False, chunk_size=chunk_size, progress=progress)


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
    """Has the Catalog a model? One without is reported, and the others are synced."""
    try:
        catalog.model  # noqa: B018  looking it up is the check
    except ConfigurationError as error:
        report.fail(catalog.label, error)
        logger.error("catalog %s is left out: %s", catalog.label, error)
        return False
    return True


def _changed_objects(catalog: Catalog, *, full: bool) -> models.QuerySet[Any]:
    if full:
        return catalog.queryset()
    newest = Item.objects.filter(label=catalog.label).aggregate(newest=models.Max("updated_at"))["newest"]
    return catalog.queryset() if newest is None else catalog.changed_since(newest - INCREMENTAL_OVERLAP)


def _chunks(objects: Iterator[Any], size: int) -> Iterator[list[Any]]:
    while chunk := list(islice(objects, size)):
        yield chunk


def _write(catalog: Catalog, objects: Iterable[Any], report: SyncReport) -> None:
    objects = list(objects)
    models.prefetch_related_objects(objects, *catalog.prefetched)
    facts = {fact.item_id: fact for fact in _facts(catalog, objects, report)}
    known = {item.item_id: item for item in Item.objects.filter(item_id__in=facts)}
    _refuse_others(catalog, facts, known, report)
    now = timezone.now()
    created = [_new_item(catalog, fact, now) for item_id, fact in facts.items() if item_id not in known]
    changed = [item for item_id, item in known.items() if _apply(item, catalog, facts[item_id], now)]
    if created:
        Item.objects.bulk_create(created, ignore_conflicts=True)
    if changed:
        Item.objects.bulk_update(changed, ["label", "updated_at", "first_seen_at", *COPIED])
    report.n_created += len(created)
    report.n_changed += len(changed)
    report.n_unchanged += len(known) - len(changed)
    _announce([item.item_id for item in (*created, *changed)])


def _refuse_others(catalog: Catalog, facts: dict[str, ItemFacts], known: dict[str, Item], report: SyncReport) -> None:
    """Two Catalogs that give one id would take the item from each other at every sync: the first one keeps it."""
    labels = {other.label for other in catalogs()} - {catalog.label}
    for item_id in [item_id for item_id, item in known.items() if item.label in labels and item.is_active]:
        taken = (
            f"the id {item_id!r} is an item of {known.pop(item_id).label} already. Give the Catalog an id of its own"
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
                unwanted.append(str(obj.pk))
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


def _apply(item: Item, catalog: Catalog, fact: ItemFacts, now: datetime) -> bool:
    wanted = {name: getattr(fact, name) for name in COPIED} | {"label": catalog.label}
    if fact.first_seen_at is not None:
        wanted["first_seen_at"] = fact.first_seen_at
    if all(getattr(item, name) == value for name, value in wanted.items()):
        return False
    for name, value in wanted.items():
        setattr(item, name, value)
    item.updated_at = now
    return True


def _deactivate_missing(catalog: Catalog, report: SyncReport) -> None:
    """Items whose object left the Catalog's queryset become inactive; their behaviour stays."""
    listed = {str(pk) for pk in catalog.queryset().order_by().values_list("pk", flat=True).iterator(chunk_size=5000)}
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
        transaction.on_commit(lambda: items_changed.send(sender=Item, item_ids=item_ids), robust=True)


def connect() -> None:
    """Follow the saves and deletions of every model that has a Catalog."""
    post_save.connect(_saved, dispatch_uid="recommender_saved")
    post_delete.connect(_deleted, dispatch_uid="recommender_deleted")
    m2m_changed.connect(_categorised, dispatch_uid="recommender_categorised")


def _saved(sender: type[models.Model], instance: models.Model, raw: bool = False, **_: Any) -> None:
    if raw:
        return
    catalog = catalog_of(instance)
    if catalog is not None:
        transaction.on_commit(lambda: _follow_save(catalog, instance))
    for other in catalogs():
        for lookup in _lookups(other, sender):
            transaction.on_commit(partial(_follow_related, other, lookup, instance.pk))


def _categorised(
    sender: Any, instance: models.Model, action: str, reverse: bool, model: Any, pk_set: Any, **_: Any
) -> None:
    """Follow `product.categories.add(...)` and its like, from either side."""
    if not action.startswith("post_"):
        return
    catalog = catalog_of(instance)
    if catalog is not None and not reverse:
        transaction.on_commit(lambda: _follow_save(catalog, instance))
    elif reverse and pk_set and (other := catalog_for_label(model._meta.label)) is not None:
        transaction.on_commit(lambda: _follow_related(other, "pk__in", list(pk_set)))


def _lookups(catalog: Catalog, sender: type[models.Model]) -> list[str]:
    try:
        return catalog.watched.get(sender._meta.label_lower, [])
    except Exception:  # a Catalog of a model that does not exist: the system checks say so, the shop's save goes on
        return []


def _deleted(sender: type[models.Model], instance: models.Model, **_: Any) -> None:
    catalog = catalog_of(instance)
    if catalog is not None:
        object_id = str(instance.pk)
        transaction.on_commit(lambda: _follow_deletion(catalog, object_id))
        if catalog.group is not None:
            transaction.on_commit(lambda: _follow_save(catalog, instance))


def _follow_save(catalog: Catalog, instance: models.Model) -> None:
    try:
        objects = list(catalog.items_about(instance)[:MAX_FOLLOWED])
        sync_objects(catalog, objects)
        if instance.pk not in {obj.pk for obj in objects}:
            _follow_deletion(catalog, str(instance.pk))
    except Exception:  # the shop's save has succeeded and must stay so; the next sync repairs the item
        logger.exception("item of %s %s was not updated; run recommender_sync", catalog.label, instance.pk)


def _follow_related(catalog: Catalog, lookup: str, value: Any) -> None:
    try:
        objects = list(catalog.queryset().filter(**{lookup: value}).order_by("pk").distinct()[: MAX_FOLLOWED + 1])
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
        items = Item.objects.filter(label=catalog.label, object_id=object_id)
        _deactivate(list(items.values_list("item_id", flat=True)))
    except Exception:  # as above
        logger.exception("item of %s %s was not deactivated; run recommender_sync", catalog.label, object_id)
