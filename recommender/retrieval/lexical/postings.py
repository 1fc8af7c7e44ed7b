"""Which rows have a word, and which words a row has: arrays that are never changed, and beside them the rows that were
replaced since.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from recommender.packed import PackedArrays
from recommender.types import FloatArray, IntArray

Entries = tuple[IntArray, IntArray, FloatArray]
"""Words (m,), rows (m,) and counts (m,), ascending by word and then by row."""


def _no_entries() -> Entries:
    return np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.float32)


@dataclass(frozen=True, slots=True)
class Postings:
    """first (n_packed_words + 1,) int64: word i is in `rows[first[i]:first[i + 1]]`, ascending, with these `counts`;
    word_first and words: the same by row. frequency (n_words,) int32: rows with each word. is_replaced (n_rows,): whose
    own entries are in `fresh`, with those of added rows.
    """

    first: npt.NDArray[np.int64]
    rows: IntArray
    counts: FloatArray
    word_first: npt.NDArray[np.int64]
    words: IntArray
    frequency: IntArray
    is_replaced: npt.NDArray[np.bool_]
    fresh: Entries = field(default_factory=_no_entries)
    is_changed: bool = False

    @classmethod
    def of(cls, matrix: csr_array) -> Postings:
        """Take the counts (n_words, n_rows), without zeros."""
        by_row = matrix.tocsc()
        first = matrix.indptr.astype(np.int64)
        return cls(
            first,
            matrix.indices.astype(np.int32, copy=False),
            matrix.data,
            by_row.indptr.astype(np.int64),
            by_row.indices.astype(np.int32, copy=False),
            np.diff(first).astype(np.int32),
            np.zeros(matrix.shape[1], bool),
        )

    def of_word(self, word_id: int) -> tuple[IntArray, FloatArray]:
        """Return the rows (n,) that have a word, ascending, and the counts (n,)."""
        if word_id + 1 < len(self.first):
            span = slice(self.first[word_id], self.first[word_id + 1])
            rows, counts = self.rows[span], self.counts[span]
        else:
            rows, counts = self.rows[:0], self.counts[:0]
        if not self.is_changed:
            return rows, counts
        words, fresh_rows, fresh_counts = self.fresh
        is_valid = ~self.is_replaced[rows]
        span = slice(*np.searchsorted(words, (word_id, word_id + 1)).tolist())
        rows = np.concatenate([rows[is_valid], fresh_rows[span]])
        order = np.argsort(rows, kind="stable")
        return rows[order], np.concatenate([counts[is_valid], fresh_counts[span]])[order]

    def replaced(self, changed: IntArray, matrix: csr_array) -> Postings:
        """Return postings with some rows replaced or added; matrix (n_words, n_rows): the counts of these alone."""
        n_words, n_rows = matrix.shape
        frequency = np.zeros(n_words, np.int32)
        frequency[: len(self.frequency)] = self.frequency
        is_replaced = np.zeros(n_rows, bool)
        is_replaced[: len(self.is_replaced)] = self.is_replaced
        words, rows, counts = self.fresh
        stays = ~np.isin(rows, changed)
        n_packed = len(self.word_first) - 1
        packed = [row for row in changed.tolist() if row < n_packed and not is_replaced[row]]
        leaving = [self.words[self.word_first[row] : self.word_first[row + 1]] for row in packed]
        np.subtract.at(frequency, np.concatenate([words[~stays], *leaving]), 1)
        added = matrix.tocoo()
        np.add.at(frequency, added.coords[0], 1)
        is_replaced[changed] = True
        words = np.concatenate([words[stays], added.coords[0]]).astype(np.int32)
        rows = np.concatenate([rows[stays], added.coords[1]]).astype(np.int32)
        order = np.lexsort((rows, words))
        fresh = words[order], rows[order], np.concatenate([counts[stays], added.data]).astype(np.float32)[order]
        return replace(self, frequency=frequency, is_replaced=is_replaced, fresh=fresh, is_changed=True)

    def arrays(self) -> PackedArrays:
        """Return what `from_arrays` takes: the entries as if all rows had been read at once."""
        if not self.is_changed:
            names = ("first", "rows", "counts", "word_first", "words", "frequency")
            return {name: getattr(self, name) for name in names}
        word_of = np.repeat(np.arange(len(self.first) - 1), np.diff(self.first))
        stays = ~self.is_replaced[self.rows]
        words, rows, counts = self.fresh
        words, rows = np.concatenate([word_of[stays], words]), np.concatenate([self.rows[stays], rows])
        shape = (len(self.frequency), len(self.is_replaced))
        counts = np.concatenate([self.counts[stays], counts])
        return Postings.of(csr_array((counts, (words, rows)), shape=shape, dtype=np.float32)).arrays()

    @classmethod
    def from_arrays(cls, arrays: PackedArrays) -> Postings:
        """Read what `arrays` gave. Raises ValueError where it cannot be that."""
        fits = arrays["first"][-1] == len(arrays["rows"]) == len(arrays["counts"])
        if not fits or arrays["word_first"][-1] != len(arrays["words"]):
            raise ValueError("the postings do not fit their offsets")
        return cls(
            first=arrays["first"],
            rows=arrays["rows"],
            counts=arrays["counts"],
            word_first=arrays["word_first"],
            words=arrays["words"],
            frequency=arrays["frequency"],
            is_replaced=np.zeros(len(arrays["word_first"]) - 1, bool),
        )
