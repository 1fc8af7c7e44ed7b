"""What a view reads from a request, how it looks up an item by it, and how a tracked page declares the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import models

from recommender.catalog.guesses import named_key, texts_apart
from recommender.management.drafting import words

Model = type[models.Model]
KEYS = ("slug", "sku", "code", "number", "upc", "ean", "isbn", "handle", "key")

Items = Mapping[Model, Sequence[tuple[Model, str]]]
"""Each model of items, with `(model, look-up)` of its variants that are models of their own."""


@dataclass(frozen=True, slots=True)
class Path:
    """Where a value is in the request, such as `GET.q` or `JSON.line.sku`; `kind` is the first word."""

    kind: str
    names: tuple[str, ...] = ()

    def __str__(self) -> str:
        return ".".join((self.kind, *self.names))

    def inside(self, name: Any) -> Path:
        return Path(self.kind, (*self.names, str(name)))


@dataclass(frozen=True, slots=True)
class Lookup:
    """The view looks up `model` by `field` with the value at `path`; `is_single` if it wants one object."""

    model: type[models.Model]
    field: str
    path: Path
    is_single: bool = True


@dataclass(slots=True)
class Reading:
    """What the source of a view shows."""

    lookups: list[Lookup] = field(default_factory=list)
    fixed: list[tuple[type[models.Model], str, Any]] = field(default_factory=list)
    reads: dict[Path, set[str]] = field(default_factory=dict)
    created: set[type[models.Model]] = field(default_factory=set)
    writes_session: bool = False
    is_read: bool = False

    def note(self, path: Path, name: str = "") -> None:
        """Note that a value is read, and the variable or argument that it is given to."""
        if path.names:
            self.reads.setdefault(path, set()).update({name} - {""})

    def paths_named(self, wanted: tuple[str, ...], kinds: tuple[str, ...]) -> list[Path]:
        """The paths whose last name, or whose variable, contains one of the words; exact names first."""
        fitting = [
            path
            for path, names in self.reads.items()
            if path.kind in kinds and any(words.has(name, wanted) for name in (path.names[-1], *names))
        ]
        return sorted(fitting, key=lambda path: (path.names[-1] not in wanted, str(path)))


def surest(lookups: Sequence[Lookup], items: Items | None) -> Lookup | None:
    """The best look-up of an item: by key, else by a unique column, else any; of any object if `items` is None."""
    fitting = [
        lookup
        for lookup in lookups
        if _finds_one(lookup) and (items is None or head_of(lookup.model, items) is not None)
    ]
    return min(fitting, key=_rank, default=None)


def of_each_item(lookups: Sequence[Lookup], items: Items) -> list[Lookup]:
    """The best look-up of each model of items that a view looks up, in the order of the source; variants count last."""
    heads = [(lookup, head) for lookup in lookups if (head := head_of(lookup.model, items)) is not None]
    best = []
    for model in dict.fromkeys(head[0] for _lookup, head in heads):
        own = surest([lookup for lookup, head in heads if head == (model, "")], items)
        best.append(own or surest([lookup for lookup, head in heads if head[0] is model], items))
    return [lookup for lookup in best if lookup is not None]


def head_of(model: Model, items: Items) -> tuple[Model, str] | None:
    """The model of the item, and the look-up from it to this model, which is empty if it is the item itself."""
    concrete = model._meta.concrete_model or model
    if concrete in items:
        return concrete, ""
    pairs = ((item, variant, lookup) for item, variants in items.items() for variant, lookup in variants)
    return next(((item, lookup) for item, variant, lookup in pairs if variant is concrete), None)


def item_of(lookup: Lookup, items: Items) -> str:
    """The `item_id` of a page, in the shortest form that finds the object."""
    model, via = head_of(lookup.model, items) or (lookup.model, "")
    pk = model._meta.pk.name if model._meta.pk else "pk"
    field = "pk" if lookup.field in ("pk", "id", pk) and not via else lookup.field
    field = f"{via}__{field}" if via else field
    label = model._meta.label
    if named_key(model, lookup.path.names[-1]) == field:
        return f'("{label}", "{lookup.path}")'
    return f'("{label}", "{lookup.path}", "{field}")'


def column_of(model: Model, name: str) -> str:
    """The name of a field in a filter; parler keeps translated fields in rows of their own."""
    own = {field.name for field in model._meta.get_fields()} | {"pk"}
    if name in own or "__" in name:
        return name
    return next((f"{rows}__{name}" for rows in texts_apart(model)), name)


def _finds_one(lookup: Lookup) -> bool:
    """Does it find a single object rather than, say, all of a category?"""
    field, model = lookup.field, lookup.model
    if field == "pk" or named_key(model, field) in (field, "pk") or field in KEYS:
        return True
    if any(field.startswith(f"{rows}__") for rows in texts_apart(model)):
        return True
    columns = {column.name for column in model._meta.concrete_fields if not column.is_relation}
    return lookup.is_single and field in columns


def _rank(lookup: Lookup) -> tuple[int, int]:
    key = lookup.model._meta.pk
    is_key = lookup.field in ("pk", "id") or (key is not None and lookup.field == key.name)
    is_unique = is_key or named_key(lookup.model, lookup.field) == lookup.field
    return (0 if is_key else 1 if is_unique else 2, lookup.field.count("__"))
