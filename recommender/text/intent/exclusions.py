"""Reads what a query does not want: "mug without handle" looks for mugs and leaves out what has a handle."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from recommender.text.letters import fold
from recommender.text.stems import stem
from recommender.text.words import LINKING_WORDS, tokens

NEGATIONS = frozenset(
    ("without", "no", "not", "ohne", "kein", "keine", "keinen", "sans", "sin", "senza", "sem", "zonder", "بدون")
)
"""After one of these stands what is not wanted."""

LACKING = frozenset({"free", "less", "frei"})
"""After a word they say that it is not there: "sugar-free"."""

_ARTICLES = frozenset(
    (
        "a", "an", "any", "the", "ein", "eine", "einen", "einem", "der", "die", "das", "un", "une", "des", "le", "la",
        "les", "una", "uno", "el", "los", "las",
    )
)  # fmt: skip
_CONJUNCTIONS = frozenset(("and", "or", "nor", "und", "oder", "et", "ou", "y", "o", "و"))
_BEFORE_SENTENCES = frozenset(("do", "does", "did", "is", "are", "was", "will", "can", "may", "must", "should", "me"))
"""Before "not" they belong to a name, such as "do not disturb" or "forget me not", as "no" does at the beginning."""

_ENDS = LINKING_WORDS | NEGATIONS | _CONJUNCTIONS

MOST_WORDS = 3
"""Words of one exclusion, as in "without polka dots"."""

IsPhrase = Callable[[str, str], bool]
"""Whether titles have two words side by side, given by their stems."""


@dataclass(frozen=True, slots=True)
class Sought:
    """A query in two parts: rest, what is sought; excluded, what is not wanted, as it was typed."""

    rest: str
    excluded: tuple[str, ...] = ()


def no_phrase(first: str, second: str) -> bool:
    """Know no title."""
    return False


def wanted_in(query: str, is_phrase: IsPhrase = no_phrase) -> Sought:
    """Take apart what is sought and what is not wanted; where nothing else would be left all of it is sought."""
    written = query.split()
    rest: list[str] = []
    excluded: list[str] = []
    position, follows = 0, False
    while position < len(written):
        start, end = _exclusion(written, position, is_phrase, is_leading=not rest, follows=follows)
        follows = start < end
        if follows:
            excluded.append(" ".join(map(_plain, written[start:end])))
        else:
            end = position + 1
            rest.append(written[position])
        position = end
    return Sought(" ".join(rest), tuple(dict.fromkeys(excluded))) if excluded and rest else Sought(query)


def lacks(text: str, excluded: str) -> bool:
    """Whether a text has some words only to say that they are not there: "sugar without additives", "sugar-free"."""
    typed, every = ([stem(fold(token)) for token in tokens(part)] for part in (excluded, text))
    n = len(typed)
    starts = [position for position in range(len(every)) if every[position : position + n] == typed]
    return bool(starts) and all(
        _is_negated(every[:start]) or (start + n < len(every) and every[start + n] in LACKING) for start in starts
    )


def _exclusion(
    written: Sequence[str], position: int, is_phrase: IsPhrase, *, is_leading: bool, follows: bool
) -> tuple[int, int]:
    """Return where the words that are excluded at a position begin and end; twice the position where none are.

    follows: an exclusion has ended here, so that "and" goes on with it. At the beginning one word is excluded; later as
    many as titles have side by side.
    """
    word = _plain(written[position])
    before = _plain(written[position - 1]) if position else ""
    is_name = (word == "no" and not before) or (word == "not" and before in _BEFORE_SENTENCES)
    if is_name or not (word in NEGATIONS or (follows and word in _CONJUNCTIONS)):
        return position, position
    start = position + 1
    while start < len(written) and _plain(written[start]) in _ARTICLES:
        start += 1
    if start == len(written) or _plain(written[start]) in _ENDS or not _plain(written[start])[:1].isalpha():
        return position, position
    end = start + 1
    while (
        not is_leading
        and end < min(len(written), start + MOST_WORDS)
        and _plain(written[end]) not in _ENDS
        and is_phrase(*(stem(_plain(word)) for word in written[end - 1 : end + 1]))
    ):
        end += 1
    return start, end


def _is_negated(before: Sequence[str]) -> bool:
    """Whether the last of some stems is a negation, articles aside."""
    return next((word in NEGATIONS for word in reversed(before) if word not in _ARTICLES), False)


def _plain(word: str) -> str:
    return fold(word.strip(" ,;:!?()[]\"'“”„"))
