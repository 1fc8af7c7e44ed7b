"""Bundles, the folders of weights: their files, which one serves, and bundle 0, which serves before any training."""

from recommender.bundles.bundle_zero import encoder_spec, ensure_champion, untrained
from recommender.bundles.manifest import verify
from recommender.bundles.promotion import (
    champion,
    confirm,
    items_without_vector,
    make_champion,
    previous,
    promote,
    prune,
    quarantine,
    require_promotable,
    retained,
    roll_back,
    take_back,
)
from recommender.bundles.store import fetch, write_bundle

__all__ = [
    "champion",
    "confirm",
    "encoder_spec",
    "ensure_champion",
    "fetch",
    "items_without_vector",
    "make_champion",
    "previous",
    "promote",
    "prune",
    "quarantine",
    "require_promotable",
    "retained",
    "roll_back",
    "take_back",
    "untrained",
    "verify",
    "write_bundle",
]
