"""Searches by words: an immutable BM25 index over the texts of a catalogue that forgives typing errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from recommender.packed import PackedArrays, within
from recommender.retrieval.base import Candidates, Mask
from recommender.retrieval.lexical.lexicon import CODE_SIGN, Lexicon
from recommender.retrieval.lexical.phrases import Phrases
from recommender.retrieval.lexical.postings import Postings
from recommender.retrieval.lexical.reading import TITLE_WEIGHT, Texts, WordIds, read
from recommender.retrieval.lexical.spelling import IsWord, Speller
from recommender.retrieval.lexical.synonyms import Synonyms
from recommender.retrieval.lexical.terms import EXACT, LOOSE, Parser, Term, Terms, Variant, spelled
from recommender.text.codes import queried_codes
from recommender.text.inflections import languages_of
from recommender.text.letters import fold, is_unspaced
from recommender.text.query import MAX_QUERY_LENGTH
from recommender.text.stems import stem
from recommender.text.vocabulary import GENERAL_WORDS
from recommender.text.words import Word, words
from recommender.types import FloatArray, IntArray

K1 = 1.2
B = 0.4
"""Robertson and Zaragoza 2009, "The Probabilistic Relevance Framework: BM25 and Beyond", section 3.5: k1 in 1.2-2,
b in 0.5-0.8 for documents. Titles differ in length because they say more, so b is lower. On known-item queries made of
the demo's titles, .4 to .9 and k1 from .6 to 2 give the same MRR; b = 0 loses .04."""

UNSURE_NAME = 0.5
"""How surely a word names the goods if nothing is known of it."""

LAST_NAMES = 0.6
"""The same of the last word of a query without spaces: Chinese and Japanese put the head of a noun phrase last."""

NAME_WORTH = 1.5
"""Words that make up for the one that names the goods: "blue desk lamp" is for lamps rather than for blue desks."""

MAX_CACHED = 256

CODE_SCORE = 2.0
"""Score of an item whose code is the whole query: the largest there is."""

Lookup = Callable[[int], tuple[npt.NDArray[np.integer], FloatArray]]
"""Word id to (positions (m,) ascending, saturated counts (m,) in (0, 1))."""


@dataclass(frozen=True, slots=True)
class LexicalHits:
    """What a query found, best first. Scores in (0, 2]; from 1 on, every word of the query is in the item.

    rows (n,) int32, scores (n,) float32; matched (n,) float32: weight of the weakest match of a word, 0 where a word is
    missing; whole (n_whole,) int32: every row with all words, ascending, also beyond the limit, but none that has them
    only loosely (`terms.LOOSE`) beside others; corrected_query: what was searched instead, "" where taken as written;
    is_code: the whole query is the code of these items.
    """

    rows: IntArray
    scores: FloatArray
    matched: FloatArray
    whole: IntArray
    corrected_query: str = ""
    is_code: bool = False

    @property
    def n_whole(self) -> int:
        """Items with all words."""
        return len(self.whole)

    @classmethod
    def none(cls) -> LexicalHits:
        """Return no hit."""
        none, no_rows = np.empty(0, np.float32), np.empty(0, np.int32)
        return cls(no_rows, none, none, no_rows)


@dataclass(frozen=True, slots=True)
class LexicalIndex:
    """Texts by words; row i is the i-th text, an empty one is never found. n_updated: rows replaced since `build`.

    postings: how often a text has a word, words of the title weighted; length (n_rows,): the sum of these; norm
    (n_rows,): k1 ((1 - b) + b length / mean length), in the weight of a title's word.
    """

    parser: Parser
    postings: Postings
    norm: FloatArray
    length: FloatArray
    phrases: Phrases
    n_updated: int = 0
    _parsed: dict[str, Terms] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def build(
        cls, texts: Sequence[str], titles: Sequence[str] | None = None, codes: Sequence[str] | None = None
    ) -> LexicalIndex:
        """Index texts (n,), weighted their titles (n,), and the shop's codes (n,); without titles a text is its own."""
        ids = WordIds()
        occurrences = read(Texts(range(len(texts)), texts, titles or texts, codes), ids)
        postings = Postings.of(occurrences.postings(len(ids.new), len(texts)))
        lexicon = Lexicon.of(tuple(ids.new), ids.spellings)
        length = occurrences.lengths(len(texts))
        parser = Parser(lexicon, postings.frequency)
        parser = replace(parser, languages=languages_of(parser.n_items, len(texts)))
        return cls(parser, postings, _norm(length), length, Phrases.of(occurrences.titles, lexicon))

    def updated(
        self,
        rows: IntArray,
        texts: Sequence[str],
        titles: Sequence[str] | None = None,
        codes: Sequence[str] | None = None,
    ) -> LexicalIndex:
        """Return an index with `rows` (m,) replaced or added; rows beyond the end extend it.

        Phrases and languages stay as built.

        The cost is by the rows replaced since the index was built, and a copy of three numbers per row.
        """
        if not len(rows):
            return self
        n_rows = max(len(self.length), int(np.max(rows)) + 1)
        ids = WordIds(self.lexicon.ids, len(self.lexicon.words))
        occurrences = read(Texts(rows.tolist(), texts, titles or texts, codes), ids)
        lexicon = self.lexicon.adding(tuple(ids.new), ids.spellings)
        postings = self.postings.replaced(rows, occurrences.postings(len(lexicon.words), n_rows))
        length = np.append(self.length, np.zeros(n_rows - len(self.length), np.float32))
        length[rows] = occurrences.lengths(n_rows)[rows]
        return replace(
            self,
            parser=replace(self.parser, lexicon=lexicon, frequency=postings.frequency),
            postings=postings,
            norm=_norm(length),
            length=length,
            n_updated=self.n_updated + len(rows),
            _parsed={},
        )

    def arrays(self) -> PackedArrays:
        """Return what `from_arrays` takes; synonyms and words of a language are not among it."""
        parts = {"lexicon": self.lexicon.arrays(), "postings": self.postings.arrays(), "phrases": self.phrases.arrays()}
        return {
            **{f"{part}-{name}": array for part, arrays in parts.items() for name, array in arrays.items()},
            "norm": self.norm,
            "length": self.length,
        }

    @classmethod
    def from_arrays(cls, arrays: PackedArrays, languages: frozenset[str]) -> LexicalIndex:
        """Read what `arrays` gave. Raises KeyError or ValueError where it cannot be that."""
        lexicon = Lexicon.from_arrays(within(arrays, "lexicon"))
        postings = Postings.from_arrays(within(arrays, "postings"))
        parser = Parser(lexicon, postings.frequency, languages=languages)
        phrases = Phrases.from_arrays(within(arrays, "phrases"))
        return cls(parser, postings, arrays["norm"], arrays["length"], phrases)

    def __len__(self) -> int:
        return len(self.length)

    @property
    def lexicon(self) -> Lexicon:
        """The words."""
        return self.parser.lexicon

    @property
    def frequency(self) -> IntArray:
        """(n_words,) int32: items with each word."""
        return self.parser.frequency

    def search(self, query: str, limit: int, *, allowed: Mask | None = None) -> LexicalHits:
        """Find items with any of the words; those with all of them lead. allowed (n_rows,) bool."""
        coded = self._coded(query)
        coded = coded if allowed is None else coded[allowed[coded]]
        if len(coded):
            best = Candidates.best(coded, np.full(len(coded), CODE_SCORE, np.float32), limit)
            return LexicalHits(best.rows, best.scores, np.ones_like(best.scores), coded, is_code=True)
        parsed = self.parsed(query)
        scores, matched = self._evaluate(parsed.terms, len(self), self._lookup)
        usable = scores > 0 if allowed is None else (scores > 0) & allowed
        rows = np.flatnonzero(usable)
        best = Candidates.best(rows, scores[rows], limit)
        corrected = parsed.corrected_query if len(rows) else ""
        loosest = LOOSE if (matched[rows] > LOOSE).any() else 0.0
        whole = rows[matched[rows] > loosest].astype(np.int32)
        return LexicalHits(best.rows, best.scores, matched[best.rows], whole, corrected)

    def score(self, query: str, rows: IntArray) -> FloatArray:
        """Return (n,) float32: the score that `search` gives each of `rows` (n,), 0 where no word matches."""
        scores = self._evaluate(self.parsed(query).terms, len(rows), self._lookup_among(rows))[0]
        return np.where(np.isin(rows, self._coded(query)), np.float32(CODE_SCORE), scores)

    def _coded(self, query: str) -> IntArray:
        """Return the rows (n,) that have a code, where the whole query is one."""
        word_ids = [self.lexicon.ids.get(f"{CODE_SIGN}{code}", -1) for code in queried_codes(query[:MAX_QUERY_LENGTH])]
        rows = [self.rows_of(word_id) for word_id in word_ids if word_id >= 0]
        return np.unique(np.concatenate(rows)).astype(np.int32) if rows else np.empty(0, np.int32)

    def suggest(self, prefix: str, limit: int) -> list[str]:
        """Return likely continuations of what is being typed, each of which finds an item."""
        return self.phrases.suggest(prefix, limit, self)

    def corrected(self, prefix: str) -> str:
        """Return what is being typed with unknown words replaced by the nearest spelling."""
        return self.parsed(prefix).corrected_query or prefix

    def parsed(self, query: str) -> Terms:
        """Understand a query; the last few are cached."""
        if query not in self._parsed:
            if len(self._parsed) >= MAX_CACHED:
                self._parsed.clear()
            self._parsed[query] = self.parser.parse(query, self._speller())
        return self._parsed[query]

    def holds(self, text: str, rows: IntArray) -> Mask:
        """Return (n,): which of `rows` (n,) have every word of a text, in the singular or the plural."""
        holds, lookup = np.ones(len(rows), bool), self._lookup_among(rows)
        for word in words(text):
            for term in self._required(word):
                holds &= _best_variant(term, len(rows), lookup)[1] > 0
        return holds

    def relaxed(self, query: str, rows: IntArray, naming: Mapping[str, float] = MappingProxyType({})) -> str:
        """Return the words of a query that the best of `rows` (n,) has.

        naming: how surely each word, by stem, names the goods. Best is a row with most words, a name counting for more
        than two, of equally many the surest name, then the rarest words. Linking words stay between words that stay; ""
        where no row has more than general words such as "the" or "set".
        """
        parsed = self.parsed(query)
        lookup = self._lookup_among(rows)
        has: dict[int, Mask] = {}
        weight: dict[int, float] = {}
        for term in parsed.terms:
            if not term.is_optional:
                match = _best_variant(term, len(rows), lookup)[1] > 0
                has[term.position] = has.get(term.position, np.ones(len(rows), bool)) & match
                weight[term.position] = weight.get(term.position, 0.0) + self._idf(term)
        if not has or not len(rows):
            return ""
        matches = np.array(list(has.values()))
        stems = {position: stem(fold(parsed.words[position])) for position in has}
        last = max((position for position, word in stems.items() if is_unspaced(word)), default=-1)
        unknown = {position: LAST_NAMES if position == last else UNSURE_NAME for position in stems}
        names = np.array([naming.get(word, unknown[position]) for position, word in stems.items()])
        surest = np.round((matches * names[:, None]).max(axis=0), 1)
        rarity = matches.T @ np.array(list(weight.values()))
        n_worth = matches.sum(axis=0) + NAME_WORTH * (surest >= UNSURE_NAME)
        best = matches[:, np.lexsort([rarity, surest, n_worth])[-1]]
        remaining = {position for position, is_match in zip(has, best.tolist(), strict=True) if is_match}
        if all(stems[position] in GENERAL_WORDS for position in remaining):
            return ""
        return _without(parsed, has.keys() - remaining, remaining)

    def with_synonyms(self, synonyms: Synonyms, correct_words: frozenset[str]) -> LexicalIndex:
        """Return the same index with other synonyms, and other words that are not corrected."""
        return replace(self, parser=replace(self.parser, synonyms=synonyms, correct_words=correct_words), _parsed={})

    def with_vocabulary(self, is_word: IsWord) -> LexicalIndex:
        """Return an index with words that are spelt right although no item has them; itself if it has them already."""
        if is_word == self.parser.is_word:
            return self
        return replace(self, parser=replace(self.parser, is_word=is_word), _parsed={})

    def rows_of(self, word_id: int) -> IntArray:
        """Return the rows (n,) that have a word, ascending."""
        return self.postings.of_word(word_id)[0]

    def _speller(self) -> Speller:
        return Speller(self.lexicon, self.frequency, len(self), self.rows_of, self.parser.is_word)

    def _required(self, word: Word) -> list[Term]:
        """Return what must all be in an item that has a word."""
        if word.is_unspaced:
            return [term for term in self.parsed(word.written).terms if not term.is_optional]
        same = {*self.lexicon.stems.get(stem(word.whole), ()), self.lexicon.ids.get(word.whole, -1)} - {-1}
        return [Term(tuple(Variant((word_id,), EXACT) for word_id in sorted(same)))]

    def _lookup(self, word_id: int) -> tuple[IntArray, FloatArray]:
        rows, count = self.postings.of_word(word_id)
        return rows, count / (count + self.norm[rows])

    def _lookup_among(self, rows: IntArray) -> Lookup:
        def lookup(word_id: int) -> tuple[npt.NDArray[np.integer], FloatArray]:
            having, count = self.postings.of_word(word_id)
            if not len(having):
                return np.empty(0, np.int64), np.empty(0, np.float32)
            nearest = np.minimum(np.searchsorted(having, rows), len(having) - 1)
            among = np.flatnonzero(having[nearest] == rows)
            own = count[nearest[among]]
            return among, own / (own + self.norm[rows[among]])

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
        n_items = min(n_items, len(self))
        return float(np.log1p((len(self) - n_items + 0.5) / (n_items + 0.5)))


def _norm(length: FloatArray) -> FloatArray:
    mean = float(length[length > 0].mean()) if (length > 0).any() else 1.0
    return (TITLE_WEIGHT * K1 * (1 - B + B * length / mean)).astype(np.float32)


def _without(parsed: Terms, dropped: Set[int], remaining: Set[int]) -> str:
    """Return the remaining words with what links them: no linking word at an end or beside a dropped word."""
    linking = [
        position
        for position in range(len(parsed.words))
        if position not in remaining | dropped and position - 1 in remaining and position < max(remaining)
    ]
    return spelled(parsed.words, parsed.glued, sorted({*remaining, *linking}))


def _best_variant(term: Term, n: int, lookup: Lookup) -> tuple[FloatArray, FloatArray]:
    """Return for each position the best weighted count (n,), and the largest weight of a variant that is there (n,)."""
    value, match = np.zeros(n, np.float32), np.zeros(n, np.float32)
    for variant in term.variants:
        positions, count = _all_words(variant, lookup)
        value[positions] = np.maximum(value[positions], count * variant.weight)
        match[positions] = np.maximum(match[positions], variant.weight)
    return value, match


def _all_words(variant: Variant, lookup: Lookup) -> tuple[npt.NDArray[np.integer], FloatArray]:
    positions, count = lookup(variant.words[0])
    for word_id in variant.words[1:]:
        others, other_count = lookup(word_id)
        positions, here, there = np.intersect1d(positions, others, assume_unique=True, return_indices=True)
        count = np.minimum(count[here], other_count[there])
    return positions, count
