"""Suggests queries while typing: phrases that several titles share, and words that start as the unfinished one."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Protocol

import numpy as np
import numpy.typing as npt

from recommender.packed import PackedArrays, PackedTexts
from recommender.retrieval.lexical.lexicon import LAST, Lexicon
from recommender.text.stems import stem
from recommender.text.words import LINKING_WORDS, words
from recommender.types import IntArray

LONGEST = 4
FEWEST_TITLES = 2
MAX_PHRASES = 200_000
DOMINATED = 0.9
"""A phrase that the same word follows this often is left out for the longer one."""

N_TRIED = 60
MAX_LEADING_WORDS = 8


class Index(Protocol):
    """The part of `LexicalIndex` that is read."""

    @property
    def lexicon(self) -> Lexicon: ...
    @property
    def frequency(self) -> IntArray: ...

    def rows_of(self, word_id: int) -> IntArray: ...
    def corrected(self, prefix: str) -> str: ...


@dataclass(frozen=True, slots=True)
class Phrases:
    """Phrases in the alphabetical order of their folded words: keys, and in how many titles each occurs (n,) int32."""

    keys: PackedTexts
    counts: IntArray

    @classmethod
    def of(cls, titles: IntArray, lexicon: Lexicon) -> Phrases:
        """Count runs of one to four whole words; titles (m,): word ids, each title ended by -1."""
        linking = np.array([lexicon.ids[word] for word in LINKING_WORDS if word in lexicon.ids], np.int32)
        counted = [
            (" ".join(lexicon.words[i] for i in gram), count)
            for grams in _frequent_runs(titles)
            for *gram, count in grams[~np.isin(grams[:, -2], linking)].tolist()
        ]
        most = sorted(counted, key=lambda pair: (-pair[1], pair[0]))[:MAX_PHRASES]
        most.sort()
        counts = np.fromiter((count for _, count in most), np.int32, len(most))
        return cls(PackedTexts.of([key for key, _ in most]), counts)

    def arrays(self) -> PackedArrays:
        """Return what `from_arrays` takes."""
        return {**self.keys.arrays(), "counts": self.counts}

    @classmethod
    def from_arrays(cls, arrays: PackedArrays) -> Phrases:
        """Read what `arrays` gave."""
        return cls(PackedTexts.from_arrays(arrays), arrays["counts"])

    def suggest(self, prefix: str, limit: int, index: Index) -> list[str]:
        """Return up to `limit` queries that go on from `prefix`, most frequent first, each of which finds an item."""
        typed = [word.folded for word in words(prefix)]
        if not typed or limit <= 0:
            return []
        is_unfinished = not prefix[-1].isspace()
        completions = self._completions(typed, is_unfinished, limit, index)
        corrected = [word.whole or word.written for word in words(index.corrected(prefix))]
        if corrected != typed and len(completions) < limit:
            completions += self._completions(corrected, is_unfinished, limit, index, is_new=True)
        return list(dict.fromkeys(completions))[:limit]

    def _completions(
        self, typed: Sequence[str], is_unfinished: bool, limit: int, index: Index, *, is_new: bool = False
    ) -> list[str]:
        """Complete all that is typed, then less and less of its end; `is_new`: the typed words themselves too."""
        completions: dict[tuple[str, ...], str] = {}
        for n_leading in range(min(len(typed), MAX_LEADING_WORDS)):
            leading = typed[:n_leading]
            start = " ".join(typed[n_leading:]) + ("" if is_unfinished else " ")
            for key in self._starting_with(start, leading, index):
                queried = [*leading, *key.split(" ")]
                if queried == list(typed) and not is_new:
                    continue
                text = " ".join(index.lexicon.spellings[index.lexicon.ids[word]] for word in queried)
                completions.setdefault(tuple(map(stem, queried)), text)
                if len(completions) >= limit:
                    return list(completions.values())
        return list(completions.values())

    def _starting_with(self, start: str, leading: Sequence[str], index: Index) -> Iterator[str]:
        """Give the phrases that start so and occur with the leading words, most frequent first; then single words."""
        first, last = bisect_left(self.keys, start), bisect_left(self.keys, start + LAST)
        order = np.argsort(-self.counts[first:last], kind="stable")[:N_TRIED]
        keys = [self.keys[first + offset] for offset in order.tolist()]
        if " " not in start:
            word_ids = index.lexicon.starting_with(start)
            frequent = word_ids[np.argsort(-index.frequency[word_ids], kind="stable")[:N_TRIED]]
            keys += [index.lexicon.words[word_id] for word_id in frequent.tolist()]
        for key in keys:
            if _occur_together([*leading, *key.split(" ")], index):
                yield key


def _frequent_runs(titles: IntArray) -> Iterator[npt.NDArray[np.int64]]:
    """Give for each length the frequent runs as (n, length + 1): word ids and count, without mere starts of others."""
    before: npt.NDArray[np.int64] | None = None
    for length in range(1, LONGEST + 1):
        grams = _runs(titles, length)
        if before is not None:
            yield _without_starts(before, grams)
        before = grams
        if not len(grams):
            return
    if before is not None:
        yield before


def _runs(titles: IntArray, length: int) -> npt.NDArray[np.int64]:
    if len(titles) < length:
        return np.empty((0, length + 1), np.int64)
    window = np.lib.stride_tricks.sliding_window_view(titles, length)
    window = window[(window >= 0).all(axis=1)]
    grams, counts = np.unique(window, axis=0, return_counts=True)
    frequent = counts >= FEWEST_TITLES
    return np.column_stack([grams[frequent], counts[frequent]]).astype(np.int64)


def _without_starts(grams: npt.NDArray[np.int64], longer: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Drop runs of two words and more that one longer run nearly always goes on from."""
    if grams.shape[1] <= 2:
        return grams
    commonest: dict[tuple[int, ...], int] = {}
    for *words_of, _, count in longer.tolist():
        key = tuple(words_of)
        commonest[key] = max(count, commonest.get(key, 0))
    is_own = [commonest.get(tuple(gram), 0) < DOMINATED * count for *gram, count in grams.tolist()]
    return grams[np.array(is_own, bool)]


def _occur_together(wanted: Sequence[str], index: Index) -> bool:
    word_ids = [index.lexicon.ids.get(word, -1) for word in wanted]
    if min(word_ids) < 0:
        return False
    rows = [index.rows_of(word_id) for word_id in sorted(word_ids, key=lambda i: int(index.frequency[i]))]
    return bool(len(reduce(lambda first, second: np.intersect1d(first, second, assume_unique=True), rows)))
