"""The statistics of a shop whose events outgrow memory: from the files of the archive, by an engine."""

from __future__ import annotations

import datetime as dt
import logging
from importlib.util import find_spec

from recommender import conf
from recommender.datasets import archive
from recommender.datasets.columns import PeopleColumns
from recommender.datasets.reading import read_people
from recommender.exceptions import ArchiveError
from recommender.features.credibility import Burst
from recommender.features.shop_state import ShopState
from recommender.models.encryption import plain
from recommender.models.staff import visitors_of_staff
from recommender.tables import ItemTable

logger = logging.getLogger(__name__)

FEWEST_EVENTS = 1_000_000
"""Below so many NumPy is faster, and needs less than a gigabyte."""


def is_large() -> bool:
    """Does the archive hold more than memory should, and is the package there that computes outside it?"""
    return archive.is_in_use() and archive.read_manifest().n_events >= FEWEST_EVENTS and find_spec("ibis") is not None


def state_of(items: ItemTable, *, at: dt.datetime) -> tuple[ShopState, tuple[Burst, ...]] | None:
    """The state of the shop before `at` with its public neighbours, and what looks like a manipulation; None where a
    file of the archive is damaged, which is logged."""
    from recommender.datasets import expressions
    from recommender.datasets.archive.parts import microseconds

    people = PeopleColumns.of(read_people())
    fewest = {"fewest_buyers": conf.get("FEWEST_BUYERS"), "fewest": conf.get("FEWEST_PEOPLE")}
    try:
        with archive.all_files() as paths, expressions.duckdb_engine() as engine:
            events = engine.files(paths)
            events = events.filter(events.occurred_at < microseconds(at))
            counted, subjects = expressions.events_of(
                engine, events, items, people, staff=visitors_of_staff(), plain=plain
            )
            clean, report = expressions.cleaned(engine, counted, subjects, now=at.timestamp())
            state = expressions.shop_state(engine, clean, n_items=len(items), at=at.timestamp(), **fewest)
            return state, report.bursts
    except ArchiveError as error:
        logger.warning("statistics are computed from the database instead of the archive: %s", error)
        return None
