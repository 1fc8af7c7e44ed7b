"""The words of a catalogue: looked up exactly, by stem, by prefix or by the nearest spelling."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rapidfuzz import process
from rapidfuzz.distance import OSA

from recommender.text.stems import stem
from recommender.types import IntArray

SHORTEST_CORRECTED = 4
LONG_WORD = 8
"""Letters from which one error is forgiven, and two; the thresholds of Lucene's AUTO fuzziness are 3 and 6, which on
titles of five words finds more wrong words than right ones."""

SHORTEST_OTHER_START = 5
"""Letters of the shorter word from which the first one may be the error: people rarely mistype it, and short words have
too many such neighbours ("train", "rain", "brain")."""

MAX_LENGTH_CORRECTED = 32
N_CORRECTIONS = 3
LAST = chr(0x10FFFF)

QUANTITY_SIGN = "#"
CODE_SIGN = "="
"""Before a number or a measure, and before a code, in the form that all its spellings share: no word begins so."""


@dataclass(frozen=True, slots=True)
class Lexicon:
    """Every word that was ever indexed, with an id that never changes; also each quantity and code, behind its sign.

    ids: word to id; words: the reverse; spellings: how it is written, by id. Without quantities and codes: stems, stem
    to the ids that share it; ordered, words ascending with their ids; by_start, words by (first letter, length);
    backwards, words read from their end, ascending; models, those of digits and letters.
    """

    ids: Mapping[str, int]
    words: Sequence[str]
    spellings: Sequence[str]
    stems: Mapping[str, tuple[int, ...]]
    ordered: Sequence[str]
    ordered_ids: IntArray
    by_start: Mapping[tuple[str, int], Sequence[str]]
    backwards: Sequence[str]
    models: Sequence[str]

    @classmethod
    def of(cls, ids: Mapping[str, int], spellings: Sequence[str]) -> Lexicon:
        """Arrange the words; ids count from 0 in the order of the mapping."""
        stems: dict[str, list[int]] = defaultdict(list)
        by_start: dict[tuple[str, int], list[str]] = defaultdict(list)
        typed = [word for word in ids if word[0] not in (QUANTITY_SIGN, CODE_SIGN)]
        for word in typed:
            stems[stem(word)].append(ids[word])
            by_start[word[0], len(word)].append(word)
        ordered = sorted(typed)
        ordered_ids = np.fromiter((ids[word] for word in ordered), np.int32, len(ordered))
        grouped = {name: tuple(group) for name, group in stems.items()}
        backwards = sorted(word[::-1] for word in typed)
        models = [word for word in typed if not word.isalpha() and not word.isdigit() and _has_both(word)]
        return cls(ids, tuple(ids), spellings, grouped, ordered, ordered_ids, by_start, backwards, models)

    def starting_with(self, prefix: str) -> IntArray:
        """Return the ids of the words that start with `prefix`, alphabetically."""
        first, last = bisect_left(self.ordered, prefix), bisect_left(self.ordered, prefix + LAST)
        return self.ordered_ids[first:last]

    def ending_in(self, end: str) -> list[str]:
        """Return the words that end so, as many as there are."""
        first = bisect_left(self.backwards, end[::-1])
        last = bisect_left(self.backwards, end[::-1] + LAST)
        return [word[::-1] for word in self.backwards[first:last]]

    def nearest(self, word: str, frequency: IntArray, *, is_unfinished: bool = False) -> list[tuple[int, int]]:
        """Return up to three (word id, errors) of words in use that may have been meant, the likeliest first.

        Errors are insertions, deletions, substitutions and swaps of neighbours (Damerau 1964, as optimal string
        alignment): at most 1 from 4 letters on, 2 from 8 on. Fewer errors come first, then the more frequent word. An
        unfinished word may also be the misspelt start of a longer one. Another first letter comes last.
        """
        if not SHORTEST_CORRECTED <= len(word) <= MAX_LENGTH_CORRECTED or any(map(str.isdigit, word)):
            return []
        most = 2 if len(word) >= LONG_WORD else 1
        lengths = range(len(word) - most, len(word) + most + 1)
        close = self._within(word, self._alike(word[0], lengths), most, frequency)
        if not close and is_unfinished:
            longer = list(self._alike(word[0], range(len(word) + 1, MAX_LENGTH_CORRECTED)))
            for cut in (len(word), len(word) + 1):  # the same number of letters typed, or one left out
                close = close or self._within(word, longer, 1, frequency, cut=cut)
        if not close and len(word) >= SHORTEST_OTHER_START:
            lengths = range(max(lengths.start, SHORTEST_OTHER_START), lengths.stop)
            close = self._within(word, self._other_starts(word[0], lengths), most, frequency)
        close.sort(key=lambda pair: (pair[1], -int(frequency[pair[0]]), pair[0]))
        return close[:N_CORRECTIONS]

    def _alike(self, letter: str, lengths: Iterable[int]) -> list[str]:
        return [word for length in lengths for word in self.by_start.get((letter, length), ())]

    def _other_starts(self, letter: str, lengths: range) -> list[str]:
        return [
            word
            for (first, length), words in self.by_start.items()
            if first != letter and length in lengths
            for word in words
        ]

    def _within(
        self, word: str, candidates: Sequence[str], most: int, frequency: IntArray, cut: int | None = None
    ) -> list[tuple[int, int]]:
        starts = candidates if cut is None else [other[:cut] for other in candidates]
        close: list[Any] = process.extract(word, starts, scorer=OSA.distance, score_cutoff=most, limit=None)
        pairs = [(self.ids[candidates[position]], int(errors)) for _, errors, position in close]
        return [pair for pair in pairs if frequency[pair[0]] > 0]


def _has_both(word: str) -> bool:
    """Whether a word has digits and letters."""
    return any(map(str.isdigit, word)) and any(map(str.isalpha, word))
