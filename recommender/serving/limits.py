"""Keeps a list within the largest number of items of one brand, category or other attribute."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from recommender.serving import policy
from recommender.serving.attributes import column_of
from recommender.serving.question import Listed
from recommender.serving.shelf import Shelf


def limited(listed: Listed, shelf: Shelf, limits: Mapping[str, int], *, n_places: int) -> Listed:
    """The list with what is beyond a limit behind the first `n_places`, but before what is out of stock."""
    columns = [(column_of(shelf, name).codes[listed.rows], most) for name, most in limits.items()]
    order = policy.at_most(columns, shelf.available[listed.rows], n_places=n_places)
    return replace(listed, rows=listed.rows[order], scores=listed.scores[order])
