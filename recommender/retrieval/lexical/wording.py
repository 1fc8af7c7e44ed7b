"""Compares the wording of a query with titles: shared words, sizes, word order and spelling, as columns of features."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from recommender.features.neighbours import entries
from recommender.packed import Numbering, PackedArrays, PackedTexts, TextIndex, appended, put_rows
from recommender.retrieval.base import Mask
from recommender.text.stems import stem
from recommender.text.words import LINKING_WORDS, tokens
from recommender.types import FloatArray, IntArray

MAX_WORDS = 28
"""Words of a title that are read; what follows in longer ones tells little about the item."""

MAX_TERMS = 24
N_GRAM_CODES = 65_536
MAX_GRAMS = 160
GRAM_LENGTHS = (3, 4)
"""Character n-grams of words, hashed (Weinberger et al. 2009); they match across spellings and compounds."""

K1, B = 1.2, 0.4
"""BM25 over stems; as in `retrieval.lexical`, where the values come from."""

WORDING_FEATURES: tuple[str, ...] = (
    "words_matched", "words_share", "worst_missing", "n_missing", "title_share", "first_place", "last_word_matched",
    "last_word_place", "last_word_is_head", "head_in_query", "pairs_matched", "numbers_matched", "n_numbers",
    "numbers_missing", "sizes_matched", "other_numbers", "n_words", "title_words", "letters", "word_cosine",
    "starts_alike", "bm25", "spread", "in_order", "n_unknown", "letters_matched", "letters_only",
)  # fmt: skip

Codes = npt.NDArray[np.uint16]

Columns = dict[str, FloatArray]
"""Name of a feature to its values (n,)."""

LONGEST_UNIT = 2
"""Letters of a unit, such as "in", "ft" and "cm"."""

HEAD_ENDS = frozenset({"with", "for", "in", "to", "by", "without", "on", "mit", "für", "avec", "pour", "con", "para"})
"""The word before one of these names the goods, as in "drill bit set with case"; without one the last word does."""


PLAIN_ARRAYS = (
    "word", "head", "n_grams", "frequency", "gram_frequency", "gram_idf", "idf", "is_number",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class WordTable:
    """Titles as numbers; row i is the i-th title, an empty one matches nothing.

    word (n_items, MAX_WORDS) int32: stems in order, -1 beyond the end; head (n_items,) int16: position of the word that
    names the goods; gram (m,) uint16: hashed character n-grams of each title, `n_grams` (n_items,) from `start`
    (n_items,) on; frequency (n_words,) and gram_frequency (65536,) int32: titles with each; idf and is_number (n_words
    + 1,): the last is that of a word that no title has; gram_idf (65536,) float32.

    The n-grams are no sparse matrix of scipy: it saves 0.2 ms per query but takes six times the memory, 58 MB instead
    of 10 MB for 100,000 titles.
    """

    ids: TextIndex
    word: IntArray
    head: npt.NDArray[np.int16]
    gram: npt.NDArray[np.uint16]
    start: npt.NDArray[np.int64]
    n_grams: npt.NDArray[np.int32]
    frequency: IntArray
    gram_frequency: IntArray
    gram_idf: FloatArray
    idf: FloatArray
    is_number: Mask

    @classmethod
    def build(cls, titles: Sequence[str]) -> WordTable:
        """Read titles (n_items,)."""
        ids = Numbering()
        word, head, grams = _read(titles, ids)
        gram = np.concatenate([np.empty(0, np.uint16), *grams])
        n_grams = np.array([len(codes) for codes in grams], np.int32)
        return cls._of(
            ids=TextIndex.of(PackedTexts.of(list(ids.new))),
            is_number=np.asarray([*map(is_number, ids.new), False], bool),
            word=word,
            head=head,
            gram=gram,
            start=np.cumsum([0, *n_grams], dtype=np.int64)[:-1],
            n_grams=n_grams,
            frequency=_frequency(word, len(ids.new)),
            gram_frequency=np.bincount(gram, minlength=N_GRAM_CODES).astype(np.int32),
        )

    @classmethod
    def _of(cls, *, frequency: IntArray, gram_frequency: IntArray, **columns: Any) -> WordTable:
        n, counts = max(len(columns["word"]), 1), np.append(frequency, np.int32(0))
        return cls(
            frequency=frequency,
            gram_frequency=gram_frequency,
            gram_idf=(np.log((n + 1) / (gram_frequency + 1)) + 0.1).astype(np.float32),
            idf=np.log1p((n - counts + 0.5) / (counts + 0.5)).astype(np.float32),
            **columns,
        )

    def updated(self, rows: IntArray, titles: Sequence[str]) -> WordTable:
        """Return a table with `rows` (m,) replaced or added, others as they are; counts follow.

        The cost is by the rows replaced since the table was built, and a copy of a few numbers per row and per word.
        """
        if not len(rows):
            return self
        ids = Numbering(self.ids, len(self.ids))
        word, head, grams = _read(titles, ids)
        n, before = max(len(self), int(np.max(rows)) + 1), rows[rows < len(self)]
        n_words = len(self.ids) + len(ids.new)
        frequency = np.append(self.frequency, np.zeros(len(ids.new), np.int32))
        frequency += _frequency(word, n_words) - _frequency(self.word[before], n_words)
        fresh = np.concatenate([np.empty(0, np.uint16), *grams])
        leaving = self.gram[self._grams_of(before)[0]]
        gram_frequency = self.gram_frequency + np.bincount(fresh, minlength=N_GRAM_CODES).astype(np.int32)
        gram_frequency -= np.bincount(leaving, minlength=N_GRAM_CODES).astype(np.int32)
        lengths = np.array([len(codes) for codes in grams], np.int64)
        return WordTable._of(
            ids=self.ids.adding(ids.new),
            word=put_rows(self.word, rows, word, n, fill=-1),
            head=put_rows(self.head, rows, head, n),
            gram=appended(self.gram, fresh),
            start=put_rows(self.start, rows, len(self.gram) + np.cumsum(lengths) - lengths, n),
            n_grams=put_rows(self.n_grams, rows, lengths, n),
            frequency=frequency,
            gram_frequency=gram_frequency,
            is_number=np.concatenate([self.is_number[:-1], [*map(is_number, ids.new), False]]).astype(bool),
        )

    def arrays(self) -> PackedArrays:
        """Return what `from_arrays` takes, words that were added among the others."""
        used = self._grams_of(np.arange(len(self)))[0]
        starts = np.cumsum(self.n_grams, dtype=np.int64) - self.n_grams
        return {
            **self.ids.arrays(),
            **{name: getattr(self, name) for name in PLAIN_ARRAYS},
            "gram": self.gram[used],
            "gram_start": starts,
        }

    @classmethod
    def from_arrays(cls, arrays: PackedArrays) -> WordTable:
        """Read what `arrays` gave. Raises KeyError or ValueError where it cannot be that."""
        plain = {name: arrays[name] for name in PLAIN_ARRAYS}
        ids = TextIndex.from_arrays(arrays)
        if len({len(arrays[name]) for name in ("word", "head", "gram_start", "n_grams")}) > 1:
            raise ValueError("the columns of the titles differ in length")
        return cls(ids, start=arrays["gram_start"], gram=arrays["gram"], **plain)

    def __len__(self) -> int:
        return len(self.word)

    def features(self, query: str, rows: IntArray) -> FloatArray:
        """Return (n, n_features) float32 of a query against `rows` (n,), in the order of `WORDING_FEATURES`."""
        terms = _QueryTerms.of(query, self)
        words_of = self.word[rows]
        bits = np.append(terms.bits, np.uint32(0))[words_of]  # -1 reads the last value, which is 0
        length = (words_of >= 0).sum(axis=1).astype(np.float32)
        matched = [(bits >> np.uint32(number) & np.uint32(1)).astype(bool) for number in range(len(terms.stems))]
        columns = _coverage(terms, matched, length)
        columns |= self._title(bits, rows, length) | _order(terms, matched, length, self.head[rows])
        columns |= self._letters(terms.text, rows)
        columns["word_cosine"] = self._cosine(terms, words_of, bits)
        return np.stack([columns[name] for name in WORDING_FEATURES], axis=1).astype(np.float32)

    def _title(self, bits: npt.NDArray[np.uint32], rows: IntArray, length: FloatArray) -> Columns:
        """How much of the title is in the query, by weight, and which of its sizes are not."""
        words_of, head = self.word[rows], self.head[rows]
        weight = np.where(words_of >= 0, self.idf[words_of], 0)
        in_query, every = bits > 0, np.arange(len(rows))
        head_in_query = in_query[every, np.maximum(head, 0)].astype(np.float32)
        numbers = self.is_number[words_of] & (words_of >= 0)
        return {
            "title_share": (weight * in_query).sum(axis=1) / np.maximum(weight.sum(axis=1), 1e-6),
            "head_in_query": head_in_query + in_query[every, np.maximum(head - 1, 0)],
            "other_numbers": (numbers & ~in_query).sum(axis=1),
            "starts_alike": in_query[:, 0].astype(np.float32),
        }

    def _letters(self, text: str, rows: IntArray) -> Columns:
        """Cosine of character n-grams, weighted by idf; and the share of the query's that the title has."""
        weight = np.zeros(N_GRAM_CODES, np.float32)
        in_query = np.unique(_grams(text.split()))
        idf = self.gram_idf[in_query]
        weight[in_query] = idf
        entry, owner = self._grams_of(rows)
        gram = self.gram[entry]
        hit = weight[gram]
        own = self.gram_idf[gram]
        norm = np.sqrt(np.bincount(owner, weights=own**2, minlength=len(rows)))
        query_norm = float(np.sqrt((idf**2).sum()))
        cosine = np.bincount(owner, weights=hit * own, minlength=len(rows)) / np.maximum(norm * query_norm, 1e-9)
        share = np.bincount(owner, weights=hit, minlength=len(rows)) / max(float(idf.sum()), 1e-9)
        return {"letters": cosine.astype(np.float32), "letters_matched": share.astype(np.float32)}

    def _grams_of(self, rows: npt.NDArray[np.integer]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return where the n-grams of rows (n,) stand, and for each its place among the rows."""
        return entries(self.start[rows], self.n_grams[rows].astype(np.int64))

    def _cosine(self, terms: _QueryTerms, words_of: IntArray, bits: npt.NDArray[np.uint32]) -> FloatArray:
        """Cosine of tf-idf over stems."""
        weight = np.where(words_of >= 0, self.idf[words_of], 0)
        norm = np.sqrt((weight**2).sum(axis=1))
        query_norm = float(np.sqrt((terms.idf**2).sum()))
        return (weight**2 * (bits > 0)).sum(axis=1) / np.maximum(norm * query_norm, 1e-6)


@dataclass(frozen=True, slots=True)
class _QueryTerms:
    """A query in the words of a table. bits (n_words,): bit i is set where the word answers the i-th stem."""

    text: str
    stems: tuple[str, ...]
    idf: FloatArray
    is_number: npt.NDArray[np.bool_]
    is_known: npt.NDArray[np.bool_]
    bits: npt.NDArray[np.uint32]

    @classmethod
    def of(cls, query: str, table: WordTable) -> _QueryTerms:
        typed = list(tokens(query))[: 2 * MAX_TERMS]
        every = [stem(word) for word in typed]
        stems = tuple(word for word in every if word not in LINKING_WORDS and word != "x")[:MAX_TERMS]
        stems = stems or tuple(every[:MAX_TERMS])
        bits = np.zeros(len(table.ids), np.uint32)
        word_ids = np.asarray([table.ids.get(word, -1) for word in stems], np.int64)
        for number, word_id in enumerate(word_ids.tolist()):
            if word_id >= 0:
                bits[word_id] |= np.uint32(1 << number)
        for number, (first, second) in enumerate(pairwise(stems)):  # "shark bite" is answered by "sharkbite"
            word_id = table.ids.get(stem(first + second), -1)
            if word_id >= 0 and first.isalpha() and second.isalpha():
                bits[word_id] |= np.uint32(3 << number)
        return cls(
            text=" ".join(typed),
            stems=stems,
            idf=table.idf[word_ids],
            is_number=np.asarray([is_number(word) for word in stems], bool),
            is_known=word_ids >= 0,
            bits=bits,
        )


def is_number(term: str) -> bool:
    """Whether a term is a number or a fraction."""
    return term[:1].isdigit()


def _read(
    titles: Sequence[str], ids: Numbering
) -> tuple[IntArray, npt.NDArray[np.int16], list[npt.NDArray[np.uint16]]]:
    """Return words (n, MAX_WORDS), the position of each head (n,) and grams of each title; new words join `ids`."""
    word = np.full((len(titles), MAX_WORDS), -1, np.int32)
    head = np.zeros(len(titles), np.int16)
    grams = []
    for row, title in enumerate(titles):
        every = list(_once(tokens(title)))
        first = every[:MAX_WORDS]
        word[row, : len(first)] = [ids.add(stem(token)) for token in first]
        head[row] = _head(first)
        grams.append(np.unique(_grams(every))[:MAX_GRAMS])
    return word, head, grams


def _once(title: Iterable[str]) -> Iterator[str]:
    """Give the words of a title without those that it repeats; numbers and linking words stay, as in 2 in. x 2 in."""
    given: set[str] = set()
    for word in title:
        if word not in given or word in LINKING_WORDS or not word.isalpha() or len(word) <= LONGEST_UNIT:
            yield word
        given.add(word)


def _head(title: Sequence[str]) -> int:
    end = next((position for position, word in enumerate(title) if position and word in HEAD_ENDS), len(title))
    return max(end, 1) - 1


def _grams(words: Sequence[str]) -> npt.NDArray[np.uint16]:
    return np.asarray([code for word in words for code in _codes(word)], np.uint16)


@lru_cache(maxsize=131_072)
def _codes(word: str) -> tuple[int, ...]:
    """Hash the character n-grams of one word, its ends marked; the same in every process."""
    marked = f" {word} "
    return tuple(
        zlib.crc32(marked[start : start + n].encode()) % N_GRAM_CODES
        for n in GRAM_LENGTHS
        for start in range(max(len(marked) - n + 1, 1))
    )


def _frequency(word: IntArray, n_words: int) -> IntArray:
    """Count the titles with each word, once per title."""
    key = np.unique(np.arange(len(word), dtype=np.int64)[:, None] * (n_words + 1) + word + 1)
    return np.bincount(key % (n_words + 1), minlength=n_words + 1)[1:].astype(np.int32)


def _coverage(terms: _QueryTerms, matched: Sequence[Mask], length: FloatArray) -> Columns:
    """How much of the query is in the title, by weight and by number; sizes and numbers apart."""
    n = len(length)
    has = np.stack([positions.any(axis=1) for positions in matched], axis=1) if matched else np.zeros((n, 0), bool)
    weight, number = terms.idf, terms.is_number
    return {
        "words_matched": has @ weight / max(float(weight.sum()), 1e-6),
        "words_share": has.mean(axis=1) if has.shape[1] else np.zeros(n),
        "worst_missing": np.where(has, 0.0, weight).max(axis=1, initial=0.0),
        "n_missing": (~has).sum(axis=1),
        "letters_only": has[:, ~number] @ weight[~number] / max(float(weight[~number].sum()), 1e-6),
        "numbers_matched": has[:, number].sum(axis=1) / max(int(number.sum()), 1),
        "n_numbers": np.full(n, number.sum()),
        "numbers_missing": (~has[:, number]).sum(axis=1),
        "n_words": np.full(n, len(terms.stems)),
        "n_unknown": np.full(n, (~terms.is_known).sum()),
        "title_words": length,
        "bm25": _bm25(matched, weight, length),
    }


def _bm25(matched: Sequence[Mask], weight: FloatArray, length: FloatArray) -> FloatArray:
    total = np.zeros(len(length), np.float32)
    norm = K1 * (1 - B + B * length / 12)
    for positions, idf in zip(matched, weight.tolist(), strict=True):
        count = positions.sum(axis=1)
        total += idf * count * (K1 + 1) / (count + norm)
    return total


def _order(terms: _QueryTerms, matched: Sequence[Mask], length: FloatArray, head: npt.NDArray[np.int16]) -> Columns:
    """Where the words stand: the first and the last, pairs side by side, sizes beside their unit, the same order."""
    n = len(length)
    none = np.zeros(n, np.float32)
    has = [positions.any(axis=1) for positions in matched]
    first = [np.where(is_there, positions.argmax(axis=1), -1) for positions, is_there in zip(matched, has, strict=True)]
    pairs, sizes, ordered, shared = none.copy(), none.copy(), none.copy(), none.copy()
    for number, (left, right) in enumerate(pairwise(matched)):
        beside = (left[:, :-1] & right[:, 1:]).any(axis=1)
        pairs += beside
        if terms.is_number[number]:
            sizes += beside
        both = has[number] & has[number + 1]
        shared += both
        ordered += both & (first[number] < first[number + 1])
    last = next((number for number in reversed(range(len(matched))) if not terms.is_number[number]), -1)
    last_first = first[last] if last >= 0 else none - 1
    positions = np.stack(first, axis=1) if first else np.full((n, 1), -1)
    hit = positions >= 0
    low, high = np.where(hit, positions, 99).min(axis=1), positions.max(axis=1)
    return {
        "first_place": np.minimum(low, MAX_WORDS),
        "last_word_matched": has[last].astype(np.float32) if last >= 0 else none,
        "last_word_place": np.where(last_first >= 0, last_first / np.maximum(length, 1), -1),
        "last_word_is_head": (last_first == head).astype(np.float32) if last >= 0 else none,
        "pairs_matched": pairs / max(len(matched) - 1, 1),
        "sizes_matched": sizes,
        "spread": np.where(hit.any(axis=1), high - low, -1),
        "in_order": ordered / np.maximum(shared, 1),
    }
