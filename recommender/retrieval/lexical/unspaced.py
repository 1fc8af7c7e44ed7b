"""Cuts text without spaces (Chinese, Japanese, Korean, Thai, Lao) into words that the catalogue has."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import log1p

LINKING = frozenset("的之和与與のとがをにへでは은는이가을를의에와과도")
"""Characters that link words in Chinese, Japanese and Korean; they count only where a title has a pair with them."""

_IS_WORD = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003134f]")
"""Ideographs and Korean syllables: a single one can be a word, which a kana or a Thai letter cannot."""

Count = Callable[[str], int]
"""A pair or a character to the number of items that have it."""

Group = tuple[str, ...]
"""Pairs and characters that must all be in an item."""


@dataclass(frozen=True, slots=True)
class Piece:
    """What is looked up as one word: `whole` as it stands, or `broken`, where the title has its characters apart.

    "红色杯" finds 红色马克杯: the title lacks the pair 色杯, but has the pair beside it and the character that is left.
    """

    text: str
    whole: Group
    broken: tuple[Group, ...] = ()


@dataclass(frozen=True, slots=True)
class Cut:
    """The pieces of a run in order, and the pairs across their borders, which say that they stand side by side."""

    pieces: tuple[Piece, ...]
    borders: tuple[str, ...] = ()


def cut(written: Sequence[str], folded: Sequence[str], count: Count) -> Cut:
    """Cut a run into pairs that items have and single characters, so that most are in a pair, of equals a frequent one.

    The characters (n,) are counted as they are folded. Linking characters are left out unless a title has them in a
    pair, and characters that no pair holds are one word.
    """
    pieces: list[Piece] = []
    borders: list[str] = []
    for positions in _segments(written, folded, count):
        segment = [folded[position] for position in positions]
        starts = _cuts(segment, count)
        pieces += _pieces([written[position] for position in positions], segment, starts)
        borders += [segment[start - 1] + segment[start] for start in starts[1:]]
    return Cut(tuple(pieces), tuple(dict.fromkeys(filter(count, borders))))


def _segments(written: Sequence[str], folded: Sequence[str], count: Count) -> list[list[int]]:
    """Split at linking characters that stand in no pair of a title; a run of nothing else stays. Gives positions."""
    segments: list[list[int]] = [[]]
    for position, character in enumerate(written):
        around = ["".join(folded[at : at + 2]) for at in (position - 1, position) if 0 <= at < len(folded) - 1]
        if character in LINKING and around and not all(map(count, around)):
            segments.append([])
        else:
            segments[-1].append(position)
    return [segment for segment in segments if segment] or [list(range(len(written)))]


def _cuts(segment: Sequence[str], count: Count) -> list[int]:
    """Return where pieces of one or two characters start: dynamic programming from the end."""
    best: list[tuple[tuple[int, float], int]] = [((0, 0.0), 0)] * (len(segment) + 1)
    for start in range(len(segment) - 1, -1, -1):
        best[start] = (best[start + 1][0], 1)
        n_items = count("".join(segment[start : start + 2])) if start + 1 < len(segment) else 0
        if n_items:
            (n_paired, worth), _ = best[start + 2]
            best[start] = max(best[start], ((n_paired + 2, worth + log1p(n_items)), 2))
    starts, start = [], 0
    while start < len(segment):
        starts.append(start)
        start += best[start][1]
    return starts


def _pieces(written: Sequence[str], segment: Sequence[str], starts: Sequence[int]) -> Iterator[Piece]:
    ends = [*starts[1:], len(segment)]
    alone: list[str] = []
    for start, end in zip(starts, ends, strict=True):
        if end - start == 2:
            yield from _unpaired(alone, written, segment, start)
            alone = []
            pair = "".join(segment[start:end])
            yield Piece("".join(written[start:end]), (pair,), tuple(_broken(segment, start)))
        else:
            alone.append(segment[start])
    yield from _unpaired(alone, written, segment, len(segment))


def _unpaired(alone: Sequence[str], written: Sequence[str], segment: Sequence[str], end: int) -> Iterator[Piece]:
    """Give what is in no pair: one ideograph is a word, a letter belongs to the pair beside it, several are unknown."""
    if not alone:
        return
    start = end - len(alone)
    text, character = "".join(written[start:end]), "".join(alone)
    if len(alone) > 1 or len(segment) == 1 or _IS_WORD.match(character):
        yield Piece(text, (character,))
    else:
        first = start - 1 if start else start
        pair = "".join(segment[first : first + 2])
        yield Piece(text, (pair,), tuple(_broken(segment, first)))


def _broken(segment: Sequence[str], start: int) -> Iterator[Group]:
    """Give what stands for the pair at `start` in a title that lacks it: the pairs beside it, or one and a word."""
    before = "".join(segment[start - 1 : start + 1]) if start else ""
    after = "".join(segment[start + 1 : start + 3]) if start + 2 < len(segment) else ""
    if before and after:
        yield before, after
    if before and _IS_WORD.match(segment[start + 1]):
        yield before, segment[start + 1]
    if after and _IS_WORD.match(segment[start]):
        yield segment[start], after
