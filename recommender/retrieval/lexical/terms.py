"""A query in, what to look up out: each word with everything that counts as it, and the query as it was understood."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from recommender.retrieval.lexical import unspaced as runs
from recommender.retrieval.lexical.lexicon import Lexicon
from recommender.text.query import MAX_QUERY_LENGTH
from recommender.text.words import LINKING_WORDS, Word, characters, fold, pairs, stem, words
from recommender.types import IntArray

MAX_TERMS = 24
MAX_PREFIX_WORDS = 50

EXACT = 1.0
SAME_STEM = 0.95
HYPHEN_PARTS = 0.9
JOINED = 0.85
"""`tea cup` found as `teacup`, and the reverse."""

SYNONYM = 0.8
"""What the shop, or its shoppers, say means the same: behind the word itself, before a guess."""

BROKEN_PAIR = 0.8
"""Two characters of a run that stand apart in the title, each beside others of the query."""

ONE_ERROR = 0.75
TWO_ERRORS = 0.6
PREFIX = 0.5
"""What a match says beside an exact one; their order matters, chosen so that two exact words outweigh two guesses."""


@dataclass(frozen=True, slots=True)
class Variant:
    """Word ids that must all be in the item, and how much of an exact match that is, in (0, 1]."""

    words: tuple[int, ...]
    weight: float


@dataclass(frozen=True, slots=True)
class Term:
    """One word of the query. An optional one adds to the score; without a variant the catalogue does not know it.

    place: which word of `Terms.words` it is of; -1 for what only tells that two of them stand side by side.
    """

    variants: tuple[Variant, ...]
    is_optional: bool = False
    place: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Usage:
    """What is known of words beside the texts of the catalogue.

    synonyms: stems of a run of words to the runs that count as it; longest: words of the longest such run; known:
    folded words that are right although no text has them, as the name of a brand: they are not corrected.
    """

    synonyms: Mapping[tuple[str, ...], tuple[str, ...]] = field(default_factory=dict)
    longest: int = 0
    known: frozenset[str] = frozenset()

    @classmethod
    def of(cls, pairs: Iterable[tuple[str, str]], known: frozenset[str] = frozenset()) -> Usage:
        """Take pairs of (what is typed, what counts as it)."""
        found: dict[tuple[str, ...], list[str]] = {}
        for typed, meaning in pairs:
            key = tuple(_stemmed(word) for word in words(typed))
            if key and meaning not in found.setdefault(key, []):
                found[key].append(meaning)
        synonyms = {key: tuple(meanings) for key, meanings in found.items()}
        return cls(synonyms, max(map(len, synonyms), default=0), known)


@dataclass(frozen=True, slots=True)
class Terms:
    """A query as it was understood; `corrected_query` is empty where it was taken as written.

    words: each word as understood, the words that `Term.place` counts; glued: those of them that follow the one before
    without a space.
    """

    terms: tuple[Term, ...]
    corrected_query: str = ""
    words: tuple[str, ...] = ()
    glued: frozenset[int] = frozenset()


def parse(query: str, lexicon: Lexicon, frequency: IntArray, usage: Usage | None = None) -> Terms:
    """Understand a query; frequency (n_words,) int32: items per word. Any text is a query, an empty one has no term."""
    query = query[:MAX_QUERY_LENGTH]
    usage = usage or Usage()
    spoken = list(words(query))[:MAX_TERMS]
    is_unfinished = bool(query) and not query[-1].isspace()
    same = _synonyms(spoken, usage, lexicon, frequency)
    terms: list[Term] = []
    shown: list[str] = []
    glued: set[int] = set()
    is_corrected = False
    for place, word in enumerate(spoken):
        if word.is_unspaced:
            cut = runs.cut(characters(word.written), lambda part: _n_items(part, lexicon, frequency))
            terms += _run_terms(cut, len(shown), same[place], lexicon, frequency)
            glued |= set(range(len(shown) + 1, len(shown) + len(cut.pieces)))
            shown += [piece.text for piece in cut.pieces]
            continue
        is_last = is_unfinished and place == len(spoken) - 1
        variants, understood = _variants(spoken, place, is_last, lexicon, frequency, usage.known, same[place])
        terms.append(Term(variants, word.whole in LINKING_WORDS, len(shown)))
        is_corrected |= understood != word.written
        shown.append(understood)
    if all(term.is_optional for term in terms):
        terms = [Term(term.variants, place=term.place) for term in terms]
    corrected = spelled(shown, glued, range(len(shown))) if is_corrected else ""
    return Terms(tuple(dict.fromkeys(terms))[:MAX_TERMS], corrected, tuple(shown), frozenset(glued))


def spelled(shown: Sequence[str], glued: Container[int], places: Iterable[int]) -> str:
    """Write the words at some places, in order, with a space where there was one."""
    text, before = "", -2
    for place in places:
        text += shown[place] if not text or (place in glued and before == place - 1) else f" {shown[place]}"
        before = place
    return text


def _run_terms(cut: runs.Cut, first: int, same: Sequence[Variant], lexicon: Lexicon, frequency: IntArray) -> list[Term]:
    """Return a term for each piece of a run, the first of them at place `first`, and optional ones for the borders."""
    found = []
    for place, piece in enumerate(cut.pieces, first):
        whole = _known([piece.whole], EXACT, lexicon, frequency)
        broken = _known(piece.broken, BROKEN_PAIR, lexicon, frequency)
        found.append(Term(_strongest([*whole, *broken, *same]), place=place))
    borders = [_known([(pair,)], EXACT, lexicon, frequency) for pair in cut.borders]
    return [*found, *(Term(variants, is_optional=True, place=-1) for variants in borders)]


def _n_items(part: str, lexicon: Lexicon, frequency: IntArray) -> int:
    word_id = lexicon.ids.get(part, -1)
    return int(frequency[word_id]) if word_id >= 0 else 0


def _variants(
    spoken: Sequence[Word],
    place: int,
    is_last: bool,
    lexicon: Lexicon,
    frequency: IntArray,
    right: frozenset[str],
    same: Sequence[Variant],
) -> tuple[tuple[Variant, ...], str]:
    """Return everything that counts as the word, and the word as understood; a word of `right` is not corrected."""
    word = spoken[place]
    known = [
        *_known([(word.whole,)], EXACT, lexicon, frequency),
        *_same_stem(word.whole, lexicon, frequency),
        *_known([word.parts] if word.parts else [], HYPHEN_PARTS, lexicon, frequency),
        *_known([(whole,) for whole in _joined(spoken, place)], JOINED, lexicon, frequency),
        *same,
    ]
    split = _known(_splits(word.whole), JOINED, lexicon, frequency)
    if is_last:
        known += _prefixed(word.whole, lexicon, frequency)
    if known or fold(word.written) in right:
        return _strongest([*known, *split]), word.written
    nearest = lexicon.nearest(word.whole, frequency, is_unfinished=is_last)
    guesses = [Variant((word_id,), ONE_ERROR if errors == 1 else TWO_ERRORS) for word_id, errors in nearest]
    guesses += [stemmed for guess in guesses[:1] for stemmed in _same_word(guess, lexicon, frequency)]
    if guesses:
        return _strongest([*guesses, *split]), lexicon.shown[guesses[0].words[0]]
    if split:
        best = max(split, key=lambda variant: min(frequency[list(variant.words)]))
        return _strongest(split), " ".join(lexicon.shown[word_id] for word_id in best.words)
    return (), word.written


def _synonyms(spoken: Sequence[Word], usage: Usage, lexicon: Lexicon, frequency: IntArray) -> list[list[Variant]]:
    """Return for each word what counts as a run of words that it is in."""
    found: list[list[Variant]] = [[] for _ in spoken]
    if not usage.synonyms:
        return found
    stems = [_stemmed(word) for word in spoken]
    for start in range(len(spoken)):
        for end in range(start + 1, min(len(spoken), start + usage.longest) + 1):
            for meaning in usage.synonyms.get(tuple(stems[start:end]), ()):
                for place in range(start, end):
                    found[place] += _meant(meaning, lexicon, frequency)
    return found


def _meant(meaning: str, lexicon: Lexicon, frequency: IntArray) -> list[Variant]:
    """Return the words of a synonym as the catalogue has them: one word in any number, several together."""
    parts = [part for word in words(meaning) for part in _looked_up(word, lexicon)]
    if len(parts) == 1:
        same = lexicon.stems.get(stem(parts[0]), ())
        return [Variant((word_id,), SYNONYM) for word_id in same if frequency[word_id] > 0]
    return list(_known([parts] if parts else [], SYNONYM, lexicon, frequency))


def _looked_up(word: Word, lexicon: Lexicon) -> tuple[str, ...]:
    return (word.whole,) if word.whole in lexicon.ids or not word.is_unspaced else pairs(word)


def _stemmed(word: Word) -> str:
    return stem(word.whole or word.written)


def _known(
    groups: Sequence[Sequence[str]], weight: float, lexicon: Lexicon, frequency: IntArray
) -> tuple[Variant, ...]:
    found = []
    for group in groups:
        word_ids = [lexicon.ids.get(part, -1) for part in group]
        if all(word_id >= 0 and frequency[word_id] > 0 for word_id in word_ids):
            found.append(Variant(tuple(word_ids), weight))
    return tuple(found)


def _same_stem(word: str, lexicon: Lexicon, frequency: IntArray) -> list[Variant]:
    same = lexicon.stems.get(stem(word), ())
    return [Variant((word_id,), SAME_STEM) for word_id in same if frequency[word_id] > 0]


def _same_word(guess: Variant, lexicon: Lexicon, frequency: IntArray) -> list[Variant]:
    """Return the other numbers of a corrected word, a little weaker than it."""
    word = lexicon.words[guess.words[0]]
    return [Variant(same.words, guess.weight * SAME_STEM) for same in _same_stem(word, lexicon, frequency)]


def _prefixed(prefix: str, lexicon: Lexicon, frequency: IntArray) -> list[Variant]:
    """Return the most frequent words that start as the unfinished one does."""
    word_ids = lexicon.starting_with(prefix)
    order = np.argsort(-frequency[word_ids], kind="stable")[:MAX_PREFIX_WORDS]
    return [Variant((word_id,), PREFIX) for word_id in word_ids[order].tolist() if frequency[word_id] > 0]


def _joined(spoken: Sequence[Word], place: int) -> list[str]:
    """Return the word written together with the one before and the one after it."""
    around = spoken[max(place - 1, 0) : place + 2]
    return [first.whole + second.whole for first, second in pairwise(around) if not second.is_unspaced]


def _splits(word: str) -> list[tuple[str, str]]:
    """Return the ways to write the word as two: of three letters and more, or between a digit and a letter."""
    return [
        (word[:place], word[place:])
        for place in range(1, len(word))
        if 3 <= place <= len(word) - 3 or word[place - 1].isdigit() != word[place].isdigit()
    ]


def _strongest(variants: Sequence[Variant]) -> tuple[Variant, ...]:
    """Return each group of words once, with its largest weight, strongest first."""
    best: dict[tuple[int, ...], float] = {}
    for variant in variants:
        best[variant.words] = max(variant.weight, best.get(variant.words, 0.0))
    return tuple(Variant(group, weight) for group, weight in sorted(best.items(), key=lambda pair: -pair[1]))
