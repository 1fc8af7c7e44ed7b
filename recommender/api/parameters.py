"""What may stand behind the `?` of each endpoint; what does not exist is refused, and the nearest name is offered."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any, NoReturn

from rest_framework import serializers

from recommender import conf
from recommender.pipeline import MAX_LIMIT, MAX_OFFSET
from recommender.serving.filters import FILTERS, facet_names, filter_names
from recommender.types import Sort

MAX_ID_LENGTH = 128
MAX_NAME_LENGTH = 255
MAX_NAMES = 50
"""Values of one filter."""

MAX_CART_ITEMS = 100
MAX_EXCLUDED_ITEMS = 200
"""A page of twenty lists of ten; as a parameter of an address no longer than servers read."""

MAX_SUGGESTIONS = 20
MAX_NAMED = 5
"""Faults of one request that are named."""

EVERYWHERE = frozenset({"format", "_", "gclid", "fbclid", "msclkid"})
"""Parameters that clients add to any address: the format that they want, of which there is one, a number against
caches, and where a shopper came from. They have no effect, nor has any that begins as `UTM` does."""

UTM = "utm_"
MAX_CURSOR_LENGTH = 200
SWITCH: dict[str, Any] = {"invalid": "Send 1 or 0."}


def no_such(kind: str, name: str, names: Mapping[str, Any] | list[str]) -> str:
    """Say that there is no parameter, field or value of this name: which is nearest, and which there are."""
    nearest = conf.closest(name[:MAX_ID_LENGTH].lower(), names)
    return " ".join(filter(None, [f"There is no such {kind}.", nearest, f"There are: {', '.join(names) or 'none'}."]))


class Parameters(serializers.Serializer[Any]):
    """What a GET takes; nothing unless an endpoint declares it. A misspelt one must not look as if it were obeyed."""

    def to_internal_value(self, data: Any) -> Any:
        """Return the checked values. Raises `ValidationError`, also for a parameter that there is not."""
        unknown = sorted(name for name in data if name not in self.fields and not _is_everywhere(name))
        if unknown:
            raise serializers.ValidationError(
                {name[:MAX_ID_LENGTH]: no_such("parameter", name, self.fields) for name in unknown[:MAX_NAMED]}
            )
        return super().to_internal_value(data)


class CartField(serializers.CharField):
    """Item ids joined by commas."""

    def to_internal_value(self, data: Any) -> Any:
        """Return the ids as a tuple."""
        return _joined(super().to_internal_value(data))[:MAX_CART_ITEMS]


class ExcludedField(serializers.CharField):
    """Item ids joined by commas, not more than `MAX_EXCLUDED_ITEMS`: one that was cut off would be listed."""

    def to_internal_value(self, data: Any) -> Any:
        """Return the ids as a tuple. Raises `ValidationError` for too many."""
        ids = _joined(super().to_internal_value(data))
        if len(ids) > MAX_EXCLUDED_ITEMS:
            raise serializers.ValidationError(f"These are {len(ids)} ids, at most {MAX_EXCLUDED_ITEMS} are allowed.")
        return ids


class OneOfField(serializers.ChoiceField):
    """One of a few names."""

    def fail(self, key: str, **values: Any) -> NoReturn:
        """Refuse an unknown name, with the nearest and all others. Raises `ValidationError`."""
        if key == "invalid_choice":
            raise serializers.ValidationError(no_such("value", str(values["input"]), self.choices))
        super().fail(key, **values)


class NamesField(serializers.ListField):
    """Names that one parameter gives, once or several times."""

    def __init__(self, **options: Any) -> None:
        child = serializers.CharField(max_length=MAX_NAME_LENGTH, allow_blank=True)
        super().__init__(child=child, max_length=MAX_NAMES, default=list, **options)

    def run_child_validation(self, data: Any) -> Any:
        """Return the names without empty ones. Raises `ValidationError` that names the parameter, not its place."""
        return [name for name in (self.child.run_validation(one) for one in data) if name]


class FacetsField(serializers.CharField):
    """Names of facets joined by commas, or "all"."""

    def to_internal_value(self, data: Any) -> Any:
        """Return the names as a tuple. Raises `ValidationError` for one that there is not."""
        names, existing = _joined(super().to_internal_value(data)), ["all", *facet_names()]
        if unknown := [name for name in names if name not in existing]:
            raise serializers.ValidationError(
                f"{unknown[0][:MAX_ID_LENGTH]!r}: {no_such('value', unknown[0], existing)}"
            )
        return "all" if "all" in names else names


class SearchParameters(Parameters):
    q = serializers.CharField(default="", allow_blank=True, help_text="What the shopper typed; typos are forgiven.")
    limit = serializers.IntegerField(default=24, min_value=1, max_value=MAX_LIMIT, help_text="Most items.")
    offset = serializers.IntegerField(default=0, min_value=0, max_value=MAX_OFFSET, help_text="Items to skip.")
    cursor = serializers.CharField(
        default="",
        allow_blank=True,
        max_length=MAX_CURSOR_LENGTH,
        help_text="Pages through results that stay as they are: * for the first page, then the `next_cursor` of the "
        "page before. Only `limit` counts beside a later one.",
    )
    category = NamesField(help_text="Only this category; sent several times, one of these.")
    brand = NamesField(help_text="Only this brand; sent several times, one of these.")
    min_price = serializers.FloatField(required=False, min_value=0, help_text="Only items from this price on.")
    max_price = serializers.FloatField(required=False, min_value=0, help_text="Only items up to this price.")
    available = serializers.BooleanField(default=False, help_text="Only what is in stock.", error_messages=SWITCH)
    sort = OneOfField(
        choices=[sort.value for sort in Sort],
        default=Sort.RELEVANCE.value,
        help_text="The order of what matches; what is only near follows by relevance.",
    )
    facets = FacetsField(
        default="",
        allow_blank=True,
        help_text="What to count the matches by, joined by commas: category, brand, price, available, attributes of "
        "this shop's items; or all.",
    )
    personal = serializers.BooleanField(
        default=True,
        help_text="0: in the same order for everybody, whatever this shopper likes.",
        error_messages=SWITCH,
    )

    def get_fields(self) -> dict[str, Any]:
        """The parameters, and one for each attribute of this shop's items."""
        attributes = [name for name in filter_names() if name not in FILTERS]
        return super().get_fields() | {name: NamesField(help_text=f"Only this {name}.") for name in attributes}

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Refuse a price that no item can have. Raises `ValidationError`."""
        low, high = attrs.get("min_price"), attrs.get("max_price")
        if low is not None and high is not None and low > high:
            raise serializers.ValidationError({"min_price": f"It is above max_price: {low:g} is more than {high:g}."})
        return attrs


class RecommendationParameters(Parameters):
    item_id = serializers.CharField(
        default="",
        allow_blank=True,
        max_length=MAX_ID_LENGTH,
        help_text="The item beside which the list stands; required by `similar` and `bought_together`.",
    )
    cart = CartField(default="", allow_blank=True, help_text="Ids of the items in the cart, joined by commas.")
    limit = serializers.IntegerField(default=8, min_value=1, max_value=MAX_LIMIT, help_text="Most items.")
    new_only = serializers.BooleanField(
        default=False,
        help_text="Only items that the shopper has not looked at or bought.",
        error_messages=SWITCH,
    )
    exclude = ExcludedField(
        default="",
        allow_blank=True,
        help_text="Ids of items that are not to be listed, such as those of other lists on the screen, joined by "
        f"commas; at most {MAX_EXCLUDED_ITEMS}.",
    )


class SuggestParameters(Parameters):
    q = serializers.CharField(default="", allow_blank=True, help_text="What has been typed so far.")
    limit = serializers.IntegerField(default=8, min_value=1, max_value=MAX_SUGGESTIONS, help_text="Most completions.")


def _joined(text: str) -> tuple[str, ...]:
    """Return what is joined by commas, each once."""
    parts = (part.strip() for part in text.split(","))
    return tuple(dict.fromkeys(part for part in parts if part))


def _is_everywhere(name: str) -> bool:
    return name in EVERYWHERE or name.startswith(UTM)


def uuid_or_none(text: str) -> uuid.UUID | None:
    """The UUID that a path names; None for anything else."""
    try:
        return uuid.UUID(text)
    except ValueError:
        return None
