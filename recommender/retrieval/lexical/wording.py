"""How a query reads against titles: words, sizes, order and spelling of both in, columns of features out."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from recommender.retrieval.base import Mask
from recommender.text.words import LINKING_WORDS, stem, tokens
from recommender.types import FloatArray, IntArray

MAX_WORDS = 28
"""Words of one title that are kept: longer ones go on with what every title of the shop says."""

MAX_TERMS = 24
N_GRAM_CODES = 65_536
MAX_GRAMS = 160
GRAM_LENGTHS = (3, 4)
"""Character n-grams of words, hashed (Weinberger et al. 2009): what spelling, stems and compounds have in common."""

K1, B = 1.2, 0.4
"""BM25 over stems; as in `retrieval.lexical`, where the values come from."""

WORDING_FEATURES: tuple[str, ...] = (
    "words_matched", "words_share", "worst_missing", "n_missing", "title_share", "first_place", "last_word_matched",
    "last_word_place", "last_word_is_head", "head_in_query", "pairs_matched", "numbers_matched", "n_numbers",
    "numbers_missing", "sizes_matched", "other_numbers", "n_words", "title_words", "letters", "word_cosine",
    "starts_alike", "bm25", "spread", "in_order", "n_unknown", "letters_matched", "letters_only",
)  # fmt: skip

HEAD_ENDS = frozenset({"with", "for", "in", "to", "by", "without", "on", "mit", "für", "avec", "pour", "con", "para"})
"""The word before one of these names the goods: "drill bit set with case"; without one it is the last word."""


@dataclass(frozen=True, slots=True)
class WordTable:
    """Titles as numbers; row i is the i-th title, an empty one matches nothing.

    word (n_items, MAX_WORDS) int32: stems in order, -1 beyond the end; head (n_items,) int16: place of the word that
    names the goods; gram (m,) uint16 and start (n_items + 1,): hashed character n-grams of each title; frequency
    (n_words,) int32: titles with each. idf and is_number (n_words + 1,), the last place for a word that no title has;
    gram_idf (65536,) float32.
    """

    ids: dict[str, int]
    word: IntArray
    head: npt.NDArray[np.int16]
    frequency: IntArray
    gram: npt.NDArray[np.uint16]
    start: npt.NDArray[np.int64]
    gram_idf: FloatArray
    idf: FloatArray
    is_number: Mask

    @classmethod
    def build(cls, titles: Sequence[str]) -> WordTable:
        """Read titles (n_items,)."""
        ids: dict[str, int] = {}
        word, head, grams = _read(titles, ids)
        start = np.zeros(len(titles) + 1, np.int64)
        start[1:] = np.cumsum([len(found) for found in grams])
        gram = np.concatenate(grams) if len(grams) else np.empty(0, np.uint16)
        return cls._of(ids, word, head, gram, start)

    @classmethod
    def _of(
        cls, ids: dict[str, int], word: IntArray, head: npt.NDArray[np.int16], gram: npt.NDArray[np.uint16],
        start: npt.NDArray[np.int64],
    ) -> WordTable:  # fmt: skip
        frequency = np.append(_frequency(word, len(ids)), np.int32(0))  # the last place: a word that no title has
        n = max(len(word), 1)
        return cls(
            ids=ids,
            word=word,
            head=head,
            frequency=frequency[:-1],
            gram=gram,
            start=start,
            gram_idf=(np.log((n + 1) / (_gram_frequency(gram) + 1)) + 0.1).astype(np.float32),
            idf=np.log1p((n - frequency + 0.5) / (frequency + 0.5)).astype(np.float32),
            is_number=np.asarray([*map(is_number, ids), False], bool),
        )

    def updated(self, rows: IntArray, titles: Sequence[str]) -> WordTable:
        """Return a table with `rows` (m,) replaced or added, others as they are; counts follow."""
        if not len(rows):
            return self
        ids = dict(self.ids)
        word, head, grams = _read(titles, ids)
        n = max(len(self.word), int(np.max(rows)) + 1)
        all_words = np.full((n, MAX_WORDS), -1, np.int32)
        all_words[: len(self.word)] = self.word
        all_words[rows] = word
        heads = np.zeros(n, np.int16)
        heads[: len(self.head)] = self.head
        heads[rows] = head
        parts = [self.gram[self.start[i] : self.start[i + 1]] if i < len(self.word) else grams[0][:0] for i in range(n)]
        for row, found in zip(rows.tolist(), grams, strict=True):
            parts[row] = found
        start = np.zeros(n + 1, np.int64)
        start[1:] = np.cumsum([len(part) for part in parts])
        gram = np.concatenate(parts)
        return WordTable._of(ids, all_words, heads, gram, start)

    def __len__(self) -> int:
        return len(self.word)

    def features(self, query: str, rows: IntArray) -> FloatArray:
        """Return (n, n_features) float32 of a query against `rows` (n,), in the order of `WORDING_FEATURES`."""
        asked = _Asked.of(query, self)
        words_of = self.word[rows]
        bits = np.append(asked.bits, np.uint32(0))[words_of]  # -1 reads the last place, which is 0
        length = (words_of >= 0).sum(axis=1).astype(np.float32)
        matched = [(bits >> np.uint32(place) & np.uint32(1)).astype(bool) for place in range(len(asked.terms))]
        columns = _coverage(asked, matched, length)
        columns.update(_title(self, asked, words_of, bits, rows, length))
        columns.update(_order(asked, matched, length, self.head[rows]))
        columns.update(self._letters(asked.text, rows))
        columns["word_cosine"] = _cosine(self, asked, words_of, bits)
        return np.stack([columns[name] for name in WORDING_FEATURES], axis=1).astype(np.float32)

    def _letters(self, text: str, rows: IntArray) -> dict[str, FloatArray]:
        """Cosine of character n-grams, weighted by idf; and the share of the query's that the title has."""
        weight = np.zeros(N_GRAM_CODES, np.float32)
        asked = np.unique(_grams(text.split()))
        idf = self.gram_idf[asked]
        weight[asked] = idf
        length = self.start[rows + 1] - self.start[rows]
        place = np.arange(length.sum()) - np.repeat(np.cumsum(length) - length, length)
        gram = self.gram[np.repeat(self.start[rows], length) + place]
        owner = np.repeat(np.arange(len(rows)), length)
        hit = weight[gram]
        own = self.gram_idf[gram]
        norm = np.sqrt(np.bincount(owner, weights=own**2, minlength=len(rows)))
        asked_norm = float(np.sqrt((idf**2).sum()))
        cosine = np.bincount(owner, weights=hit * own, minlength=len(rows)) / np.maximum(norm * asked_norm, 1e-9)
        share = np.bincount(owner, weights=hit, minlength=len(rows)) / max(float(idf.sum()), 1e-9)
        return {"letters": cosine.astype(np.float32), "letters_matched": share.astype(np.float32)}


@dataclass(frozen=True, slots=True)
class _Asked:
    """A query in the words of a table: terms with their weight, and for each word the terms that it answers as bits."""

    text: str
    terms: tuple[str, ...]
    idf: FloatArray
    is_number: npt.NDArray[np.bool_]
    is_known: npt.NDArray[np.bool_]
    bits: npt.NDArray[np.uint32]

    @classmethod
    def of(cls, query: str, table: WordTable) -> _Asked:
        spoken = list(tokens(query))[: 2 * MAX_TERMS]
        told = [stem(word) for word in spoken]
        terms = tuple(word for word in told if word not in LINKING_WORDS and word != "x")[:MAX_TERMS]
        terms = terms or tuple(told[:MAX_TERMS])
        bits = np.zeros(len(table.ids), np.uint32)
        found = [table.ids.get(term, -1) for term in terms]
        for place, word_id in enumerate(found):
            if word_id >= 0:
                bits[word_id] |= np.uint32(1 << place)
        for place, (first, second) in enumerate(pairwise(terms)):  # "shark bite" is answered by "sharkbite"
            word_id = table.ids.get(stem(first + second), -1)
            if word_id >= 0 and first.isalpha() and second.isalpha():
                bits[word_id] |= np.uint32(3 << place)
        return cls(
            text=" ".join(spoken),
            terms=terms,
            idf=table.idf[np.asarray(found, np.int64)],
            is_number=np.asarray([is_number(term) for term in terms], bool),
            is_known=np.asarray(found, np.int64) >= 0,
            bits=bits,
        )


def is_number(term: str) -> bool:
    """Whether a term is a number or a fraction."""
    return term[:1].isdigit()


def _read(
    titles: Sequence[str], ids: dict[str, int]
) -> tuple[IntArray, npt.NDArray[np.int16], list[npt.NDArray[np.uint16]]]:
    """Return words (n, MAX_WORDS), the place of each head (n,) and grams of each title; new words join `ids`."""
    word = np.full((len(titles), MAX_WORDS), -1, np.int32)
    head = np.zeros(len(titles), np.int16)
    grams = []
    for row, title in enumerate(titles):
        spoken = list(tokens(title))
        kept = spoken[:MAX_WORDS]
        word[row, : len(kept)] = [ids.setdefault(stem(one), len(ids)) for one in kept]
        head[row] = _head(kept)
        grams.append(np.unique(_grams(spoken))[:MAX_GRAMS])
    return word, head, grams


def _head(spoken: Sequence[str]) -> int:
    ends = [place for place, word in enumerate(spoken) if place >= 1 and word in HEAD_ENDS]
    return (ends[0] if ends else max(len(spoken), 1)) - 1


def _grams(spoken: Sequence[str]) -> npt.NDArray[np.uint16]:
    found = [code for word in spoken for code in _codes(word)]
    return np.asarray(found, np.uint16)


@lru_cache(maxsize=131_072)
def _codes(word: str) -> tuple[int, ...]:
    """Hash the character n-grams of one word, its ends marked; the same in every process."""
    marked = f" {word} "
    return tuple(
        zlib.crc32(marked[place : place + n].encode()) % N_GRAM_CODES
        for n in GRAM_LENGTHS
        for place in range(max(len(marked) - n + 1, 1))
    )


def _frequency(word: IntArray, n_words: int) -> IntArray:
    """Count the titles with each word, once per title."""
    key = np.unique(np.arange(len(word), dtype=np.int64)[:, None] * (n_words + 1) + word + 1)
    return np.bincount(key % (n_words + 1), minlength=n_words + 1)[1:].astype(np.int32)


def _gram_frequency(gram: npt.NDArray[np.uint16]) -> IntArray:
    return np.bincount(gram, minlength=N_GRAM_CODES).astype(np.int32)


Columns = dict[str, FloatArray]


def _coverage(asked: _Asked, matched: Sequence[Mask], length: FloatArray) -> Columns:
    """How much of the query is in the title, by weight and by number; sizes and numbers apart."""
    n = len(length)
    has = np.stack([one.any(axis=1) for one in matched], axis=1) if matched else np.zeros((n, 0), bool)
    weight, number = asked.idf, asked.is_number
    lost = np.where(has, 0.0, weight)
    return {
        "words_matched": has @ weight / max(float(weight.sum()), 1e-6),
        "words_share": has.mean(axis=1) if has.shape[1] else np.zeros(n),
        "worst_missing": lost.max(axis=1, initial=0.0),
        "n_missing": (~has).sum(axis=1),
        "letters_only": has[:, ~number] @ weight[~number] / max(float(weight[~number].sum()), 1e-6),
        "numbers_matched": has[:, number].sum(axis=1) / max(int(number.sum()), 1),
        "n_numbers": np.full(n, number.sum()),
        "numbers_missing": (~has[:, number]).sum(axis=1),
        "n_words": np.full(n, len(asked.terms)),
        "n_unknown": np.full(n, (~asked.is_known).sum()),
        "title_words": length,
        "bm25": _bm25(matched, weight, length),
    }


def _bm25(matched: Sequence[Mask], weight: FloatArray, length: FloatArray) -> FloatArray:
    total = np.zeros(len(length), np.float32)
    norm = K1 * (1 - B + B * length / 12)
    for one, idf in zip(matched, weight.tolist(), strict=True):
        count = one.sum(axis=1)
        total += idf * count * (K1 + 1) / (count + norm)
    return total


def _title(
    table: WordTable,
    asked: _Asked,
    words_of: IntArray,
    bits: npt.NDArray[np.uint32],
    rows: IntArray,
    length: FloatArray,
) -> Columns:
    """How much of the title the query names, by weight, and what of its sizes the query does not."""
    idf = table.idf
    weight = np.where(words_of >= 0, idf[words_of], 0)
    named = bits > 0
    head = bits[np.arange(len(rows)), np.maximum(table.head[rows], 0)] > 0
    before = bits[np.arange(len(rows)), np.maximum(table.head[rows] - 1, 0)] > 0
    is_digit = table.is_number[words_of] & (words_of >= 0)
    return {
        "title_share": (weight * named).sum(axis=1) / np.maximum(weight.sum(axis=1), 1e-6),
        "head_in_query": head.astype(np.float32) + before,
        "other_numbers": (is_digit & ~named).sum(axis=1),
        "starts_alike": named[:, 0].astype(np.float32) if words_of.shape[1] else np.zeros(len(rows)),
    }


def _order(asked: _Asked, matched: Sequence[Mask], length: FloatArray, head: npt.NDArray[np.int16]) -> Columns:
    """Where the words stand: the first and the last, pairs side by side, sizes beside their unit, the same order."""
    n = len(length)
    none = np.zeros(n, np.float32)
    has = [one.any(axis=1) for one in matched]
    place = [np.where(found, one.argmax(axis=1), -1) for one, found in zip(matched, has, strict=True)]
    pairs, sizes, ordered, shared = none.copy(), none.copy(), none.copy(), none.copy()
    for at, (first, second) in enumerate(pairwise(matched)):
        beside = (first[:, :-1] & second[:, 1:]).any(axis=1)
        pairs += beside
        if asked.is_number[at]:
            sizes += beside
        both = has[at] & has[at + 1]
        shared += both
        ordered += both & (place[at] < place[at + 1])
    spoken = [at for at in range(len(matched)) if not asked.is_number[at]]
    last = spoken[-1] if spoken else -1
    places = np.stack(place, axis=1) if place else np.full((n, 1), -1)
    hit = places >= 0
    low, high = np.where(hit, places, 99).min(axis=1), places.max(axis=1)
    return {
        "first_place": np.minimum(low, MAX_WORDS),
        "last_word_matched": has[last].astype(np.float32) if last >= 0 else none,
        "last_word_place": np.where(place[last] >= 0, place[last] / np.maximum(length, 1), -1)
        if last >= 0
        else none - 1,
        "last_word_is_head": (place[last] == head).astype(np.float32) if last >= 0 else none,
        "pairs_matched": pairs / max(len(matched) - 1, 1),
        "sizes_matched": sizes,
        "spread": np.where(hit.any(axis=1), high - low, -1),
        "in_order": ordered / np.maximum(shared, 1),
    }


def _cosine(table: WordTable, asked: _Asked, words_of: IntArray, bits: npt.NDArray[np.uint32]) -> FloatArray:
    """Cosine of tf-idf over stems."""
    idf = table.idf
    weight = np.where(words_of >= 0, idf[words_of], 0)
    norm = np.sqrt((weight**2).sum(axis=1))
    own = float(np.sqrt((asked.idf**2).sum()))
    return (weight**2 * (bits > 0)).sum(axis=1) / np.maximum(norm * own, 1e-6)
