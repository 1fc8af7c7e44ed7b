"""Forms of a word in German, Dutch, Spanish and the Scandinavian languages, and which of them a catalogue is in.

English has a stem for all forms (`text.stems`). These languages have endings that would make one word of two in
another: a plural of "kap" is "cape" to an English shop. So forms count only where the catalogue's own words speak for
the language, and only those that it has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

Count = Callable[[str], int]
"""A folded word to the number of items that have it."""

MARKERS: Mapping[str, tuple[str, ...]] = {
    "de": (
        "und", "mit", "aus", "zum", "zur", "ohne", "fur", "rot", "blau", "gelb", "grun", "schwarz", "weiss", "gross",
        "klein", "holz", "stuck",
    ),
    "nl": (
        "voor", "met", "het", "een", "zonder", "blauw", "groen", "zwart", "rood", "geel", "hout", "groot", "klein",
        "stuks", "uit",
    ),
    "es": ("con", "para", "del", "los", "las", "una", "negro", "blanco", "rojo", "azul", "verde", "madera", "sin"),
    "no": (
        "med", "och", "og", "til", "uten", "uden", "utan", "hvid", "hvit", "svart", "gron", "rod", "bla", "tra", "av",
        "fra", "till",
    ),
}  # fmt: skip
"""Words that titles of a language have and those of others hardly; "no" stands for Danish, Norwegian and Swedish."""

LEAST_SHARE = 0.03
"""Share of the items with a marker from which a catalogue is in a language too."""

COMPOUNDING = frozenset({"de", "nl", "no"})

_ENDINGS: Mapping[str, tuple[str, ...]] = {
    "de": ("e", "en", "n", "er", "ern", "s", "es", "nen"),
    "nl": ("en", "s", "n", "eren"),
    "es": ("s", "es"),
    "no": ("e", "en", "er", "et", "ar", "or", "r", "ne", "ene", "erne", "a"),
}
_ANY = ("e", "en", "n", "s")
"""Endings that are tried for the last part of a compound where no language is known."""

_SHORTEST = 3
_VOWELS = "aeiou"


def languages_of(count: Count, n_items: int) -> frozenset[str]:
    """Return the languages of `MARKERS` that a catalogue is in."""
    least = max(1, LEAST_SHARE * n_items)
    return frozenset(language for language, markers in MARKERS.items() if sum(map(count, markers)) >= least)


def forms(word: str, languages: frozenset[str]) -> Iterator[str]:
    """Give other forms that a folded word may have; most of them are no word."""
    endings = dict.fromkeys(ending for language in languages for ending in _ENDINGS[language]) if languages else _ANY
    spelled = [word]
    if "de" in languages:
        spelled += [
            word.replace(long, short) for long, short in (("ae", "a"), ("oe", "o"), ("ue", "u")) if long in word
        ]
    for start in spelled:
        bases = [start, *(start.removesuffix(ending) for ending in endings if start.endswith(ending))]
        yield from spelled[1:]
        for base in bases:
            if len(base) >= _SHORTEST:
                yield base
                yield from (base + ending for ending in endings)
    if "nl" in languages:
        yield from _dutch(word)
    if "es" in languages:
        yield from ([f"{word[:-1]}ces"] if word.endswith("z") else [])
        yield from ([f"{word[:-3]}z"] if word.endswith("ces") else [])


def _dutch(word: str) -> Iterator[str]:
    """Give the plural of a singular and the reverse: boom bomen, bal ballen, doos dozen, brief brieven."""
    if word.endswith("en") and len(word) > 4:
        base = word.removesuffix("en")
        soft = base[:-1] + {"z": "s", "v": "f"}.get(base[-1], base[-1])
        for stem in dict.fromkeys((base, soft)):
            yield stem
            if stem[-1] == stem[-2]:
                yield stem[:-1]
            elif stem[-2] in _VOWELS:
                yield stem[:-2] + stem[-2] + stem[-2:]
    elif len(word) > 2 and word[-1] not in _VOWELS:
        hard = word[:-1] + {"s": "z", "f": "v"}.get(word[-1], word[-1])
        yield f"{hard}en"
        if word[-3] == word[-2] and word[-2] in _VOWELS:
            yield from (f"{stem[:-2]}{stem[-1]}en" for stem in (word, hard))
        elif word[-2] in _VOWELS:
            yield f"{word}{word[-1]}en"
