"""Titles of a catalogue in, the part that each word plays in its title out: brand, category, attribute, product."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from recommender.text.intent.quantities import UNITS
from recommender.text.words import LINKING_WORDS, stem, words
from recommender.types import Role

ROLES = (Role.BRAND, Role.CATEGORY, Role.ATTRIBUTE, Role.PRODUCT, Role.OTHER)
"""The roles that a word of a title may have, in the order of every array of them."""

BRAND, CATEGORY, ATTRIBUTE, PRODUCT, OTHER = range(len(ROLES))
CODES = {role: code for code, role in enumerate(ROLES)}

_COLOURS = """
amber aqua beige black blue bronze brown burgundy charcoal chocolate chrome clear copper coral cream crimson gold
gray green grey indigo ivory khaki lavender lilac magenta maroon mauve mint multicolour mustard navy nickel olive
orange peach pink plum purple red rose sapphire silver tan teal turquoise violet white yellow rot blau grün schwarz
weiss weiß gelb rouge bleu vert noir blanc jaune rojo azul verde negro blanco
赤 青 白 黒 緑 黄 红 蓝 绿 黑 黄色 红色 蓝色 白色 黑色 绿色 赤い 青い 白い 黒い 빨간 파란 하얀 검은
"""
COLOURS = frozenset(_COLOURS.split())
_SIZES = """
big giant jumbo large long medium mini narrow oversized petite short small tall tiny wide xl xxl
"""
SIZES = frozenset(_SIZES.split())
_MATERIALS = """
acrylic aluminium aluminum bamboo brass brushed cast ceramic cotton crystal enamel fabric fiberglass glass granite
iron leather linen marble metal nylon oak paper pine plastic plated polyester porcelain pvc resin rubber silicone
silk slate stainless steel stone teak tin velvet vinyl walnut wicker wood wooden wool zinc
"""
MATERIALS = frozenset(_MATERIALS.split())
"""Words that tell an attribute in any shop; what else tells one is learned from the catalogue."""

_CORE_ENDS = re.compile(r"[,(|;:\[]|\s[-–—]\s")
_CUTS = frozenset(("in", "with", "for", "by", "from", "w", "and", "without", "featuring", "mit", "für", "avec", "pour"))

FEWEST_LEADING = 5
LEADING_SHARE = 0.6
"""A word that starts so many titles, and so large a share of those it is in, is taken for a brand ..."""

BRANDED_SHARE = 0.5
"""... if so many titles start with such a word: else the shop does not write its brands first."""


@dataclass(frozen=True, slots=True)
class Token:
    """One word: as written, and the stem by which it is looked up."""

    shown: str
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
            keys = tuple(token.key for token in tokens(name))
            if keys:
                codes.setdefault(keys, code)
        runs = {word.shown for name in names for word in words(name) if word.is_unspaced}
        longest = max(map(len, codes), default=1)
        return cls(codes, longest, tuple(sorted(runs, key=lambda run: (-len(run), run))))

    def spans(self, keys: Sequence[str]) -> list[tuple[int, int, int]]:
        """Return (start, end, code) of the names in a text, the longest at each place first."""
        found, start = [], 0
        while start < len(keys):
            for end in range(min(len(keys), start + self.longest), start, -1):
                code = self.codes.get(tuple(keys[start:end]), -1)
                if code >= 0:
                    found.append((start, end, code))
                    start = end - 1
                    break
            start += 1
        return found


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
        before = ""
        for place, (key, role) in enumerate(zip(keys, roles, strict=True)):
            self.word.setdefault(key, [0] * 5)[role] += 1
            if place:
                self.second.setdefault((before, key), [0] * 5)[role] += 1
                self.first.setdefault((before, key), [0] * 5)[roles[place - 1]] += 1
            before = key
        if keys:
            self.leading[keys[0]] += 1


def tokens(text: str, runs: Sequence[str] = ()) -> list[Token]:
    """Split a text; a run of Chinese, Japanese or Korean is cut where one of the names `runs` begins and ends."""
    found: list[Token] = []
    for word in words(text):
        if word.is_unspaced:
            found += [Token(part, part) for part in _cut(word.shown, runs)]
        else:
            found.append(_token(word.shown, word.whole))
    return found


def roles_of(
    title: str,
    title_tokens: Sequence[Token],
    brand_spans: Iterable[tuple[int, int, int]],
    category_keys: frozenset[str],
    attribute_keys: frozenset[str],
) -> list[int]:
    """Return the code in `ROLES` of each token of a title, by its place and by what the catalogue says of the item."""
    keys = [token.key for token in title_tokens]
    roles = [OTHER] * len(keys)
    end = _core_length(title, keys)
    n_nouns = 0
    thing = end - 1 if end > 1 and keys[end - 1] in MATERIALS else -1  # "cake tin", "wine glass"
    for place in range(end - 1, -1, -1):
        if n_nouns < 2 and (place == thing or not is_attribute(keys, place)) and keys[place] not in LINKING_WORDS:
            roles[place] = PRODUCT
            n_nouns += 1
        elif n_nouns:
            break
    for place, key in enumerate(keys):
        if (is_attribute(keys, place) and place != thing) or key in attribute_keys:
            roles[place] = ATTRIBUTE
        elif key in category_keys:
            roles[place] = CATEGORY
    for start, finish, _ in brand_spans:
        roles[start:finish] = [BRAND] * (finish - start)
    _name_finishes(keys, roles, end)
    return roles


def is_attribute(keys: Sequence[str], place: int) -> bool:
    """Whether a word is a number, its unit, or a colour, size or material of any shop."""
    key = keys[place]
    if any(map(str.isdigit, key)) or key in COLOURS or key in SIZES or key in MATERIALS:
        return True
    after_number = place > 0 and keys[place - 1][-1:].isdigit()
    before_number = place + 1 < len(keys) and keys[place + 1][:1].isdigit()
    return (after_number and key in UNITS) or (key == "x" and after_number and before_number)


def leading_brands(titles: Sequence[Sequence[Token]]) -> list[str]:
    """Return the names with which titles of a shop without brands begin; none where most begin with other words."""
    first = Counter(title[0].key for title in titles if title)
    total = Counter(key for title in titles for key in {token.key for token in title})
    pairs: dict[str, Counter[str]] = defaultdict(Counter)
    for title in titles:
        if len(title) > 1:
            pairs[title[0].key][title[1].key] += 1
    found = {
        key
        for key, count in first.items()
        if count >= FEWEST_LEADING
        and count >= LEADING_SHARE * total[key]
        and not is_attribute([key], 0)
        and sum(pairs[key][link] for link in LINKING_WORDS) < 0.2 * count
    }
    if sum(first[key] for key in found) < BRANDED_SHARE * len(titles):
        return []
    names = []
    for key in sorted(found):
        second, count = pairs[key].most_common(1)[0] if pairs[key] else ("", 0)
        joined = count >= LEADING_SHARE * first[key] and not is_attribute([second], 0)
        names.append(f"{key} {second}" if joined else key)
    return names


def varied_words(titles: Iterable[Sequence[str]]) -> Counter[str]:
    """Count for each word the titles that are another title but for this word: such a word tells a variant."""
    slots: dict[tuple[str, ...], set[str]] = defaultdict(set)
    distinct = set(map(tuple, titles))
    for keys in distinct:
        if 2 < len(keys) <= 12:
            for place in range(len(keys)):
                slots[(*keys[:place], "", *keys[place + 1 :])].add(keys[place])
    varied: Counter[str] = Counter()
    for found in slots.values():
        if len(found) > 1:
            varied.update(found)
    return varied


@lru_cache(maxsize=65_536)
def _token(shown: str, whole: str) -> Token:
    return Token(shown, stem(whole or shown))


def _cut(run: str, names: Sequence[str]) -> list[str]:
    """Cut a run at the longest name in it, then what is before and after; the whole run where no name is."""
    for name in names:
        before, found, after = run.partition(name)
        if found:
            return [*(_cut(before, names) if before else []), name, *(_cut(after, names) if after else [])]
    return [run]


def _core_length(title: str, keys: Sequence[str]) -> int:
    """Return how many words the part has that names the thing: to the first comma, bracket or "with"."""
    end = _CORE_ENDS.search(title)
    n_words = len(tokens(title[: end.start()])) if end else len(keys)
    n_words = min(n_words or len(keys), len(keys))
    for place in range(1, n_words):
        if keys[place] in _CUTS and not (keys[place] in UNITS and keys[place - 1][-1:].isdigit()):
            return place
    return n_words


def _name_finishes(keys: Sequence[str], roles: list[int], end: int) -> None:
    """Mark the two words after "in" behind the thing, as in "faucet in brushed nickel", as attributes."""
    if end < len(keys) and keys[end] == "in":
        for place in range(end + 1, min(end + 3, len(keys))):
            if keys[place] in _CUTS:
                break
            if roles[place] == OTHER:
                roles[place] = ATTRIBUTE
