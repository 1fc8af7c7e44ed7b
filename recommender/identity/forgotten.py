"""Browsers whose visitor was erased and that still send its cookie: their answer to the banner is asked again.

Known to one process only, from the first event of such a browser that it dropped: what may be stored is decided by the
tombstones in the database, and this saves a query on every page.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable

MAX_REMEMBERED = 10_000

_keys: dict[uuid.UUID, None] = {}


def remember(keys: Iterable[uuid.UUID]) -> None:
    """Let the next page of these browsers delete their cookies."""
    if len(_keys) >= MAX_REMEMBERED:
        _keys.clear()
    _keys.update(dict.fromkeys(keys))


def forget(keys: Iterable[uuid.UUID] | None = None) -> None:
    """Ask these browsers no more, or none; after a new consent."""
    if keys is None:
        _keys.clear()
        return
    for key in keys:
        _keys.pop(key, None)


def any_known() -> bool:
    """Is there any such browser? On most pages not."""
    return bool(_keys)


def holds(key: uuid.UUID | None) -> bool:
    """Is it the visitor of such a browser?"""
    return key in _keys
