"""How a view finds an item, and how a rule of a page says the same: `("shop.Product", "kwargs.slug")`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from django.db import models

from recommender.guesses import named_key, texts_apart
from recommender.management.drafting.reading import Lookup

Model = type[models.Model]
Items = Mapping[Model, Sequence[tuple[Model, str]]]
"""Each model of items, with the `(model, look-up)` pairs of its variants that are models of their own."""


def surest(lookups: Sequence[Lookup], items: Items | None) -> Lookup | None:
    """The look-up of an item, by key before by slug before by anything else; of any object where `items` is None."""
    fitting = [lookup for lookup in lookups if items is None or head_of(lookup.model, items) is not None]
    return min(fitting, key=_rank, default=None)


def of_each_item(lookups: Sequence[Lookup], items: Items) -> list[Lookup]:
    """The surest look-up of each model of items that a view may look up, in the order of the source."""
    heads = dict.fromkeys(head[0] for lookup in lookups if (head := head_of(lookup.model, items)) is not None)
    chosen = [surest([one for one in lookups if head_of(one.model, items) == (model, "")], items) for model in heads]
    variants = [
        surest([one for one in lookups if (head_of(one.model, items) or (None,))[0] is model], items) for model in heads
    ]
    return [own or variant for own, variant in zip(chosen, variants, strict=True) if own or variant]  # type: ignore[misc]


def head_of(model: Model, items: Items) -> tuple[Model, str] | None:
    """The model of the item and the look-up that leads to it: empty for an item itself, or for one of its variants."""
    concrete = model._meta.concrete_model or model
    if concrete in items:
        return concrete, ""
    pairs = ((item, variant, lookup) for item, variants in items.items() for variant, lookup in variants)
    return next(((item, lookup) for item, variant, lookup in pairs if variant is concrete), None)


def item_of(lookup: Lookup, items: Items) -> str:
    """`item_id` of a rule, in the shortest form that finds the object."""
    model, via = head_of(lookup.model, items) or (lookup.model, "")
    pk = model._meta.pk.name if model._meta.pk else "pk"
    field = "pk" if lookup.field in ("pk", "id", pk) and not via else lookup.field
    field = f"{via}__{field}" if via else field
    label = model._meta.label
    if named_key(model, lookup.path.names[-1]) == field:
        return f'("{label}", "{lookup.path}")'
    return f'("{label}", "{lookup.path}", "{field}")'


def column_of(model: Model, name: str) -> str:
    """A field as a filter takes it: a translated one of parler lies in rows of its own."""
    own = {field.name for field in model._meta.get_fields()} | {"pk"}
    if name in own or "__" in name:
        return name
    return next((f"{rows}__{name}" for rows in texts_apart(model)), name)


def _rank(lookup: Lookup) -> tuple[int, int]:
    is_key = lookup.field in ("pk", "id") or lookup.field == (
        lookup.model._meta.pk.name if lookup.model._meta.pk else ""
    )
    is_unique = is_key or named_key(lookup.model, lookup.field) == lookup.field
    return (0 if is_key else 1 if is_unique else 2, lookup.field.count("__"))
