"""Encodes the items that have no vector of a bundle's encoder yet and stores their vectors in SQL, chunk by chunk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from django.db import models, router
from django.utils import timezone

from recommender import bundles
from recommender.exceptions import MissingDependency
from recommender.models import Bundle, Item, ItemVector
from recommender.models.connections import committed, persistently
from recommender.serving import runtimes
from recommender.types import FloatArray

if TYPE_CHECKING:
    from recommender.serving.ranker import Ranker

CHUNK_SIZE = 256
"""Items encoded per statement: about a second on one thread, so that progress shows and an abort loses little."""

ENCODER = "encoder.onnx"

Progress = Callable[[int, int], None]


def encode_missing(name: str, *, chunk_size: int = CHUNK_SIZE, progress: Progress | None = None) -> int:
    """Encode the active items whose current text has no vector of this bundle's encoder; return how many.

    For workers and commands. Two may run at the same time. Raises BundleError for a bundle that does not verify and
    MissingDependency without the extra `serving`.
    """
    encoder_hash = persistently(lambda: Bundle.objects.values_list("encoder_hash", flat=True).get(name=name))
    missing = bundles.items_without_vector(encoder_hash)
    total = persistently(missing.count)
    if not total:
        return 0
    rows = missing.order_by("pk").only("pk", "text", "text_hash")
    ranker = _encoder(name, rows, total)
    done = last = 0
    items: list[Item]
    while items := persistently(partial(list, rows.filter(pk__gt=last)[:chunk_size])):
        encoded = ranker.encode([item.text for item in items])
        persistently(partial(write_vectors, items, encoded, encoder_hash=encoder_hash))
        done, last = done + len(items), items[-1].pk
        if progress is not None:
            progress(done, max(total, done))
    return done


def _encoder(name: str, rows: models.QuerySet[Item], total: int) -> Ranker:
    """What encodes these rows: with many of them, the fastest runtime that is installed. At most one query."""
    ranker = load_ranker(name)
    if total < runtimes.LEAST_TEXTS:
        return ranker
    texts = persistently(lambda: list(rows.values_list("text", flat=True)[: runtimes.MOST_SAMPLED]))
    return runtimes.fastest(ranker, bundles.fetch(name) / ENCODER, texts)


def load_ranker(name: str) -> Ranker:
    """The ranker of a bundle. Raises as `encode_missing`."""
    try:
        from recommender.serving.ranker import Ranker
    except ImportError as error:
        raise MissingDependency(f'{error.name} is not installed: pip install "shopreco[serving]".') from error
    return Ranker.load(bundles.fetch(name), name=name)


def write_vectors(items: Sequence[Item], vectors: FloatArray, *, encoder_hash: str) -> None:
    """Store the vector (n, d) of each item's current text. One statement, done again if a writer was in the way."""
    now = timezone.now()
    rows = [
        ItemVector(
            item=item,
            encoder_hash=encoder_hash,
            text_hash=item.text_hash,
            vector=np.ascontiguousarray(vector, "<f4").tobytes(),
            updated_at=now,
        )
        for item, vector in zip(items, vectors, strict=True)
    ]
    store = partial(
        ItemVector.objects.bulk_create,
        rows,
        update_conflicts=True,
        unique_fields=["item", "encoder_hash"],
        update_fields=["text_hash", "vector", "updated_at"],
    )
    committed(store, using=router.db_for_write(ItemVector))
