"""Reads how many items of a list may share a brand, a category or another attribute, and refuses what has no effect."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from recommender import conf
from recommender.catalog.registry import attribute_names
from recommender.exceptions import ConfigurationError
from recommender.types import Slot

COLUMNS = ("brand", "category")
"""What every item has; further attributes are those that the shop's Catalogs declare."""

EXAMPLE = '{"brand": 2} or "brand:2, category:4"'

LIMITED_SLOTS = frozenset({Slot.HOME, Slot.SIMILAR, Slot.BOUGHT_TOGETHER, Slot.CART, Slot.TRENDING})
"""Where the setting applies: what the shopper looked at or bought stays in its own order, and a search is complete."""


def limits_for(slot: Slot, at_most: Mapping[str, int] | str | None) -> dict[str, int]:
    """The largest number of items by attribute; where the page says nothing, those of the setting `AT_MOST`.

    Raises ConfigurationError for an attribute that no item has, and for a number below 1.
    """
    if at_most is None:
        return limits_of(conf.get("AT_MOST")) if slot in LIMITED_SLOTS else {}
    return limits_of(at_most)


def limits_of(at_most: Mapping[str, int] | str) -> dict[str, int]:
    """The largest number of items by attribute, also from text such as "brand:2, category:4".

    Raises ConfigurationError for an attribute that no item has, and for a number below 1.
    """
    if not isinstance(at_most, Mapping | str):
        raise ConfigurationError(f"at_most must be a mapping such as {EXAMPLE}, not {at_most!r}.")
    pairs = at_most.items() if isinstance(at_most, Mapping) else _pairs(at_most)
    return {_attribute(name): _number(name, number) for name, number in pairs}


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, number = part.partition(":")
        yield name.strip(), number.strip()


def _attribute(name: str) -> str:
    names = [*COLUMNS, *attribute_names()]
    if name not in names:
        raise ConfigurationError(
            f"at_most: no item has an attribute {str(name)[:40]!r}. {conf.closest(str(name), names)} "
            f"There are: {', '.join(dict.fromkeys(names))}."
        )
    return name


def _number(name: str, number: int | str) -> int:
    text = str(number)
    if isinstance(number, bool) or not (text.isascii() and text.isdigit() and int(text[:9]) > 0):
        raise ConfigurationError(f"at_most: {name} must be a whole number from 1 on, not {number!r}. Write {EXAMPLE}.")
    return int(text[:9])
