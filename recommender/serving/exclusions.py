"""Leaves out what a query does not want: items that have the excluded words, unless only to say that they lack them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recommender.retrieval.base import Mask
from recommender.retrieval.lexical.synonyms import SYNONYM
from recommender.serving.shelf import Shelf
from recommender.text.intent.exclusions import LACKING, NEGATIONS, lacks
from recommender.text.stems import stem
from recommender.text.words import tokens
from recommender.types import IntArray, Intent


@dataclass(frozen=True, slots=True)
class LeftOut:
    """passes (n_items,) bool: which items have nothing of what is excluded; words: what the shopper is told of it.

    lacking (n,) int32: items whose text says itself that they lack it, as "mug without handle" does.
    """

    passes: Mask
    words: tuple[str, ...]
    lacking: IntArray


def left_out(intent: Intent, shelf: Shelf) -> LeftOut:
    """Return what the query excludes, in any number and spelling; nothing is told where titles only lack it."""
    passes, words, lacking = np.ones(len(shelf), bool), [], np.empty(0, np.int32)
    for excluded in intent.excluded:
        spelt = shelf.lexical.corrected(f"{excluded} ").strip()
        rows = _having(spelt, shelf)
        is_unsure = np.isin(rows, _unsure(spelt, rows, shelf))
        own_texts = {row: _own_text(row, shelf) for row in rows[is_unsure].tolist()}
        denying = [row for row, text in own_texts.items() if lacks(text, spelt)]
        having = [row for row, text in own_texts.items() if _has(text, spelt)]
        lacking = np.union1d(lacking, np.array(denying, np.int32))
        sure = np.concatenate([rows[~is_unsure], np.setdiff1d(having, denying).astype(np.int32)])
        passes[sure] = False
        if len(sure) or not denying:
            words.append(spelt)
    return LeftOut(passes, tuple(words), lacking[passes[lacking]])


def _having(text: str, shelf: Shelf) -> IntArray:
    """Return the rows (n,) that have all words of a text or their synonyms, in the singular or the plural."""
    forms = {f"{text} ", f"{' '.join(map(stem, tokens(text)))} "}  # "polka dot" is "polkadot", "polka dots" is not
    searches = [shelf.lexical.search(form, len(shelf)) for form in forms]
    return np.unique(np.concatenate([hits.rows[hits.matched >= SYNONYM] for hits in searches]))


def _unsure(text: str, rows: IntArray, shelf: Shelf) -> IntArray:
    """Return those of `rows` (n,) that may lack what they name, or have it only in the name of category or brand."""
    words = {*map(stem, tokens(text))}
    lexicon = shelf.lexical.lexicon
    denying = [shelf.lexical.rows_of(lexicon.ids[word]) for word in NEGATIONS | LACKING if word in lexicon.ids]
    names = [
        rows[code == group]
        for code, group_names in (
            (shelf.items.category[rows], shelf.items.category_names),
            (shelf.brand[rows], shelf.brand_names),
        )
        for group in np.unique(code[code >= 0]).tolist()
        if words & {*map(stem, tokens(group_names[group]))}
    ]
    return np.concatenate([np.empty(0, np.int32), *denying, *names])


def _own_text(row: int, shelf: Shelf) -> str:
    """The text of an item without the names of its category and brand, behind its title."""
    title, text = shelf.titles[row], shelf.items.texts[row]
    code = int(shelf.items.category[row])
    category = shelf.items.category_names[code] if code >= 0 else ""
    rest = text.removeprefix(title)
    for name in (category, shelf.brands[row]):
        rest = rest.replace(name, " ") if name else rest
    return f"{title} {rest}"


def _has(text: str, words: str) -> bool:
    return {*map(stem, tokens(words))} <= {*map(stem, tokens(text))}
