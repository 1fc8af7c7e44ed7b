"""Search by words: texts of the catalogue in, an immutable BM25 index out that forgives typing errors."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from recommender.retrieval.base import Candidates, Mask, Wanted
from recommender.retrieval.lexical.lexicon import Lexicon
from recommender.retrieval.lexical.phrases import Phrases
from recommender.retrieval.lexical.terms import EXACT, Term, Terms, Usage, Variant, parse, spelled
from recommender.text.words import Word, stem, words
from recommender.types import FloatArray, IntArray

K1 = 1.2
B = 0.4
"""Robertson and Zaragoza 2009, "The Probabilistic Relevance Framework: BM25 and Beyond", section 3.5: k1 in 1.2-2,
b in 0.5-0.8 for documents. Titles differ in length because they say more, so b is lower. On known-item queries made of
the demo's titles, .4 to .9 and k1 from .6 to 2 give the same MRR; b = 0 loses .04."""

TITLE_WEIGHT = 2.0
"""A word of the title counts as two of the text: BM25F, Robertson, Zaragoza and Taylor 2004, "Simple BM25 extension to
multiple weighted fields"."""

MAX_PARSED_KEPT = 256

Lookup = Callable[[int], tuple[npt.NDArray[np.integer], FloatArray]]
"""Word id to (places (m,) ascending, saturated counts (m,) in (0, 1))."""


@dataclass(frozen=True, slots=True)
class LexicalHits:
    """What a query found, best first. Scores in (0, 2]; from 1 on, every word of the query is in the item.

    rows (n,) int32, scores (n,) float32; matched (n,) float32: the weight of the worst match of a word, 0 where a word
    is missing; corrected_query: what was searched instead, "" where taken as written; n_whole: items that have all
    words, those beyond the limit too.
    """

    rows: IntArray
    scores: FloatArray
    matched: FloatArray
    corrected_query: str = ""
    n_whole: int = 0

    @classmethod
    def none(cls) -> LexicalHits:
        """Nothing was found."""
        return cls(np.empty(0, np.int32), np.empty(0, np.float32), np.empty(0, np.float32))


@dataclass(frozen=True, slots=True)
class Postings:
    """Which items have a word: those of word i are `row[start[i]:start[i + 1]]`, ascending, `count` times each.

    start (n_words + 1,) int64; row (n,) int32; count (n,) float32, words of a title weighted.
    """

    start: npt.NDArray[np.int64]
    row: IntArray
    count: FloatArray

    @classmethod
    def of(cls, word: IntArray, row: IntArray, weight: FloatArray, *, n_words: int) -> Postings:
        """Add up the occurrences (m,) of words in rows."""
        key, place = np.unique(word.astype(np.int64) << 32 | row, return_inverse=True)
        count = np.bincount(place, weights=weight, minlength=len(key)).astype(np.float32)
        start = np.searchsorted(key >> 32, np.arange(n_words + 1))
        return cls(start.astype(np.int64), (key & 0xFFFFFFFF).astype(np.int32), count)

    def replaced(self, rows: IntArray, other: Postings, *, n_rows: int) -> Postings:
        """Forget `rows` and take them from `other`, whose words may go on where these end."""
        n_words = len(other.start) - 1
        gone = np.zeros(n_rows, bool)
        gone[rows] = True
        kept = ~gone[self.row]
        word = np.repeat(np.arange(len(self.start) - 1), np.diff(self.start))[kept]
        key = word << 32 | self.row[kept]
        new_key = np.repeat(np.arange(n_words), np.diff(other.start)) << 32 | other.row
        place = np.searchsorted(key, new_key)
        start = np.searchsorted(word, np.arange(n_words + 1)) + other.start
        return Postings(
            start.astype(np.int64),
            np.insert(self.row[kept], place, other.row),
            np.insert(self.count[kept], place, other.count),
        )

    def frequency(self) -> IntArray:
        """Return (n_words,) int32: items per word."""
        return np.diff(self.start).astype(np.int32)


@dataclass(frozen=True, slots=True)
class LexicalIndex:
    """Texts by words; row i is the i-th text, an empty one is never found. `n_updated`: rows replaced since `build`.

    norm (n_rows,) float32: k1 ((1 - b) + b length / mean length) of each item, in the weight of a title's word.
    """

    lexicon: Lexicon
    postings: Postings
    frequency: IntArray
    norm: FloatArray
    length: FloatArray
    phrases: Phrases
    n_updated: int = 0
    usage: Usage = field(default_factory=Usage, repr=False)
    _parsed: dict[str, Terms] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def build(cls, texts: Sequence[str], titles: Sequence[str] | None = None) -> LexicalIndex:
        """Index texts (n,) and, weighted, their titles (n,); without titles a text is its own."""
        ids: dict[str, int] = {}
        shown: list[str] = []
        read = _read(range(len(texts)), texts, titles, ids, shown)
        postings = Postings.of(read.word, read.row, read.weight, n_words=len(ids))
        length = np.bincount(read.row, weights=read.weight, minlength=len(texts)).astype(np.float32)
        lexicon = Lexicon.of(ids, shown)
        return cls(lexicon, postings, postings.frequency(), _norm(length), length, Phrases.of(read.titles, lexicon))

    def updated(self, rows: IntArray, texts: Sequence[str], titles: Sequence[str] | None = None) -> LexicalIndex:
        """Return an index with `rows` (m,) replaced or added; rows beyond the end extend it. Phrases stay as built.

        The cost is a copy of the arrays, about 20 ms for 100,000 titles, however few rows change.
        """
        if not len(rows):
            return self
        n_rows = max(len(self.length), int(np.max(rows)) + 1)
        ids, shown = dict(self.lexicon.ids), list(self.lexicon.shown)
        read = _read(rows.tolist(), texts, titles, ids, shown)
        new = Postings.of(read.word, read.row, read.weight, n_words=len(ids))
        postings = self.postings.replaced(rows, new, n_rows=n_rows)
        length = np.zeros(n_rows, np.float32)
        length[: len(self.length)] = self.length
        length[rows] = np.bincount(read.row, weights=read.weight, minlength=n_rows)[rows]
        return replace(
            self,
            lexicon=self.lexicon if len(ids) == len(self.lexicon.ids) else Lexicon.of(ids, shown),
            postings=postings,
            frequency=postings.frequency(),
            norm=_norm(length),
            length=length,
            n_updated=self.n_updated + len(rows),
            _parsed={},
        )

    def __len__(self) -> int:
        return len(self.length)

    def search(self, query: str, limit: int, *, allowed: Mask | None = None) -> LexicalHits:
        """Find items with any of the words; those with all of them lead. allowed (n_rows,) bool."""
        parsed = self.parsed(query)
        scores, matched = self._evaluate(parsed.terms, len(self), self._lookup)
        usable = scores > 0 if allowed is None else (scores > 0) & allowed
        rows = np.flatnonzero(usable)
        found = Candidates.best(rows, scores[rows], limit)
        corrected = parsed.corrected_query if len(rows) else ""
        n_whole = int(np.count_nonzero(matched[rows]))
        return LexicalHits(found.rows, found.scores, matched[found.rows], corrected, n_whole)

    def score(self, query: str, rows: IntArray) -> FloatArray:
        """Return (n,) float32: the score that `search` gives each of `rows` (n,), 0 where no word matches."""
        return self._evaluate(self.parsed(query).terms, len(rows), self._lookup_among(rows))[0]

    def suggest(self, prefix: str, limit: int) -> list[str]:
        """Return likely ends of what is being typed, each of them found by `search`."""
        return self.phrases.suggest(prefix, limit, self)

    def corrected(self, prefix: str) -> str:
        """Return what is being typed with unknown words replaced by the nearest spelling."""
        return self.parsed(prefix).corrected_query or prefix

    def parsed(self, query: str) -> Terms:
        """Understand a query; the last few are kept."""
        known = self._parsed.get(query)
        if known is None:
            if len(self._parsed) >= MAX_PARSED_KEPT:
                self._parsed.clear()
            known = self._parsed[query] = parse(query, self.lexicon, self.frequency, self.usage)
        return known

    def holds(self, word: str, rows: IntArray) -> Mask:
        """Return (n,): which of `rows` (n,) have every word of a text, in the singular or the plural."""
        held, lookup = np.ones(len(rows), bool), self._lookup_among(rows)
        for part in words(word):
            for term in self._required(part):
                held &= _best_variant(term, len(rows), lookup)[1] > 0
        return held

    def relaxed(self, query: str, rows: IntArray) -> str:
        """Return the words of a query that the best of `rows` (n,) has: most words, of equally many the rarest.

        Linking words stay between words that stay; "" where no row has any other word.
        """
        parsed = self.parsed(query)
        lookup = self._lookup_among(rows)
        has: dict[int, Mask] = {}
        weight: dict[int, float] = {}
        for term in parsed.terms:
            if not term.is_optional:
                match = _best_variant(term, len(rows), lookup)[1] > 0
                has[term.place] = has.get(term.place, np.ones(len(rows), bool)) & match
                weight[term.place] = weight.get(term.place, 0.0) + self._idf(term)
        if not has or not len(rows):
            return ""
        places, held = list(has), np.array(list(has.values()))
        worth = held.sum(axis=0) + held.T @ np.array([weight[place] for place in places]) / (1 + sum(weight.values()))
        best = held[:, int(np.argmax(worth))]
        kept = {place for place, is_held in zip(places, best.tolist(), strict=True) if is_held}
        return _joined(parsed, kept, set(places) - kept)

    def with_usage(self, usage: Usage) -> LexicalIndex:
        """Return the same index with other synonyms and known words."""
        return replace(self, usage=usage, _parsed={})

    def rows_of(self, word_id: int) -> IntArray:
        """Return the rows (n,) that have a word, ascending."""
        return self.postings.row[self.postings.start[word_id] : self.postings.start[word_id + 1]]

    def _required(self, word: Word) -> list[Term]:
        """Return what must all be in an item that has a word."""
        if word.is_unspaced:
            return [term for term in self.parsed(word.written).terms if not term.is_optional]
        same = {*self.lexicon.stems.get(stem(word.whole), ()), self.lexicon.ids.get(word.whole, -1)} - {-1}
        return [Term(tuple(Variant((word_id,), EXACT) for word_id in sorted(same)))]

    def _lookup(self, word_id: int) -> tuple[IntArray, FloatArray]:
        span = slice(self.postings.start[word_id], self.postings.start[word_id + 1])
        rows, count = self.postings.row[span], self.postings.count[span]
        return rows, count / (count + self.norm[rows])

    def _lookup_among(self, rows: IntArray) -> Lookup:
        def lookup(word_id: int) -> tuple[npt.NDArray[np.integer], FloatArray]:
            first, last = self.postings.start[word_id], self.postings.start[word_id + 1]
            found = self.postings.row[first:last]
            place = np.searchsorted(found, rows)
            place[place == len(found)] = 0
            among = np.flatnonzero(found[place] == rows) if len(found) else np.empty(0, np.int64)
            count = self.postings.count[first:last][place[among]]
            return among, count / (count + self.norm[rows[among]])

        return lookup

    def _evaluate(self, terms: Sequence[Term], n: int, lookup: Lookup) -> tuple[FloatArray, FloatArray]:
        """Return scores (n,), and the weight (n,) of the worst match of a required word, 0 where one is missing.

        BM25 brought to (0, 1) by its upper bound, times the share of the query's weight (idf) that matched; plus, with
        every required word there, the weakest match's weight: 1 where all are as written. So all words lead.
        """
        total, covered = np.zeros(n, np.float32), np.zeros(n, np.float32)
        weakest, bound = np.ones(n, np.float32), 0.0
        for term in terms:
            idf = self._idf(term)
            value, match = _best_variant(term, n, lookup)
            total += idf * value
            covered += idf * match
            bound += idf
            if not term.is_optional:
                np.minimum(weakest, match, out=weakest)
        if bound == 0:
            return total, np.zeros(n, np.float32)
        weakest[covered == 0] = 0
        scores = np.where(covered > 0, total * covered / bound**2 + weakest, 0)
        return scores.astype(np.float32), weakest

    def _idf(self, term: Term) -> float:
        """Robertson and Zaragoza 2009, equation 3.4 with 1 added, of the items with the term's strongest variants."""
        strongest = [variant for variant in term.variants if variant.weight >= 0.9 * term.variants[0].weight]
        n_items = sum(int(min(self.frequency[list(variant.words)])) for variant in strongest)
        n_rows = len(self)
        n_items = min(n_items, n_rows)
        return float(np.log1p((n_rows - n_items + 0.5) / (n_items + 0.5)))


@dataclass(frozen=True, slots=True)
class LexicalRetriever:
    """Items whose words the query of the profile names."""

    index: LexicalIndex

    def retrieve(self, wanted: Wanted, *, limit: int) -> Candidates:
        """Return the hits of the query, none without one."""
        hits = self.index.search(wanted.profile.query, limit, allowed=wanted.allowed)
        return Candidates(hits.rows, hits.scores)


@dataclass(slots=True)
class _Read:
    """Occurrences (m,) of words, and the whole words of each title in order, each title ended by -1."""

    word: IntArray
    row: IntArray
    weight: FloatArray
    titles: IntArray


def _read(
    rows: Sequence[int], texts: Sequence[str], titles: Sequence[str] | None, ids: dict[str, int], shown: list[str]
) -> _Read:
    """Read texts into word ids; new words are added to `ids` and `shown`."""
    word_ids, at, weights, title_ids = array("i"), array("i"), array("f"), array("i")
    for place, row in enumerate(rows):
        title = texts[place] if titles is None else titles[place]
        n_before = len(word_ids)
        for word in words(title):
            for part in word.indexed():
                word_ids.append(_id_of(part, word.written if part == word.whole else part, ids, shown))
                weights.append(TITLE_WEIGHT)
            title_ids.append(ids[word.whole] if word.whole else -1)
        title_ids.append(-1)
        text = "" if titles is None else texts[place]
        for word in words(text.removeprefix(title)):
            for part in word.indexed():
                word_ids.append(_id_of(part, word.written if part == word.whole else part, ids, shown))
                weights.append(1.0)
        at.extend([row] * (len(word_ids) - n_before))
    return _Read(
        np.array(word_ids, np.int32),
        np.array(at, np.int32),
        np.array(weights, np.float32),
        np.array(title_ids, np.int32),
    )


def _id_of(word: str, shown_as: str, ids: dict[str, int], shown: list[str]) -> int:
    word_id = ids.setdefault(word, len(shown))
    if word_id == len(shown):
        shown.append(shown_as)
    return word_id


def _norm(length: FloatArray) -> FloatArray:
    mean = float(length[length > 0].mean()) if (length > 0).any() else 1.0
    return (TITLE_WEIGHT * K1 * (1 - B + B * length / mean)).astype(np.float32)


def _joined(parsed: Terms, kept: set[int], dropped: set[int]) -> str:
    """Return the kept words with what links them: no linking word at an end or beside a dropped word."""
    linking = [
        place
        for place in range(len(parsed.words))
        if place not in kept | dropped and place - 1 in kept and any(later > place for later in kept)
    ]
    return spelled(parsed.words, parsed.glued, sorted({*kept, *linking}))


def _best_variant(term: Term, n: int, lookup: Lookup) -> tuple[FloatArray, FloatArray]:
    """Return for each place the best weighted count (n,), and the largest weight of a variant that is there (n,)."""
    value, match = np.zeros(n, np.float32), np.zeros(n, np.float32)
    for variant in term.variants:
        places, count = _all_words(variant, lookup)
        value[places] = np.maximum(value[places], count * variant.weight)
        match[places] = np.maximum(match[places], variant.weight)
    return value, match


def _all_words(variant: Variant, lookup: Lookup) -> tuple[npt.NDArray[np.integer], FloatArray]:
    places, count = lookup(variant.words[0])
    for word_id in variant.words[1:]:
        others, other_count = lookup(word_id)
        places, here, there = np.intersect1d(places, others, assume_unique=True, return_indices=True)
        count = np.minimum(count[here], other_count[there])
    return places, count
