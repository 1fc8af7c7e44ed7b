"""Reads what the shop says now of the items of a list: title, price and stock, never from a cache."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from recommender.catalog import paths
from recommender.catalog.registry import catalogs
from recommender.types import Live

logger = logging.getLogger(__name__)


def live_items(refs: Mapping[str, tuple[str, str]]) -> dict[str, Live]:
    """What the shop says now of the items in `refs`, item id -> (label, object id). One query per model.

    Hidden and deleted objects are missing from the answer; one whose attributes cannot be read is left out and logged.
    """
    live_by_item: dict[str, Live] = {}
    for catalog in catalogs():
        wanted = {object_id: item_id for item_id, (label, object_id) in refs.items() if label == catalog.label}
        if not wanted:
            continue
        unreadable: list[str] = []
        for obj in catalog.objects(wanted):
            try:
                live = catalog.live(obj)
            except Exception as error:  # the shop's own code: one bad object must not empty the list
                unreadable.append(f"{obj.pk} ({type(error).__name__}: {error})")
                continue
            if live is not None:
                live_by_item[wanted[paths.object_key(obj.pk)]] = live
        if unreadable:
            logger.error(
                "%s: %d objects cannot be read and are left out of lists, the first is %s",
                catalog.label,
                len(unreadable),
                unreadable[0],
            )
    return live_by_item
