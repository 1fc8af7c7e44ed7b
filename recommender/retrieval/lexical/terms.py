"""Understands a query: each word with everything in the catalogue that counts as it, spelling corrected."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from recommender.retrieval.lexical import unspaced
from recommender.retrieval.lexical.lexicon import CODE_SIGN, QUANTITY_SIGN, Lexicon
from recommender.retrieval.lexical.relatives import COMPOUND, INFLECTED, MODEL_PART, Relatives
from recommender.retrieval.lexical.spelling import IsWord, Speller, no_word
from recommender.retrieval.lexical.synonyms import SYNONYM, Synonyms
from recommender.text.codes import code_of
from recommender.text.intent.quantities import Quantity, guessed_inches, quantities
from recommender.text.letters import fold
from recommender.text.query import MAX_QUERY_LENGTH
from recommender.text.stems import stem
from recommender.text.words import LINKING_WORDS, Word, letters, words
from recommender.types import IntArray

MAX_TERMS = 24
MAX_PREFIX_WORDS = 50

EXACT = 1.0
SAME_STEM = 0.95
HYPHEN_PARTS = 0.9
QUANTITY = 0.95
"""A number that is written otherwise: 500 for 500ml. Fractions, and numbers with a unit, are exact in any spelling."""

WITHOUT_UNIT = 0.6
"""The number alone for the unit behind it: a title may lack the unit or have another."""

PART_OF_MEASURE = 0.8
"""Share of the weight of the parts where the catalogue has the whole: "2 kg" is not "2 bags of 5 kg", nor 1/2 1-1/2."""

JOINED = 0.85
"""`tea cup` for `teacup`, and the reverse."""

BROKEN_PAIR = 0.8
"""Two characters of a run that the title has apart, each beside another character of the query."""

ONE_ERROR = 0.75
TWO_ERRORS = 0.6
PREFIX = 0.5
"""Weights of matches beside an exact one, chosen so that two exact words outweigh two guesses."""

LOOSE = 0.5
"""Weight up to which a match is a second guess: where an item has the word itself, those that have only this are not
counted with it. So "car" counts no cards."""


@dataclass(frozen=True, slots=True)
class Variant:
    """Word ids that must all be in the item, and how much of an exact match that is, in (0, 1]."""

    words: tuple[int, ...]
    weight: float


@dataclass(frozen=True, slots=True)
class Term:
    """One word of the query; without variants the catalogue does not know it. An optional one only adds to the score.

    position: of the word in `Terms.words`; -1 for a term that only says that two of them stand side by side.
    """

    variants: tuple[Variant, ...]
    is_optional: bool = False
    position: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Terms:
    """A query as it was understood; `corrected_query` is empty where it was taken as written.

    words: each word as understood; glued: positions of those that follow the word before without a space.
    """

    terms: tuple[Term, ...]
    corrected_query: str = ""
    words: tuple[str, ...] = ()
    glued: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Parser:
    """Understands queries by the words of one catalogue.

    frequency (n_words,) int32: items with each word; correct_words: folded words that are never corrected,
    even if no text has them, such as the name of a brand; is_word: see `Speller`; languages: see `Relatives`.
    """

    lexicon: Lexicon
    frequency: IntArray
    synonyms: Synonyms = field(default_factory=Synonyms)
    correct_words: frozenset[str] = frozenset()
    is_word: IsWord = no_word
    languages: frozenset[str] = frozenset()

    def parse(self, query: str, speller: Speller) -> Terms:
        """Understand a query. Any text is a query; an empty one has no terms."""
        query = query[:MAX_QUERY_LENGTH]
        typed = list(words(query))[:MAX_TERMS]
        is_unfinished = bool(query) and not query[-1].isspace()
        synonyms = [
            [Variant(word_ids, SYNONYM) for word_ids in groups]
            for groups in self.synonyms.apply(typed, self.lexicon, self.frequency)
        ]
        numbers = [*quantities(typed), *guessed_inches(query, typed)]
        terms: list[Term] = []
        understood: list[str] = []
        glued: set[int] = set()
        is_corrected = False
        for position, word in enumerate(typed):
            start = len(understood)
            if word.is_unspaced:
                cut = unspaced.cut(*letters(word), self.n_items)
                terms += self._terms_of_run(cut, start, synonyms[position])
                glued |= set(range(start + 1, start + len(cut.pieces)))
                understood += [piece.text for piece in cut.pieces]
                continue
            is_last = is_unfinished and position == len(typed) - 1
            variants, text = self._variants(typed, position, synonyms[position], numbers, speller, is_last=is_last)
            terms.append(Term(variants, word.whole in LINKING_WORDS, start))
            is_corrected |= text != word.written
            understood.append(text)
        if all(term.is_optional for term in terms):
            terms = [Term(term.variants, position=term.position) for term in terms]
        corrected = spelled(understood, glued, range(len(understood))) if is_corrected else ""
        return Terms(tuple(dict.fromkeys(terms))[:MAX_TERMS], corrected, tuple(understood), frozenset(glued))

    def _terms_of_run(self, cut: unspaced.Cut, first: int, synonyms: Sequence[Variant]) -> list[Term]:
        """Return a term per piece of a run, the first at position `first`, and optional ones for the borders."""
        terms = []
        for position, piece in enumerate(cut.pieces, first):
            whole, broken = self._together([piece.whole], EXACT), self._together(piece.broken, BROKEN_PAIR)
            terms.append(Term(_strongest([*whole, *broken, *synonyms]), position=position))
        borders = [self._together([(pair,)], EXACT) for pair in cut.borders]
        return [*terms, *(Term(tuple(variants), is_optional=True, position=-1) for variants in borders)]

    def _variants(
        self,
        typed: Sequence[Word],
        position: int,
        synonyms: Sequence[Variant],
        numbers: Sequence[Quantity],
        speller: Speller,
        *,
        is_last: bool,
    ) -> tuple[tuple[Variant, ...], str]:
        """Return everything that counts as the word, and the word as understood."""
        word = typed[position]
        matches = [
            *self._together([(word.whole,), (f"{CODE_SIGN}{code_of(word.whole)}",)], EXACT),
            *self._same_stem(word.whole),
            *self._together([word.parts] if word.parts else [], HYPHEN_PARTS),
            *self._together([(whole,) for whole in _joined(typed, position)], JOINED),
            *synonyms,
        ]
        matches = self._with_quantities(numbers, position, matches)
        matches = self._with_relatives(word.whole, _joined(typed, position), matches)
        started = self._prefixed(word.whole) if is_last else []
        if word.whole in LINKING_WORDS:
            return _strongest([*matches, *started]), word.written
        split = self._together(_splits(word.whole), JOINED)
        if matches or fold(word.written) in self.correct_words or (split and _has_digit(word.whole)):
            return _strongest([*matches, *started, *split]), word.written
        beside = [other.whole for other in typed if other is not word and other.whole not in LINKING_WORDS]
        corrections = speller.corrections(word.whole, beside, is_unfinished=is_last)
        if started and not (corrections and speller.outweighs(corrections[0][0], _word_ids(started))):
            return _strongest([*started, *split]), word.written
        if corrections:
            return self._corrected(corrections, [*started, *split])
        if split:
            best = max(split, key=lambda variant: min(self.frequency[list(variant.words)]))
            return _strongest(split), " ".join(self.lexicon.spellings[word_id] for word_id in best.words)
        return (), word.written

    def _with_quantities(self, numbers: Sequence[Quantity], position: int, matches: list[Variant]) -> list[Variant]:
        """Add the numbers and measures that a word is part of, in any spelling; a measure outweighs its parts."""
        measures: list[Variant] = []
        units = {quantity.unit_at for quantity in numbers}
        for quantity in numbers:
            groups = [[f"{QUANTITY_SIGN}{number}" for number in reading] for reading in quantity.readings]
            is_part = quantity.start <= position < quantity.end
            if is_part and quantity.is_joint:
                measures += self._together(groups, QUANTITY if quantity.is_guess else EXACT)
            elif is_part or (quantity.end == position and position in units):
                matches = [*matches, *self._together(groups, QUANTITY if is_part else WITHOUT_UNIT)]
        if measures:
            matches = [Variant(other.words, other.weight * PART_OF_MEASURE) for other in matches]
        return [*measures, *matches]

    def _with_relatives(self, word: str, joined: Sequence[str], matches: list[Variant]) -> list[Variant]:
        """Add other forms of a word in the catalogue's languages, compounds, and longer model numbers of its part."""
        relatives = Relatives(self.lexicon, self.n_items, self.languages)
        groups = (
            (INFLECTED, relatives.inflected(word)),
            (COMPOUND, relatives.compounds(word, is_known=bool(matches))),
            (MODEL_PART, [] if matches else relatives.models(word)),
            (JOINED, [form for whole in joined for form in relatives.inflected(whole)]),
        )
        return [*matches, *(one for weight, others in groups for one in self._together(zip(others), weight))]

    def _corrected(
        self, corrections: Sequence[tuple[int, int]], others: Sequence[Variant]
    ) -> tuple[tuple[Variant, ...], str]:
        """Return the likeliest correction in any number, further ones as second guesses, and how the first is spelt."""
        (likeliest, errors), *further = corrections
        weight = ONE_ERROR if errors == 1 else TWO_ERRORS
        same = self._same_stem(self.lexicon.words[likeliest], weight)
        guesses = [Variant((word_id,), LOOSE) for word_id, _ in further]
        variants = _strongest([Variant((likeliest,), weight), *same, *guesses, *others])
        return variants, self.lexicon.spellings[likeliest]

    def n_items(self, part: str) -> int:
        """Return how many items have a word."""
        word_id = self.lexicon.ids.get(part, -1)
        return int(self.frequency[word_id]) if word_id >= 0 else 0

    def _together(self, groups: Iterable[Sequence[str]], weight: float) -> list[Variant]:
        """Return the groups whose words are all in the catalogue."""
        return [
            Variant(tuple(self.lexicon.ids[part] for part in group), weight)
            for group in groups
            if all(map(self.n_items, group))
        ]

    def _same_stem(self, word: str, weight: float = 1.0) -> list[Variant]:
        same = self.lexicon.stems.get(stem(word), ())
        return [Variant((word_id,), weight * SAME_STEM) for word_id in same if self.frequency[word_id] > 0]

    def _prefixed(self, prefix: str) -> list[Variant]:
        """Return the most frequent words that start as the unfinished one does."""
        word_ids = self.lexicon.starting_with(prefix)
        order = np.argsort(-self.frequency[word_ids], kind="stable")[:MAX_PREFIX_WORDS]
        return [Variant((word_id,), PREFIX) for word_id in word_ids[order].tolist() if self.frequency[word_id] > 0]


def _has_digit(word: str) -> bool:
    return any(map(str.isdigit, word))


def _word_ids(variants: Iterable[Variant]) -> list[int]:
    return [word_id for variant in variants for word_id in variant.words]


def spelled(written: Sequence[str], glued: Container[int], positions: Iterable[int]) -> str:
    """Write the words at some positions, in order, with a space where there was one."""
    text, before = "", -2
    for position in positions:
        follows = not text or (position in glued and before == position - 1)
        text += written[position] if follows else f" {written[position]}"
        before = position
    return text


def _joined(typed: Sequence[Word], position: int) -> list[str]:
    """Return the word written together with the one before and the one after it."""
    around = typed[max(position - 1, 0) : position + 2]
    return [first.whole + second.whole for first, second in pairwise(around) if not second.is_unspaced]


def _splits(word: str) -> list[tuple[str, str]]:
    """Return the ways to write the word as two: of three letters and more, or between a digit and a letter."""
    return [
        (word[:end], word[end:])
        for end in range(1, len(word))
        if 3 <= end <= len(word) - 3 or word[end - 1].isdigit() != word[end].isdigit()
    ]


def _strongest(variants: Sequence[Variant]) -> tuple[Variant, ...]:
    """Return each group of words once, with its largest weight, strongest first."""
    best: dict[tuple[int, ...], float] = {}
    for variant in variants:
        best[variant.words] = max(variant.weight, best.get(variant.words, 0.0))
    return tuple(Variant(group, weight) for group, weight in sorted(best.items(), key=lambda pair: -pair[1]))
