"""Reads the texts of items into the words that the index stores, with their numbers and codes in one spelling."""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain

import numpy as np
from scipy.sparse import csr_array

from recommender.packed import Numbering
from recommender.retrieval.base import Mask
from recommender.retrieval.lexical.lexicon import CODE_SIGN, QUANTITY_SIGN
from recommender.text.codes import code_of, codes_in
from recommender.text.intent.quantities import quantities
from recommender.text.words import Word, words
from recommender.types import FloatArray, IntArray

TITLE_WEIGHT = 2.0
"""A word of the title counts as two of the text: BM25F, Robertson, Zaragoza and Taylor 2004, "Simple BM25 extension to
multiple weighted fields"."""


_DIGIT = re.compile(r"\d")


@dataclass(frozen=True, slots=True)
class Texts:
    """What is read of each row: its text, its title and the code that the shop has for it."""

    rows: Sequence[int]
    texts: Sequence[str]
    titles: Sequence[str]
    codes: Sequence[str] | None = None

    def __iter__(self) -> Iterator[tuple[int, str, str, str]]:
        return zip(self.rows, self.texts, self.titles, self.codes or [""] * len(self.rows), strict=True)


@dataclass(slots=True)
class Occurrences:
    """Occurrences (m,) of words in rows, and the whole words of each title in order, each title ended by -1.

    is_extra (m,) bool: a number or a code in the form that all its spellings share; it makes no text longer.
    """

    word: IntArray
    row: IntArray
    weight: FloatArray
    is_extra: Mask
    titles: IntArray

    def postings(self, n_words: int, n_rows: int) -> csr_array:
        """Add them up: (n_words, n_rows)."""
        return csr_array((self.weight, (self.word, self.row)), shape=(n_words, n_rows), dtype=np.float32)

    def lengths(self, n_rows: int) -> FloatArray:
        """Return (n_rows,): the weight of the words of each row."""
        weight = np.where(self.is_extra, 0, self.weight)
        return np.bincount(self.row, weight, minlength=n_rows).astype(np.float32)


@dataclass(slots=True)
class WordIds(Numbering):
    """Numbers words, and keeps how each new one is written."""

    spellings: list[str] = field(default_factory=list)

    def spelt(self, word: str, spelling: str) -> int:
        """Return the id of a word; a new one is written as its first occurrence."""
        word_id = self.add(word)
        if len(self.spellings) < len(self.new):
            self.spellings.append(spelling)
        return word_id


def read(source: Texts, ids: WordIds) -> Occurrences:
    """Read texts into word ids; new words are added to `ids`."""
    word_ids, word_rows, weights, title_ids = array("i"), array("i"), array("f"), array("i")
    are_extra = array("b")
    for row, text, title, code in source:
        n_before = len(word_ids)
        for part_of_text, weight in ((title, TITLE_WEIGHT), (text.removeprefix(title), 1.0)):
            every = list(words(part_of_text))
            indexed = _indexed(part_of_text, every, code if text else "")
            for part, spelling, is_extra in _once(indexed) if weight == TITLE_WEIGHT else indexed:
                word_ids.append(ids.spelt(part, spelling))
                weights.append(weight)
                are_extra.append(is_extra)
            if weight == TITLE_WEIGHT:
                title_ids.extend(ids.of(word.whole) if word.whole else -1 for word in every)
        title_ids.append(-1)
        word_rows.extend([row] * (len(word_ids) - n_before))
    return Occurrences(
        np.array(word_ids, np.int32),
        np.array(word_rows, np.int32),
        np.array(weights, np.float32),
        np.array(are_extra, bool),
        np.array(title_ids, np.int32),
    )


def _once(indexed: Iterable[tuple[str, str, bool]]) -> Iterator[tuple[str, str, bool]]:
    """Give each word of a title once: what a title says again makes it no better an answer."""
    given: set[str] = set()
    for part, spelling, is_extra in indexed:
        if part not in given:
            given.add(part)
            yield part, spelling, is_extra


def _indexed(text: str, every: Sequence[Word], code: str) -> Iterator[tuple[str, str, bool]]:
    """Give what is stored for the words of a text: (key, spelling, whether it is an extra).

    The shop's own code is also stored as a word and by its parts with a digit, unless it is only a number.
    """
    for word in every:
        for part in word.indexed():
            yield part, word.spelling(part), False
    own = code_of(code)
    for one in dict.fromkeys((*codes_in(text), *([own] if own else ()))):
        yield f"{CODE_SIGN}{one}", one, True
    if own and not own.isdigit():
        yield own, code, True
        yield from ((part, part, True) for word in words(code) for part in word.parts if _DIGIT.search(part))
    for number in dict.fromkeys(chain.from_iterable(chain.from_iterable(q.readings for q in quantities(every)))):
        yield f"{QUANTITY_SIGN}{number}", number, True
