"""Which words of a title tell its kind: titles of a catalogue in, terms and how much each of them tells out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from math import log

from recommender.text.words import as_shown, fold

MAX_TITLES = 20_000
"""Titles that are counted; a larger catalogue is sampled evenly, which moves an idf by less than 0.1."""

RAREST_SHARE = 0.005
"""A term rarer than this share of the titles tells no more for being rarer: it names an item, not a kind of goods."""

FEWEST_TITLES = 3
"""A term in fewer titles than this names one item."""

_WORDS = re.compile(r"[぀-ヿ㐀-鿿]+|[^\W\d_぀-ヿ㐀-鿿]{2,}")
_CJK = re.compile(r"[぀-ヿ㐀-鿿]")
_LINKING_WORDS = frozenset(
    (
        *("a", "an", "and", "as", "at", "by", "for", "from", "in", "into", "of", "off", "on", "or", "per", "the", "to"),
        *("with", "without", "set", "pack", "piece", "pcs", "assorted", "design", "new", "size"),
        *("small", "medium", "large"),
    )
)
"""Words that link others or tell an amount or a size: no kind of goods is named by them alone."""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """In how many of `n_titles` titles each term occurs."""

    n_titles: int
    counts: Counter[str]

    def weight(self, term: str) -> float:
        """Return the inverse document frequency, capped for rare terms; 0 for a term that names one item.

        Spärck Jones 1972, "A statistical interpretation of term specificity": log(N / n).
        """
        count = self.counts[term]
        if count < max(min(FEWEST_TITLES, self.n_titles), 1):  # a catalogue without titles knows no term
            return 0.0
        return log((1 + self.n_titles) / max(count, RAREST_SHARE * self.n_titles)) * (1.5 if " " in term else 1.0)


@lru_cache(maxsize=2)
def vocabulary_of(titles: tuple[str, ...]) -> Vocabulary:
    """Count the terms of a catalogue; kept for as long as the same titles are asked for."""
    sample = titles[:: -(-len(titles) // MAX_TITLES)] if titles else ()
    return Vocabulary(len(sample), Counter(term for title in sample for term in terms(title)))


def terms(text: str) -> dict[str, str]:
    """Return the terms of a text, folded stems of one word or of two in a row, with the words as they were written."""
    words = [(word, fold(word)) for word in _words(text)]
    found = {stem: word for word, folded in words if (stem := _stem(folded)) not in _LINKING_WORDS}
    for (first, one), (second, other) in pairwise(words):
        if one not in _LINKING_WORDS and other not in _LINKING_WORDS:
            found[f"{_stem(one)} {_stem(other)}"] = f"{first} {second}"
    return found


def _words(text: str) -> list[str]:
    """Return words in lower case; text without spaces (Chinese, Japanese) as pairs of characters."""
    words: list[str] = []
    for word in _WORDS.findall(as_shown(text)):
        words += _pairs(word) if _CJK.match(word) else [word]
    return words


def _pairs(word: str) -> Sequence[str]:
    return [word[start : start + 2] for start in range(max(len(word) - 1, 1))]


def _stem(word: str) -> str:
    """Drop an English plural: the S-stemmer of Harman 1991, "How effective is suffixing?"."""
    if len(word) > 4 and word.endswith("ies"):
        return f"{word[:-3]}y"
    if len(word) > 3 and word.endswith("s") and word[-2] not in "us":
        return word[:-1]
    return word
