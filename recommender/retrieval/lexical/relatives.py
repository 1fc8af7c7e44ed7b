"""Finds what else in the catalogue counts as a word: other forms of it, compounds that end in it, longer model numbers.

"keule" finds Jonglierkeulen, and "xm5" WH-1000XM5.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from recommender.retrieval.lexical.lexicon import Lexicon
from recommender.text.inflections import COMPOUNDING, Count, forms

INFLECTED = 0.9
COMPOUND = 0.8
MODEL_PART = 0.9
"""Weights beside an exact match."""

SHORTEST_HEAD, SHORTEST_START = 4, 3
"""Letters of the last part of a compound, and of what stands before it."""

SHORTEST_UNKNOWN_HEAD = 5
"""The same where neither the catalogue's language nor another word speaks for a compound: "table" is no vegetable."""

SHORTEST_PART = 3
MAX_RELATIVES = 50


@dataclass(frozen=True, slots=True)
class Relatives:
    """Looks up relatives of words in one catalogue; languages: those of `text.inflections` that it is in."""

    lexicon: Lexicon
    count: Count
    languages: frozenset[str] = field(default_factory=frozenset)

    def inflected(self, word: str) -> list[str]:
        """Return the other forms of a word that the catalogue has, in its languages."""
        if not self.languages or not word.isalpha():
            return []
        return [form for form in dict.fromkeys(forms(word, self.languages)) if form != word and self.count(form)]

    def compounds(self, word: str, *, is_known: bool) -> list[str]:
        """Return the compounds that end in a word or a form of it; of a known word only in a language that has them."""
        is_compounding = bool(self.languages & COMPOUNDING)
        if len(word) < SHORTEST_HEAD or not word.isalpha() or (is_known and not is_compounding):
            return []
        least = SHORTEST_HEAD if is_compounding else SHORTEST_UNKNOWN_HEAD
        heads = dict.fromkeys((word, *forms(word, self.languages)))
        every = (compound for head in heads if len(head) >= least for compound in self._ending_in(head))
        return sorted(dict.fromkeys(every), key=lambda compound: -self.count(compound))[:MAX_RELATIVES]

    def models(self, word: str) -> list[str]:
        """Return model numbers that a part of one, with a digit, is cut out of at its borders."""
        if len(word) < SHORTEST_PART or not any(map(str.isdigit, word)):
            return []
        return [model for model in self._holding(word) if self.count(model)][:MAX_RELATIVES]

    def _ending_in(self, head: str) -> Iterator[str]:
        for compound in self.lexicon.ending_in(head):
            if len(compound) >= len(head) + SHORTEST_START and compound.isalpha() and self.count(compound):
                yield compound

    def _holding(self, part: str) -> Iterator[str]:
        for model in self.lexicon.models_with(part):
            start = model.find(part)
            if model != part:
                end = start + len(part)
                starts = start == 0 or model[start - 1].isdigit() != part[0].isdigit()
                ends = end == len(model) or model[end].isdigit() != part[-1].isdigit()
                if starts and ends:
                    yield model
