"""Which collection of the vector engine holds the vectors of a bundle, and whether it is complete."""

from __future__ import annotations

import hashlib

from recommender.models import Bundle, VectorCollection
from recommender.retrieval.engine import Space

DELTA = ("delta.npy", "delta_ids.json")
"""The files of a bundle that say how far behaviour moves the vectors of which items."""


def delta_hash_of(bundle: Bundle) -> str:
    """What moves the vectors of a bundle's encoder, as a hash; "" where nothing does."""
    files = bundle.manifest.get("files", {})
    if DELTA[0] not in files:
        return ""
    return hashlib.sha256("".join(files[name]["sha256"] for name in DELTA).encode()).hexdigest()[:32]


def space_of(collection: VectorCollection) -> Space:
    """The space of the vectors of a collection."""
    return Space(collection.encoder_hash, collection.dimension, collection.delta_hash)


def has_complete_collection(bundle: Bundle) -> bool:
    """Whether the engine has had the vectors of every active item. One query."""
    return VectorCollection.objects.filter(
        encoder_hash=bundle.encoder_hash, delta_hash=delta_hash_of(bundle), is_complete=True
    ).exists()


def complete_spaces() -> dict[str, Space]:
    """The complete collections by the names of the bundles whose vectors they hold. Two queries, one without any."""
    complete = VectorCollection.objects.filter(is_complete=True)
    spaces = {(collection.encoder_hash, collection.delta_hash): space_of(collection) for collection in complete}
    bundles = Bundle.objects.only("name", "encoder_hash", "manifest") if spaces else ()
    keys = {bundle.name: (bundle.encoder_hash, delta_hash_of(bundle)) for bundle in bundles}
    return {name: spaces[key] for name, key in keys.items() if key in spaces}
