"""Bundles, the folders of weights: their files, which one serves, and bundle 0, which serves before any training."""

from recommender.bundles.approvals import approve, missing_in_words, n_people, open_approvals, require_enough, use_up
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
from recommender.bundles.spaces import complete_spaces, delta_hash_of, has_complete_collection, space_of
from recommender.bundles.store import fetch, write_bundle

__all__ = [
    "approve",
    "champion",
    "complete_spaces",
    "confirm",
    "delta_hash_of",
    "encoder_spec",
    "ensure_champion",
    "fetch",
    "has_complete_collection",
    "items_without_vector",
    "make_champion",
    "missing_in_words",
    "n_people",
    "open_approvals",
    "previous",
    "promote",
    "prune",
    "quarantine",
    "require_enough",
    "require_promotable",
    "retained",
    "roll_back",
    "space_of",
    "take_back",
    "untrained",
    "use_up",
    "verify",
    "write_bundle",
]
