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

from recommender.text.words import stem
from recommender.types import IntArray

SHORTEST_CORRECTED = 4
LONG_WORD = 8
"""Letters from which one error is forgiven, and two; the thresholds of Lucene's AUTO fuzziness are 3 and 6, which on
titles of five words finds more wrong words than right ones."""

MAX_LENGTH_CORRECTED = 32
N_CORRECTIONS = 3
LAST = chr(0x10FFFF)


@dataclass(frozen=True, slots=True)
class Lexicon:
    """Every word that was ever indexed, with an id that never changes.

    ids: word to id; words: the reverse; spellings: how it is written, by id; stems: stem to the ids that share it;
    ordered: words ascending with their ids; by_start: words by (first letter, length).
    """

    ids: Mapping[str, int]
    words: Sequence[str]
    spellings: Sequence[str]
    stems: Mapping[str, tuple[int, ...]]
    ordered: Sequence[str]
    ordered_ids: IntArray
    by_start: Mapping[tuple[str, int], Sequence[str]]

    @classmethod
    def of(cls, ids: Mapping[str, int], spellings: Sequence[str]) -> Lexicon:
        """Arrange the words; ids count from 0 in the order of the mapping."""
        stems: dict[str, list[int]] = defaultdict(list)
        by_start: dict[tuple[str, int], list[str]] = defaultdict(list)
        for word, word_id in ids.items():
            stems[stem(word)].append(word_id)
            by_start[word[0], len(word)].append(word)
        ordered = sorted(ids)
        ordered_ids = np.fromiter((ids[word] for word in ordered), np.int32, len(ordered))
        grouped = {name: tuple(group) for name, group in stems.items()}
        return cls(ids, tuple(ids), spellings, grouped, ordered, ordered_ids, by_start)

    def starting_with(self, prefix: str) -> IntArray:
        """Return the ids of the words that start with `prefix`, alphabetically."""
        first, last = bisect_left(self.ordered, prefix), bisect_left(self.ordered, prefix + LAST)
        return self.ordered_ids[first:last]

    def nearest(self, word: str, frequency: IntArray, *, is_unfinished: bool = False) -> list[tuple[int, int]]:
        """Return up to three (word id, errors) of words in use that may have been meant, the likeliest first.

        Errors are insertions, deletions, substitutions and swaps of neighbours (Damerau 1964, as optimal string
        alignment): at most 1 from 4 letters on, 2 from 8 on. Fewer errors come first, then the
        more frequent word; another first letter only where no word has the same. An unfinished word may also be the
        misspelt start of a longer one.
        """
        if not SHORTEST_CORRECTED <= len(word) <= MAX_LENGTH_CORRECTED or any(map(str.isdigit, word)):
            return []
        most = 2 if len(word) >= LONG_WORD else 1
        lengths = range(len(word) - most, len(word) + most + 1)
        close = self._within(word, self._alike(word[0], lengths), most, frequency)
        if not close:
            close = self._within(word, self._other_starts(word[0], lengths), most, frequency)
        if not close and is_unfinished:
            longer = list(self._alike(word[0], range(len(word) + 1, MAX_LENGTH_CORRECTED)))
            for cut in (len(word), len(word) + 1):  # the same number of letters typed, or one left out
                close = close or self._within(word, longer, 1, frequency, cut=cut)
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
