"""What corrected interests do to a list: muted ones count for nothing and leave "for you", pinned ones lead it."""

from __future__ import annotations

import numpy as np

from recommender.features.profiles import without_events
from recommender.retrieval.base import Mask
from recommender.serving.shelf import Shelf
from recommender.tables import ItemTable, Profile
from recommender.text.stems import stem
from recommender.text.words import tokens
from recommender.types import Slot

FACTS = (Slot.RECENTLY_VIEWED, Slot.BUY_AGAIN)
"""Lists of what the shopper did, whatever they like."""

FOR_YOU = (Slot.HOME, Slot.CART)
"""Lists in which a muted interest has no item; a search still finds them, and "similar" is about the item."""

N_CACHED = 64

_masks: dict[str, tuple[ItemTable, Mask]] = {}
"""The items of an interest by its name, and the catalogue that they were read from."""


def items_of(shelf: Shelf, names: tuple[str, ...]) -> Mask:
    """The items of some interests, (n_items,) bool: of a category of this name, else with its words in the title."""
    mask = np.zeros(len(shelf), bool)
    for name in names:
        items, of_name = _masks.get(name, (None, mask))
        if items is not shelf.items:
            if len(_masks) >= N_CACHED:
                _masks.clear()
            of_name = _items_of(shelf, name)
            _masks[name] = shelf.items, of_name
        mask |= of_name
    return mask


def without_muted(profile: Profile, shelf: Shelf, muted: tuple[str, ...]) -> Profile:
    """A profile without the events of these interests, and without the searches that name one."""
    if not muted or profile.slot in FACTS:
        return profile
    is_out = (profile.item >= 0) & items_of(shelf, muted)[profile.item]
    stems = [{stem(word) for word in tokens(name)} for name in muted]
    for number, query in enumerate(profile.queries):
        words = {stem(word) for word in tokens(query)} if query else set()
        is_out[number] |= any(named and named <= words for named in stems)
    return without_events(profile, is_out)


def _items_of(shelf: Shelf, name: str) -> Mask:
    if name in shelf.items.category_names:
        return np.asarray(shelf.items.category == shelf.items.category_names.index(name))
    wanted = {stem(word) for word in tokens(name)}
    return np.array([bool(wanted) and wanted <= _stems(title, wanted) for title in shelf.titles], bool)


def _stems(title: str, wanted: set[str]) -> set[str]:
    """The stems of a title; none where the beginning of a wanted one is nowhere in it, which is quick to see."""
    lower = title.lower()
    if not all(word[:3] in lower for word in wanted if word.isascii()):
        return set()
    return {stem(word) for word in tokens(title)}
