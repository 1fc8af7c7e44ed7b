"""A system check of the vector engine, with `check --database`: whether it answers, and takes the shop's vectors."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from django.core import checks
from django.db import DatabaseError, router
from django.utils.translation import gettext as _

from recommender.bundles import space_of
from recommender.exceptions import EngineError, RecommenderError
from recommender.models import VectorCollection
from recommender.serving.engines import GuardedEngine


def check_collections(
    app_configs: Any, *, databases: Collection[str] | None = None, **options: Any
) -> list[checks.CheckMessage]:
    """E004: a collection has another dimension than the vectors that belong into it."""
    if router.db_for_read(VectorCollection) not in (databases or ()):
        return []
    hint = _("Until this is repaired, the exact scan of each process serves.")
    return [checks.Error(message, hint, id="recommender.E004") for message in _faults()]


def _faults() -> Iterator[str]:
    try:
        guarded = GuardedEngine.configured()
        spaces = [space_of(collection) for collection in VectorCollection.objects.all()]
    except (
        DatabaseError,
        RecommenderError,
    ):  # tables that are not there yet, or a setting that the other check reports
        return
    if guarded is None:
        return
    for space in spaces:
        try:
            if guarded.engine.dimension(space):
                guarded.engine.create(space)  # changes nothing where the collection exists
        except EngineError as error:
            yield f"RECOMMENDER['VECTOR_ENGINE']: {error}"
        except Exception as error:  # whatever a database or its client raises
            message = _("RECOMMENDER['VECTOR_ENGINE']: the engine does not answer: %(kind)s: %(error)s")
            yield message % {"kind": type(error).__name__, "error": error}
            return
