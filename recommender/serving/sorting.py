"""Orders what a search found by price, age, sales or name instead of relevance."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from recommender.retrieval.popular import popularity
from recommender.serving import policy
from recommender.serving.attributes import currency_of
from recommender.serving.question import Listed
from recommender.serving.shelf import Shelf
from recommender.types import IntArray, Sort

Key = npt.NDArray[np.generic]
"""(n,) one value for each of n rows, by which they ascend; NaN comes last."""

_ACCENTS = re.compile("[\u0300-\u036f]")
_SIGNS = re.compile(r"^\W+(?=\w)")


def in_order(sort: Sort, listed: Listed, shelf: Shelf, *, limit: int) -> Listed:
    """Order all that was found, of which the first `limit` are listed; what is only near follows by relevance.

    What cannot be bought comes behind the rest, as in a list by relevance; by price, what has no price comes behind
    what has one. Equals keep the order of relevance. Where nothing matches, what is listed instead is ordered.
    """
    if sort is Sort.RELEVANCE or not len(listed.rows):
        return listed
    matches = listed.matches if len(listed.matches) else listed.rows
    relevance = np.full(len(shelf), len(shelf))
    relevance[listed.rows] = np.arange(len(listed.rows))
    matches = matches[np.argsort(relevance[matches], kind="stable")]
    matches = matches[np.lexsort([*KEYS[sort](matches, shelf), ~shelf.available[matches]])][:limit]
    near = listed.rows[np.isin(listed.rows, np.setdiff1d(listed.near, matches))]
    rows = np.concatenate([matches, near])
    rows = rows[policy.available_first(shelf.available[rows])]
    scores = np.full(len(shelf), listed.scores.min(), np.float32)
    scores[listed.rows] = listed.scores
    return replace(listed, rows=rows, scores=scores[rows])


def _by_price(rows: IntArray, shelf: Shelf) -> list[Key]:
    return [shelf.items.price[rows], _currency_rank(rows, shelf)]


def _by_price_descending(rows: IntArray, shelf: Shelf) -> list[Key]:
    return [-shelf.items.price[rows], _currency_rank(rows, shelf)]


def _by_age(rows: IntArray, shelf: Shelf) -> list[Key]:
    return [-shelf.items.first_seen[rows]]


def _by_sales(rows: IntArray, shelf: Shelf) -> list[Key]:
    return [-popularity(shelf.state)[rows]]


def _by_name(rows: IntArray, shelf: Shelf) -> list[Key]:
    names = [_sortable(shelf.titles[row]) for row in rows.tolist()]
    rank = np.empty(len(rows), np.int64)
    rank[sorted(range(len(rows)), key=names.__getitem__)] = np.arange(len(rows))
    return [rank]


KEYS: dict[Sort, Callable[[IntArray, Shelf], list[Key]]] = {
    Sort.CHEAPEST: _by_price,
    Sort.DEAREST: _by_price_descending,
    Sort.NEWEST: _by_age,
    Sort.POPULAR: _by_sales,
    Sort.NAME: _by_name,
}
"""For each order the columns by which rows (n,) ascend, the last column first; equal rows stay as they are."""


def _currency_rank(rows: IntArray, shelf: Shelf) -> Key:
    """Return (n,): 0 for items in the most frequent currency, 1 for the next: amounts in two cannot be compared."""
    codes = currency_of(shelf).codes[rows] + 1
    return np.argsort(np.argsort(-np.bincount(codes), kind="stable"))[codes]


def _sortable(title: str) -> str:
    """A title by which names are ordered: without case, accents and the quotation marks before it."""
    if not title.isascii():
        title = _ACCENTS.sub("", unicodedata.normalize("NFKD", title.casefold()))
    return _SIGNS.sub("", title.lower())
