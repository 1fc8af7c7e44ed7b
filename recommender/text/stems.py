"""Brings English plurals and possessives to one form: children's, childrens, children and child share a stem."""

from __future__ import annotations

from functools import lru_cache

_IRREGULAR = {
    "axes": "axe", "buses": "bus", "cacti": "cactus", "canvases": "canvas", "elves": "elf", "feet": "foot",
    "gases": "gas", "geese": "goose", "lenses": "lens", "men": "man", "mice": "mouse", "quizzes": "quiz",
    "teeth": "tooth", "wives": "wife",
}  # fmt: skip
_IRREGULAR_ENDS = {
    "calves": "calf", "children": "child", "halves": "half", "hooves": "hoof", "knives": "knife", "leaves": "leaf",
    "loaves": "loaf", "scarves": "scarf", "shelves": "shelf", "thieves": "thief", "wolves": "wolf", "women": "woman",
}  # fmt: skip
"""Also behind another word, as in "bookshelves"."""

_MEN = ("cemen", "ermen", "kmen", "remen", "smen", "tlemen", "wmen")
"""Ends of policemen, fishermen, workmen, firemen, salesmen, gentlemen and snowmen, but not of specimen and ramen."""

_SINGULAR = frozenset({"always", "atlas", "canvas", "christmas", "gas", "lens", "series", "species"})
"""Words in -s that are no plural."""

_LONG_PLURALS = ("ches", "ises", "oes", "shes", "sses", "uses", "xes", "zzes")
_SILENT = ("che", "ise", "oe", "use", "xe")
"""Plurals that lose -es, and singulars that lose -e: irises is formed as exercises is, iris not as exercise is."""


@lru_cache(maxsize=65_536)
def stem(word: str) -> str:
    """Drop an English plural: the S-stemmer of Harman 1991, "How effective is suffixing?", with -es and -ie.

    A stem is never shown; it only has to be the same for singular and plural. Porter's algorithm would take "lampe" for
    a form of "lamp", so that spelling mistakes at the end of a word were no longer corrected.
    """
    if not word.isascii() or not word.isalpha():
        return word
    singular = _irregular(word) or _irregular(word.removesuffix("s")) or _singular(word)
    return singular[:-1] if len(singular) > 3 and singular.endswith(_SILENT) else singular


def _irregular(word: str) -> str:
    """Return the singular of an irregular plural, "" for any other word."""
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if word.endswith(_MEN):
        return f"{word[:-2]}an"
    end = next((end for end in _IRREGULAR_ENDS if word.endswith(end)), "")
    return word.removesuffix(end) + _IRREGULAR_ENDS[end] if end else ""


def _singular(word: str) -> str:
    if len(word) <= 3 or word in _SINGULAR or word.endswith(("ss", "us", "is")):
        return word
    if word.endswith("ie"):
        return f"{word[:-2]}y" if len(word) > 4 else word
    if word.endswith("ies"):
        return f"{word[:-3]}y" if len(word) > 5 else word[:-1]
    if word.endswith(_LONG_PLURALS) and len(word) > 4:
        return word[:-2]
    return word.removesuffix("s")
