"""Decides what a word that the catalogue does not know was meant to be, and when it is better left as it was typed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from recommender.retrieval.lexical.lexicon import Lexicon
from recommender.text.stems import stem
from recommender.types import IntArray

LONG = 7
"""Letters from which a near spelling is hardly ever another word of the language: "racket" and "rocket" have six."""

SHORT = 5
"""Words of so many letters are near many others."""

LEAST_SHARE_HERE = 0.001
"""Share of the items that have a word which people of this shop are likely to mean."""

MISTYPED_SHARE = 0.1
"""What is typed is more often the start of a longer word than misspelt: a correction needs ten times the items."""

IsWord = Callable[[str], bool]
"""Whether a word is spelt right in some language, whatever the shop sells: `Ranker.is_word`."""


def no_word(word: str) -> bool:
    """Know no word beyond the catalogue's, where no encoder brings a vocabulary."""
    return False


@dataclass(frozen=True, slots=True)
class Speller:
    """Corrects words by one catalogue: frequency (n_words,) int32, items with each word; rows_of: word id to its rows.

    is_word: what is never corrected, such as "train" in a shop that sells rain coats.
    """

    lexicon: Lexicon
    frequency: IntArray
    n_items: int
    rows_of: Callable[[int], IntArray]
    is_word: IsWord = no_word

    def corrections(self, word: str, beside: Sequence[str], *, is_unfinished: bool = False) -> list[tuple[int, int]]:
        """Return up to three (word id, errors), the likeliest first; none where the word is better left as typed.

        beside: the other words of the query.
        """
        nearest = self.lexicon.nearest(word, self.frequency, is_unfinished=is_unfinished)
        if not nearest or self.is_word(word) or not self._is_likely(word, nearest[0][0], beside):
            return []
        return nearest

    def outweighs(self, correction: int, completions: Sequence[int]) -> bool:
        """Whether a frequent word is meant rather than those (word ids) that start as typed: with "candel", candle."""
        same = self.lexicon.stems.get(stem(self.lexicon.words[correction]), (correction,))
        n_meant, n_started = (int(self.frequency[list(word_ids)].sum()) for word_ids in (same, completions))
        return n_meant * MISTYPED_SHARE > n_started

    def _is_likely(self, word: str, correction: int, beside: Sequence[str]) -> bool:
        """Whether a short word is rather misspelt than another one: by its error, its neighbours and its frequency.

        Words of a language differ by another letter ("hose", "home") more often than by one too many, one too few or
        two swapped: such an error is only corrected to what occurs with the words beside, or alone to what is frequent.
        """
        if len(word) >= LONG:
            return True
        meant = self.lexicon.words[correction]
        is_plain = len(meant) > len(word) + 1 or not _has_other_letter(word, meant)
        if is_plain and len(word) > SHORT:
            return True
        is_frequent = bool(self.frequency[correction] >= LEAST_SHARE_HERE * self.n_items)
        if beside:
            return (is_plain and is_frequent) or self._is_together(correction, beside)
        return is_frequent or self.is_word is not no_word or (is_plain and len(meant) <= len(word) + 1)

    def _is_together(self, word_id: int, beside: Sequence[str]) -> bool:
        """Whether an item has the word (its id) and one of those beside it, each in the singular or the plural."""
        others = {other for word in beside for other in self._same_stem(stem(word))}
        every = [self.rows_of(same) for same in self._same_stem(stem(self.lexicon.words[word_id]))]
        return any(
            len(np.intersect1d(rows, self.rows_of(other), assume_unique=True)) for rows in every for other in others
        )

    def _same_stem(self, stemmed: str) -> Sequence[int]:
        return self.lexicon.stems.get(stemmed, ())


def _has_other_letter(word: str, meant: str) -> bool:
    """Whether two words of one length differ by more than the order of their letters."""
    return len(word) == len(meant) and sorted(word) != sorted(meant)
