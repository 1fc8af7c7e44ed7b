"""Weighs the terms of titles, so that personas are described by words that tell a kind of goods."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from math import log

from recommender.text.stems import stem
from recommender.text.words import LINKING_WORDS, Word, pieces, words

MAX_TITLES = 20_000
"""Titles that are counted; a larger catalogue is sampled evenly, which moves an idf by less than 0.1."""

RAREST_SHARE = 0.005
"""A term in a smaller share of the titles gets no larger weight: it names an item, not a kind of goods."""

FEWEST_TITLES = 3
"""A term in fewer titles than this names one item."""

GENERAL_WORDS = LINKING_WORDS | {
    "into", "off", "set", "pack", "piece", "pcs", "assorted", "design", "new", "size", "small", "medium", "large",
}  # fmt: skip
"""Words that link others or tell an amount or a size: on their own they name no kind of goods."""

_KOREAN = re.compile(r"[\uac00-\ud7af]+")


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """In how many of `n_titles` titles each term occurs."""

    n_titles: int
    counts: Mapping[str, int]

    def weight(self, term: str) -> float:
        """Return the inverse document frequency, capped for rare terms; 0 for a term that names one item.

        Spärck Jones 1972, "A statistical interpretation of term specificity": log(N / n).
        """
        count = self.counts[term]  # a Counter, or `Counted`: 0 for what is not in it
        if count < max(min(FEWEST_TITLES, self.n_titles), 1):  # a catalogue without titles knows no term
            return 0.0
        return log((1 + self.n_titles) / max(count, RAREST_SHARE * self.n_titles)) * (1.5 if " " in term else 1.0)


@lru_cache(maxsize=2)
def vocabulary_of(titles: Sequence[str]) -> Vocabulary:
    """Count the terms of a catalogue; the last two catalogues are cached."""
    sample = titles[:: -(-len(titles) // MAX_TITLES)] if titles else ()
    return Vocabulary(len(sample), Counter(term for title in sample for term in terms(title)))


def terms(text: str) -> dict[str, str]:
    """Return the terms of a text: stems of one word or of two neighbours, each with the words as they were written.

    Words of one letter and words with digits are no terms.
    """
    spellings = [
        (written, stem(folded))
        for word in words(text)
        for written, folded in _pieces(word)
        if (word.is_unspaced or len(folded) > 1) and not any(map(str.isdigit, folded))
    ]
    single = {key: written for written, key in spellings if key not in GENERAL_WORDS}
    double = {
        f"{key} {next_key}": f"{written} {next_written}"
        for (written, key), (next_written, next_key) in pairwise(spellings)
        if key not in GENERAL_WORDS and next_key not in GENERAL_WORDS
    }
    return single | double


def _pieces(word: Word) -> list[tuple[str, str]]:
    """Return (as written, folded) of each part of a word; Korean, which has spaces, is not cut into pairs."""
    return [(word.written, word.folded)] if _KOREAN.fullmatch(word.written) else pieces(word)
