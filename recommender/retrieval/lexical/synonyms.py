"""Applies synonyms to a query: which words of the catalogue also count as the words that were typed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from recommender.retrieval.lexical.lexicon import Lexicon
from recommender.text.stems import stem
from recommender.text.words import Word, pairs, words
from recommender.types import IntArray

SYNONYM = 0.8
"""Weight of a synonym beside an exact match: behind the word itself, before a guess at its spelling."""


@dataclass(frozen=True, slots=True)
class Synonyms:
    """meanings: the stems of a run of words to the texts that count as it; longest: words of the longest such run."""

    meanings: Mapping[tuple[str, ...], tuple[str, ...]] = field(default_factory=dict)
    longest: int = 0

    @classmethod
    def of(cls, synonyms: Iterable[tuple[str, str]]) -> Synonyms:
        """Take pairs of (what is typed, what counts as it)."""
        meanings: dict[tuple[str, ...], dict[str, None]] = {}
        for typed, meaning in synonyms:
            if key := tuple(map(_stem, words(typed))):
                meanings.setdefault(key, {})[meaning] = None
        return cls({key: tuple(texts) for key, texts in meanings.items()}, max(map(len, meanings), default=0))

    def apply(self, typed: Sequence[Word], lexicon: Lexicon, frequency: IntArray) -> list[list[tuple[int, ...]]]:
        """Return for each typed word the groups of word ids that stand for a run of words that it is part of."""
        groups: list[list[tuple[int, ...]]] = [[] for _ in typed]
        stems = list(map(_stem, typed)) if self.meanings else []
        for start in range(len(stems)):
            for end in range(start + 1, min(len(stems), start + self.longest) + 1):
                for meaning in self.meanings.get(tuple(stems[start:end]), ()):
                    for position in range(start, end):
                        groups[position] += _word_ids(meaning, lexicon, frequency)
        return groups


def _word_ids(meaning: str, lexicon: Lexicon, frequency: IntArray) -> list[tuple[int, ...]]:
    """Return the words of a synonym as the catalogue has them: one word in any number, several together."""
    parts = [part for word in words(meaning) for part in _parts(word, lexicon)]
    if len(parts) == 1:
        return [(word_id,) for word_id in lexicon.stems.get(stem(parts[0]), ()) if frequency[word_id] > 0]
    word_ids = tuple(lexicon.ids.get(part, -1) for part in parts)
    return [word_ids] if parts and all(word_id >= 0 and frequency[word_id] > 0 for word_id in word_ids) else []


def _parts(word: Word, lexicon: Lexicon) -> tuple[str, ...]:
    return pairs(word) if word.is_unspaced and word.whole not in lexicon.ids else (word.whole,)


def _stem(word: Word) -> str:
    return stem(word.folded)
