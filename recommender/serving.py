"""What this process serves from: one ranker and one shelf, kept fresh in the background, swapped as one pair."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from django.db import DatabaseError, connection

from recommender import bundles, conf
from recommender.exceptions import BundleError, BundleUnreachable
from recommender.models import Bundle
from recommender.retrieval.shelf import Shelf, build_shelf, load_shelf, refresh_shelf
from recommender.state import State
from recommender.types import ItemTable, Rung

if TYPE_CHECKING:
    from recommender.ranking import Ranker

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Served:
    """The pair that answers a request; an answer never mixes two of them."""

    shelf: Shelf
    ranker: Ranker | None = None
    bundle: str = ""

    @property
    def rung(self) -> Rung:
        """The best rung that this pair can stand on."""
        if self.ranker is None:
            return Rung.LEXICAL
        return Rung.CHAMPION if self.ranker.head is not None else Rung.UNTRAINED


class _Memory:
    """The pair in memory of this process; `lock` is held by whoever looks for news."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.served: Served | None = None
        self.looked_at = float("-inf")


_memory = _Memory()


def current() -> Served:
    """The pair to serve with. Loads it on the first call; later calls only start a look for news. Never raises.

    With `REFRESH_SECONDS` 0 every call looks for news itself, at the cost of its queries.
    """
    if _memory.served is None:
        with _memory.lock:
            if _memory.served is None:
                _look()
    elif (interval := conf.get("REFRESH_SECONDS")) == 0:
        with _memory.lock:
            _look()
    elif time.monotonic() - _memory.looked_at > interval and _memory.lock.acquire(blocking=False):
        threading.Thread(target=_look_aside, name="recommender-refresh", daemon=True).start()
    return _memory.served or Served(empty_shelf())


def reload() -> Served:
    """Forget what is in memory and load it again, in this thread."""
    with _memory.lock:
        _memory.served = None
        _look()
    return _memory.served or Served(empty_shelf())


def empty_shelf() -> Shelf:
    """A shelf without items: what is served while nothing can be read."""
    none = np.empty(0, np.float32)
    items = ItemTable((), (), none, np.empty(0, np.int32), (), np.empty(0), np.empty(0, bool))
    state = State.from_columns(at=0.0, counts=np.empty((0, 4), np.float32), last_event_at=np.empty(0))
    return build_shelf(items, state=state)


def _look_aside() -> None:
    try:
        _look()
    finally:
        _memory.lock.release()
        connection.close()


def _look() -> None:
    """Apply what changed since the last look; on a failure keep what is in memory and say so."""
    _memory.looked_at = time.monotonic()
    try:
        _memory.served = _renewed(_memory.served)
    except DatabaseError:
        logger.exception("the recommender cannot read its tables; it keeps serving what is in memory")


def _renewed(served: Served | None) -> Served:
    champion = bundles.champion()
    name = champion.name if champion else ""
    if served is None or served.bundle != name:
        return _loaded(champion, served)
    shelf = refresh_shelf(served.shelf)
    return served if shelf is served.shelf else Served(shelf, served.ranker, served.bundle)


def _loaded(champion: Bundle | None, served: Served | None) -> Served:
    ranker = _ranker(champion)
    if ranker is None and champion is not None and served is not None:
        return served
    encoder_hash = ranker.encoder_hash if ranker else None
    shelf = load_shelf(encoder_hash, item_vectors=ranker.item_vectors if ranker else None)
    return Served(shelf, ranker, champion.name if champion and ranker else "")


def _ranker(champion: Bundle | None) -> Ranker | None:
    """The champion's ranker; a bundle that does not verify is quarantined, and the next best serves.

    Imported here: a host without the extra serves lexically, and pays no import.
    """
    if champion is None:
        return None
    try:
        from recommender.ranking import Ranker

        return Ranker.load(bundles.fetch(champion.name), name=champion.name)
    except BundleError as error:
        bundles.quarantine(champion.name, str(error))
        logger.exception("bundle %s is quarantined", champion.name)
        return _ranker(bundles.champion())
    except BundleUnreachable:
        logger.exception("bundle %s cannot be fetched; the next look tries again", champion.name)
        return None
    except ImportError:
        logger.exception('bundle %s needs onnxruntime: pip install "shopreco[serving]"', champion.name)
        return None
