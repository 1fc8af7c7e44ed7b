"""Measures from which cosine on a query and an item are alike, for one catalogue and one encoder.

Cosines do not compare between encoders, nor between languages: by the same encoder, a word of an English title has .1
to .2 on average with items that lack it, one of a Persian title .62.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recommender.text.letters import characters, fold
from recommender.text.words import Word, words
from recommender.types import FloatArray

N_QUERIES, N_ITEMS = 96, 512
"""Short queries made of titles, and the items that each is compared with: 49,000 pairs, in a third of a second."""

FEWEST_PAIRS = 1_000
"""Pairs below which a floor is not lowered: in a small shop there may be nothing that is far from anything."""

QUANTILES = (0.999, 0.998, 0.98)
"""Of `near`, `beside_words` and `related`. On 500 graded queries of a hardware shop, 12,000 products, untuned encoder,
they are .40, .37 and .27. Beside the fixed .45 and .3 of before, NDCG@10 is .596 both, recall at 24 .858 and .859, at
100 .924 and .937, with half the results: a median of 128 instead of 285."""

ALIKE_QUANTILE = 0.98
STALE_SHARE = 0.1

Encode = Callable[[Sequence[str]], FloatArray]
"""Texts (n,) to vectors (n, d) of unit length: `Ranker.encode`."""

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Floors:
    """Cosines that hardly any query has with an item that lacks its words; the defaults are of English titles.

    near: from here on a query and an item are alike where no word says so; beside_words: where words find others;
    related: where no item has all words and this one has some; alike: two items. n_items: items with a vector when it
    was measured.
    """

    near: float = 0.45
    beside_words: float = 0.36
    related: float = 0.3
    alike: float = 0.45
    n_items: int = 0

    def is_stale(self, n_items: int) -> bool:
        """Whether so many items got or lost their vector that it must be measured anew; n_items: those with one."""
        return abs(n_items - self.n_items) > STALE_SHARE * self.n_items


def measure(titles: Sequence[str], vectors: FloatArray | None, encode: Encode, *, seed: int = 0) -> Floors:
    """Compare words of titles (n,) with items that lack them; vectors (n, d), zero for an item without one.

    The same for the same catalogue and encoder.
    """
    rows = np.empty(0, np.int64) if vectors is None else np.flatnonzero(vectors.any(axis=1))
    draw = np.random.default_rng(seed)
    queries = _queries([titles[row] for row in _drawn(rows, N_QUERIES, draw)], draw)
    if vectors is None or not queries:
        return Floors(n_items=len(rows))
    items = _drawn(rows, N_ITEMS, draw)
    cosines = (encode(queries) @ vectors[items].T)[_lacks(queries, [titles[row] for row in items])]
    between = (vectors[items] @ vectors[items].T)[np.triu_indices(len(items), k=1)]
    if not len(cosines) or not len(between):
        return Floors(n_items=len(rows))
    near, beside_words, related = np.quantile(cosines, QUANTILES).tolist()
    alike = float(np.quantile(between, ALIKE_QUANTILE))
    if len(cosines) >= FEWEST_PAIRS:
        return Floors(near, beside_words, related, alike, len(rows))
    usual = Floors()
    return Floors(
        max(near, usual.near),
        max(beside_words, usual.beside_words),
        max(related, usual.related),
        max(alike, usual.alike),
        len(rows),
    )


def _drawn(rows: Rows, n: int, draw: np.random.Generator) -> Rows:
    return rows if len(rows) <= n else np.sort(draw.choice(rows, n, replace=False))


def _queries(titles: Sequence[str], draw: np.random.Generator) -> list[str]:
    """Make a query of one word or two in a row of each title; of a run without spaces, of one to four characters."""
    queries = []
    for title in titles:
        every = list(words(title))
        if every:
            start = int(draw.integers(len(every)))
            chosen = every[start : start + int(draw.integers(1, 3))]
            queries.append(" ".join(_part(word, draw) for word in chosen))
    return queries


def _part(word: Word, draw: np.random.Generator) -> str:
    if not word.is_unspaced:
        return word.written
    letters = characters(word.written)
    start = int(draw.integers(len(letters)))
    return "".join(letters[start : start + int(draw.integers(1, 5))])


def _lacks(queries: Sequence[str], titles: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Return (n_queries, n_titles): whether a title has none of the words of a query, nor a word that holds one."""
    folded_titles = [fold(title) for title in titles]
    parts_of_queries = [fold(query).split() for query in queries]
    return np.array(
        [[not any(word in title for word in parts) for title in folded_titles] for parts in parts_of_queries]
    )
