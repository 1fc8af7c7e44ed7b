"""Publication of what a training made: the bundle, the vectors of every item, and fresh statistics."""

from __future__ import annotations

import json
import logging

from recommender import bundles, datasets
from recommender.datasets import statistics
from recommender.models import Bundle
from recommender.serving import engine_sync, vectors
from recommender.training.fitting import FittedBundle

logger = logging.getLogger(__name__)

CHUNK_SIZE = 500


def publish(
    dataset: datasets.Dataset, fitted: FittedBundle, *, learned_until: float | None = None, at: float | None = None
) -> Bundle:
    """Write the bundle and the vectors that training computed; encode items that came or changed since.

    learned_until: the moment from which it has learned nothing, so that later runs know what it can be judged on.

    Statistics are of the events that were read, before `at` (default: all of them); the next refresh adds newer ones.
    """
    encoder_hash = json.loads((fitted.folder / "encoder.json").read_text())["hash"]
    bundle = bundles.write_bundle(
        fitted.folder, is_trained=True, encoder_hash=encoder_hash, learned_until=learned_until
    )
    row_of = {pair: row for row, pair in enumerate(zip(dataset.items.ids, dataset.items.texts, strict=True))}
    items = list(bundles.items_without_vector(encoder_hash).only("pk", "item_id", "text", "text_hash"))
    unchanged = [item for item in items if (item.item_id, item.text) in row_of]
    for start in range(0, len(unchanged), CHUNK_SIZE):
        chunk = unchanged[start : start + CHUNK_SIZE]
        rows = fitted.text_vectors[[row_of[item.item_id, item.text] for item in chunk]]
        vectors.write_vectors(chunk, rows, encoder_hash=encoder_hash)
    vectors.encode_missing(bundle.name)
    _fill_engine(bundle)
    moment = dataset.taken_at if at is None else at
    interactions, _ = datasets.clean(dataset.recorded.before(moment), now=moment)
    statistics.write_published(dataset.items, interactions, at=moment)
    return bundle


def _fill_engine(bundle: Bundle) -> None:
    """Make the collection of the bundle. Without it the bundle is not promoted, but nothing learned is lost."""
    try:
        engine_sync.sync(name=bundle.name)
    except Exception:  # whatever a database or its client raises
        logger.exception("bundle %s is trained, but its vectors could not be written into the vector engine", bundle)
