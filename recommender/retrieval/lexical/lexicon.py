"""The words of a catalogue: looked up exactly, by stem, by prefix or by the nearest spelling."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
from rapidfuzz import process
from rapidfuzz.distance import OSA

from recommender.packed import PackedArrays, PackedTexts, TextIndex, within
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


PLAIN_ARRAYS = ("ordered", "backwards", "sized_ids", "groups", "group_start")
Candidates = tuple[list[str], list[int]]
"""Words (n,) and their ids (n,)."""


@dataclass(frozen=True, slots=True)
class Added:
    """Words that came since the lexicon was packed: those that are typed, their ids, and the ids by stem."""

    words: tuple[str, ...] = ()
    ids: tuple[int, ...] = ()
    stems: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Stems:
    """Stem to the ids of the words that share it: those of stem i are `ids[first[i]:first[i + 1]]`."""

    index: TextIndex
    first: IntArray
    ids: IntArray
    added: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def get(self, stemmed: str, default: tuple[int, ...] = ()) -> tuple[int, ...]:
        """Return the ids, ascending."""
        row = self.index.get(stemmed, -1)
        packed = tuple(self.ids[self.first[row] : self.first[row + 1]].tolist()) if row >= 0 else ()
        return packed + self.added.get(stemmed, ()) or default


@dataclass(frozen=True, slots=True)
class Lexicon:
    """Every word that was ever indexed, with an id that never changes; also each quantity and code, behind its sign.

    ids: word to id; words: the reverse; spellings: how it is written, by id. Without quantities and codes: ordered, ids
    of the words ascending; backwards, ids of the words ascending when read from their end; sized, words by length and
    then first letter, with sized_ids; those of group i (length and letter in a row of `groups`) stand from
    `group_start[i]` on; models, words of digits and letters.
    """

    ids: TextIndex
    words: PackedTexts
    spellings: PackedTexts
    stems: Stems
    ordered: IntArray
    backwards: IntArray
    sized: PackedTexts
    sized_ids: IntArray
    groups: IntArray
    group_start: IntArray
    models: PackedTexts
    added: Added = field(default_factory=Added)

    @classmethod
    def of(cls, words: Sequence[str], spellings: Sequence[str]) -> Lexicon:
        """Arrange the words; ids count from 0 in their order."""
        stems: dict[str, list[int]] = defaultdict(list)
        typed = [(word, word_id) for word_id, word in enumerate(words) if _is_typed(word)]
        for word, word_id in typed:
            stems[stem(word)].append(word_id)
        sized = sorted(typed, key=lambda pair: (len(pair[0]), pair[0][0], pair[1]))
        keys = np.array([(len(word), ord(word[0])) for word, _ in sized], np.int32).reshape(-1, 2)
        is_first = np.ones(len(keys), bool)
        is_first[1:] = (keys[1:] != keys[:-1]).any(axis=1)
        packed, stemmed = PackedTexts.of(words), PackedTexts.of(list(stems))
        return cls(
            ids=TextIndex.of(packed),
            words=packed,
            spellings=PackedTexts.of(spellings),
            stems=Stems(TextIndex.of(stemmed), _first(map(len, stems.values())), _ids(chain(*stems.values()))),
            ordered=_ids(word_id for _, word_id in sorted(typed)),
            backwards=_ids(word_id for _, word_id in sorted((word[::-1], word_id) for word, word_id in typed)),
            sized=PackedTexts.of([word for word, _ in sized]),
            sized_ids=_ids(word_id for _, word_id in sized),
            groups=keys[is_first],
            group_start=np.append(np.flatnonzero(is_first), len(keys)).astype(np.int32),
            models=PackedTexts.of([word for word, _ in typed if _is_model(word)]),
        )

    def adding(self, words: Sequence[str], spellings: Sequence[str]) -> Lexicon:
        """Return a lexicon with further words: the cost is by their number and that of those added before."""
        if not words:
            return self
        ids = range(len(self.words), len(self.words) + len(words))
        stems = dict(self.stems.added)
        typed = [(word, word_id) for word, word_id in zip(words, ids, strict=True) if _is_typed(word)]
        for word, word_id in typed:
            stems[stem(word)] = (*stems.get(stem(word), ()), word_id)
        more = Added((*self.added.words, *(word for word, _ in typed)), (*self.added.ids, *(i for _, i in typed)))
        return replace(
            self,
            ids=self.ids.adding(dict(zip(words, ids, strict=True))),
            words=self.words.put(ids, words, ids.stop),
            spellings=self.spellings.put(ids, spellings, ids.stop),
            stems=replace(self.stems, added=stems),
            added=more,
        )

    def starting_with(self, prefix: str) -> IntArray:
        """Return the ids of the words that start with `prefix`, alphabetically."""
        first, last = (bisect_left(self.ordered, end, key=self._word) for end in (prefix, prefix + LAST))
        own = self.ordered[first:last]
        more = [i for word, i in zip(self.added.words, self.added.ids, strict=True) if word.startswith(prefix)]
        return _ids(sorted([*own.tolist(), *more], key=self._word)) if more else own

    def ending_in(self, end: str) -> list[str]:
        """Return the words that end so, as many as there are."""
        start = end[::-1]
        first, last = (bisect_left(self.backwards, one, key=self._reversed) for one in (start, start + LAST))
        words = [self.words[word_id] for word_id in self.backwards[first:last].tolist()]
        more = [word for word in self.added.words if word.endswith(end)]
        return sorted([*words, *more], key=lambda word: word[::-1]) if more else words

    def models_with(self, part: str) -> Iterator[str]:
        """Give the words of digits and letters that hold a part."""
        blob, wanted = self.models.blob.tobytes(), part.encode("utf-8", "surrogatepass")
        at = blob.find(wanted)
        while at >= 0:
            row = int(np.searchsorted(self.models.start, at, side="right")) - 1
            end = int(self.models.start[row + 1])
            if at + len(wanted) <= end:
                yield self.models[row]
                at = blob.find(wanted, end)
            else:
                at = blob.find(wanted, at + 1)
        yield from (word for word in self.added.words if part in word and _is_model(word))

    def arrays(self) -> PackedArrays:
        """Return what `from_arrays` takes. Words that were added are arranged with the others first."""
        if self.added.words or self.words.changed:
            return Lexicon.of(tuple(self.words), tuple(self.spellings)).arrays()
        parts: dict[str, TextIndex | PackedTexts] = {"words": self.ids, "stems": self.stems.index}
        parts |= {"spellings": self.spellings, "sized": self.sized, "models": self.models}
        return {
            **{f"{part}-{name}": array for part, one in parts.items() for name, array in one.arrays().items()},
            "stem_first": self.stems.first,
            "stem_ids": self.stems.ids,
            **{name: getattr(self, name) for name in PLAIN_ARRAYS},
        }

    @classmethod
    def from_arrays(cls, arrays: PackedArrays) -> Lexicon:
        """Read what `arrays` gave. Raises KeyError or ValueError where it cannot be that."""
        ids = TextIndex.from_arrays(within(arrays, "words"))
        return cls(
            ids=ids,
            words=ids.texts,
            stems=Stems(TextIndex.from_arrays(within(arrays, "stems")), arrays["stem_first"], arrays["stem_ids"]),
            spellings=PackedTexts.from_arrays(within(arrays, "spellings")),
            sized=PackedTexts.from_arrays(within(arrays, "sized")),
            models=PackedTexts.from_arrays(within(arrays, "models")),
            ordered=arrays["ordered"],
            backwards=arrays["backwards"],
            sized_ids=arrays["sized_ids"],
            groups=arrays["groups"],
            group_start=arrays["group_start"],
        )

    def _word(self, word_id: int) -> str:
        return self.words[word_id]

    def _reversed(self, word_id: int) -> str:
        return self.words[word_id][::-1]

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
            longer = self._alike(word[0], range(len(word) + 1, MAX_LENGTH_CORRECTED))
            for cut in (len(word), len(word) + 1):  # the same number of letters typed, or one left out
                close = close or self._within(word, longer, 1, frequency, cut=cut)
        if not close and len(word) >= SHORTEST_OTHER_START:
            lengths = range(max(lengths.start, SHORTEST_OTHER_START), lengths.stop)
            close = self._within(word, self._other_starts(word[0], lengths), most, frequency)
        close.sort(key=lambda pair: (pair[1], -int(frequency[pair[0]]), pair[0]))
        return close[:N_CORRECTIONS]

    def _alike(self, letter: str, lengths: range) -> Candidates:
        chosen = self._of_lengths(lengths) & (self.groups[:, 1] == ord(letter))
        return self._of_groups(chosen, lambda word: word[0] == letter and len(word) in lengths)

    def _other_starts(self, letter: str, lengths: range) -> Candidates:
        chosen = self._of_lengths(lengths) & (self.groups[:, 1] != ord(letter))
        return self._of_groups(chosen, lambda word: word[0] != letter and len(word) in lengths)

    def _of_lengths(self, lengths: range) -> npt.NDArray[np.bool_]:
        return np.asarray((self.groups[:, 0] >= lengths.start) & (self.groups[:, 0] < lengths.stop))

    def _of_groups(self, chosen: npt.NDArray[np.bool_], is_meant: Callable[[str], bool]) -> Candidates:
        """Return the words of the chosen groups, read in as few runs as possible, and their ids; those added too."""
        words: list[str] = []
        ids: list[int] = []
        edges = np.flatnonzero(np.diff(np.r_[False, chosen, False].astype(np.int8)))
        for first, last in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
            span = slice(int(self.group_start[first]), int(self.group_start[last]))
            words += self.sized[span]
            ids += self.sized_ids[span].tolist()
        for word, word_id in zip(self.added.words, self.added.ids, strict=True):
            if is_meant(word):
                words.append(word)
                ids.append(word_id)
        return words, ids

    def _within(
        self, word: str, candidates: Candidates, most: int, frequency: IntArray, cut: int | None = None
    ) -> list[tuple[int, int]]:
        words, ids = candidates
        starts = words if cut is None else [other[:cut] for other in words]
        close: list[Any] = process.extract(word, starts, scorer=OSA.distance, score_cutoff=most, limit=None)
        pairs = [(ids[position], int(errors)) for _, errors, position in close]
        return [pair for pair in pairs if frequency[pair[0]] > 0]


def _is_typed(word: str) -> bool:
    return word[0] not in (QUANTITY_SIGN, CODE_SIGN)


def _is_model(word: str) -> bool:
    return not word.isalpha() and not word.isdigit() and _has_both(word)


def _ids(word_ids: Iterable[int]) -> IntArray:
    return np.array(list(word_ids), np.int32)


def _first(lengths: Iterable[int]) -> IntArray:
    return np.cumsum([0, *lengths]).astype(np.int32)


def _has_both(word: str) -> bool:
    """Whether a word has digits and letters."""
    return any(map(str.isdigit, word)) and any(map(str.isalpha, word))
