"""Tells the role of each word in a title: brand, category, attribute, product or other."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import accumulate, pairwise

from recommender.text.letters import fold
from recommender.text.stems import stem
from recommender.text.words import LINKING_WORDS, UNITS, Word, words
from recommender.types import Role

ROLES = (Role.BRAND, Role.CATEGORY, Role.ATTRIBUTE, Role.PRODUCT, Role.OTHER)
"""The roles that a word of a title may have, in the order of every array of them."""

N_ROLES = len(ROLES)
BRAND, CATEGORY, ATTRIBUTE, PRODUCT, OTHER = range(N_ROLES)


def _stems(text: str) -> frozenset[str]:
    return frozenset(stem(fold(word)) for word in text.split())


COLOURS = _stems(
    """amber aqua beige black blue bronze brown burgundy charcoal chocolate chrome clear copper coral cream crimson gold
    gray green grey indigo ivory khaki lavender lilac magenta maroon mauve mint multicolour mustard navy nickel olive
    orange peach pink plum purple red rose sapphire silver tan teal turquoise violet white yellow rot blau grün schwarz
    weiss weiß gelb rouge bleu vert noir blanc jaune rojo azul verde negro blanco
    赤 青 白 黒 緑 黄 红 蓝 绿 黑 黄色 红色 蓝色 白色 黑色 绿色 赤い 青い 白い 黒い 빨간 파란 하얀 검은"""
)
SIZES = _stems("big giant jumbo large long medium mini narrow oversized petite short small tall tiny wide xl xxl")
MATERIALS = _stems(
    """acrylic aluminium aluminum bamboo brass brushed cast ceramic cotton crystal enamel fabric fiberglass glass
    granite iron leather linen marble metal nylon oak paper pine plastic plated polyester porcelain pvc resin rubber
    silicone silk slate stainless steel stone teak tin velvet vinyl walnut wicker wood wooden wool zinc"""
)
"""Words that tell an attribute in any shop; the rest is learned from the catalogue."""

UNIT_STEMS = _stems(" ".join(UNITS))

_CORE_ENDS = re.compile(r"[,(|;:\[]|\s[-–—]\s")
_CORE_END_WORDS = _stems("in with for by from w and without featuring mit für avec pour")
"""A title names the thing before one of these: "drill bit set with case"."""

FEWEST_LEADING = 5
LEADING_SHARE = 0.6
"""A word that starts so many titles, and so large a share of those it is in, is taken for a brand ..."""

BRANDED_SHARE = 0.5
"""... if so many titles start with such a word: else the shop does not write its brands first."""


@dataclass(frozen=True, slots=True)
class Token:
    """One word: as written, and the stem by which it is looked up."""

    written: str
    key: str

    @property
    def has_digit(self) -> bool:
        """Whether it is a number, or a number with letters."""
        return any(map(str.isdigit, self.key))


@dataclass(frozen=True, slots=True)
class Names:
    """Names of brands and categories by their tuple of stems, with the code of each; `longest` counts words.

    runs: names in Chinese, Japanese or Korean, longest first, by which a run of such characters is cut.
    """

    codes: Mapping[tuple[str, ...], int]
    longest: int = 1
    runs: tuple[str, ...] = ()

    @classmethod
    def of(cls, names: Sequence[str]) -> Names:
        """Read the names; the first of two with the same stems counts."""
        codes: dict[tuple[str, ...], int] = {}
        for code, name in enumerate(names):
            keys = tuple(token.key for token in split(name))
            if keys:
                codes.setdefault(keys, code)
        runs = {word.run for name in names for word in words(name) if word.is_unspaced}
        longest = max(map(len, codes), default=1)
        return cls(codes, longest, tuple(sorted(runs, key=lambda run: (-len(run), run))))

    def spans(self, keys: Sequence[str]) -> list[tuple[int, int, int]]:
        """Return (start, end, code) of the names in a text; where several start, the longest."""
        spans, start = [], 0
        while start < len(keys):
            for end in range(min(len(keys), start + self.longest), start, -1):
                code = self.codes.get(tuple(keys[start:end]), -1)
                if code >= 0:
                    spans.append((start, end, code))
                    start = end - 1
                    break
            start += 1
        return spans


@dataclass(slots=True)
class Counts:
    """How often a word (by stem), or one beside another, had each role: lists of five."""

    word: dict[str, list[int]] = field(default_factory=dict)
    second: dict[tuple[str, str], list[int]] = field(default_factory=dict)
    first: dict[tuple[str, str], list[int]] = field(default_factory=dict)
    leading: Counter[str] = field(default_factory=Counter)
    varied: Counter[str] = field(default_factory=Counter)

    def add(self, keys: Sequence[str], roles: Sequence[int]) -> None:
        """Count one title."""
        for key, role in zip(keys, roles, strict=True):
            self.word.setdefault(key, [0] * N_ROLES)[role] += 1
        for pair, (first_role, second_role) in zip(pairwise(keys), pairwise(roles), strict=True):
            self.first.setdefault(pair, [0] * N_ROLES)[first_role] += 1
            self.second.setdefault(pair, [0] * N_ROLES)[second_role] += 1
        if keys:
            self.leading[keys[0]] += 1


def split(text: str, runs: Sequence[str] = ()) -> list[Token]:
    """Split a text; a run of Chinese, Japanese or Korean is cut where one of the names `runs` begins and ends."""
    tokens: list[Token] = []
    for word in words(text):
        if word.is_unspaced:
            tokens += _tokens_of_run(word, runs)
        else:
            tokens.append(_token(word.written, word.whole))
    return tokens


def roles_of(
    title: str,
    tokens: Sequence[Token],
    brand_spans: Iterable[tuple[int, int, int]],
    category_keys: frozenset[str] = frozenset(),
) -> list[int]:
    """Return the code in `ROLES` of each word of a title, by its position and by the brand and category of the item."""
    keys = [token.key for token in tokens]
    roles = [OTHER] * len(keys)
    end = _core_length(title, keys)
    n_nouns = 0
    material = end - 1 if end > 1 and keys[end - 1] in MATERIALS else -1  # "cake tin", "wine glass": the thing itself
    for position in range(end - 1, -1, -1):
        is_noun = (position == material or not is_attribute(keys, position)) and keys[position] not in LINKING_WORDS
        if n_nouns < 2 and is_noun:
            roles[position] = PRODUCT
            n_nouns += 1
        elif n_nouns:
            break
    for position, key in enumerate(keys):
        if is_attribute(keys, position) and position != material:
            roles[position] = ATTRIBUTE
        elif key in category_keys:
            roles[position] = CATEGORY
    for start, finish, _ in brand_spans:
        roles[start:finish] = [BRAND] * (finish - start)
    _mark_finishes(keys, roles, end)
    return roles


def is_attribute(keys: Sequence[str], position: int) -> bool:
    """Whether a word is a number, its unit, or a colour, size or material of any shop."""
    key = keys[position]
    if any(map(str.isdigit, key)) or key in COLOURS or key in SIZES or key in MATERIALS:
        return True
    after_number = position > 0 and keys[position - 1][-1:].isdigit()
    before_number = position + 1 < len(keys) and keys[position + 1][:1].isdigit()
    return after_number and (key in UNIT_STEMS or (key == "x" and before_number))


def leading_brands(titles: Sequence[Sequence[Token]]) -> list[str]:
    """Return the names with which titles of a shop without brands begin; none where most begin with other words."""
    written = {token.key: token.written for title in titles for token in title[:2]}
    first = Counter(title[0].key for title in titles if title)
    total = Counter(key for title in titles for key in {token.key for token in title})
    following: dict[str, Counter[str]] = defaultdict(Counter)
    for title in titles:
        if len(title) > 1:
            following[title[0].key][title[1].key] += 1
    leading = {
        key
        for key, count in first.items()
        if count >= FEWEST_LEADING
        and count >= LEADING_SHARE * total[key]
        and not is_attribute([key], 0)
        and sum(following[key][link] for link in LINKING_WORDS) < 0.2 * count
    }
    if sum(first[key] for key in leading) < BRANDED_SHARE * len(titles):
        return []
    names = []
    for key in sorted(leading):
        second, count = following[key].most_common(1)[0] if following[key] else ("", 0)
        is_pair = count >= LEADING_SHARE * first[key] and not is_attribute([second], 0)
        names.append(f"{written[key]} {written[second]}" if is_pair else written[key])
    return names


def varied_words(titles: Iterable[Sequence[str]]) -> Counter[str]:
    """Count for each word the titles that equal another title but for this word: such a word tells a variant."""
    slots: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for keys in set(map(tuple, titles)):
        if 2 < len(keys) <= 12:
            for position, key in enumerate(keys):
                slots[(*keys[:position], "", *keys[position + 1 :])].add(key)
    return Counter(key for variants in slots.values() if len(variants) > 1 for key in variants)


@lru_cache(maxsize=65_536)
def _token(written: str, whole: str) -> Token:
    return Token(written, stem(whole or written))


def _tokens_of_run(word: Word, names: Sequence[str]) -> list[Token]:
    """Cut a run of characters; each part is looked up folded."""
    parts = _cut(word.run, names)
    if len(word.written) != len(word.run):
        return [Token(part, part) for part in parts]
    starts = accumulate(map(len, parts), initial=0)
    return [Token(word.written[start : start + len(part)], part) for start, part in zip(starts, parts, strict=False)]


def _cut(run: str, names: Sequence[str]) -> list[str]:
    """Cut a run at the longest name in it, then what is before and after; the whole run where no name is."""
    for name in names:
        before, match, after = run.partition(name)
        if match:
            return [*(_cut(before, names) if before else []), name, *(_cut(after, names) if after else [])]
    return [run]


def _core_length(title: str, keys: Sequence[str]) -> int:
    """Return how many words the part has that names the thing: to the first comma, bracket or "with"."""
    end = _CORE_ENDS.search(title)
    n_words = len(split(title[: end.start()])) if end else len(keys)
    n_words = min(n_words or len(keys), len(keys))
    for position in range(1, n_words):
        is_unit = keys[position] in UNIT_STEMS and keys[position - 1][-1:].isdigit()
        if keys[position] in _CORE_END_WORDS and not is_unit:
            return position
    return n_words


def _mark_finishes(keys: Sequence[str], roles: list[int], end: int) -> None:
    """Mark the two words after "in" behind the thing, as in "faucet in brushed nickel", as attributes."""
    if end < len(keys) and keys[end] == "in":
        for position in range(end + 1, min(end + 3, len(keys))):
            if keys[position] in _CORE_END_WORDS:
                break
            if roles[position] == OTHER:
                roles[position] = ATTRIBUTE
