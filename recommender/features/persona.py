"""Persona features: a profile and candidates in, how each suits the shopper's kinds, words and price out.

Pure, for trainer and server alike: everything comes from the profile (events before `profile.now`) or from
the catalogue.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recommender.features.returns import HALF_LIFE_DAYS, kept_evidence
from recommender.features.state import DAY_SECONDS
from recommender.text.vocabulary import Vocabulary, terms, vocabulary_of
from recommender.types import FloatArray, IntArray, ItemTable, Profile

PERSONA_FEATURES: tuple[str, ...] = ("persona_category", "persona_words", "persona_price")

CATEGORY_PRIOR = 0.5
"""Evidence of half a purchase, spread as the catalogue is, before a share is compared with the catalogue's."""

PRICE_WIDTH = 0.5
"""Added to the spread of the log price, so that one look does not fix the price to the penny; as `features` does."""

N_KEPT = 2
KEPT_SHARE = 0.9
"""Share of the texts of a catalogue that must be those of before for the weights of its words to stay."""

MOST_ITEMS = 200
"""Items of a history that are read, those with most evidence: what is left says little, and costs time."""


@dataclass(frozen=True, slots=True)
class ItemTerms:
    """The words of each item in compressed rows: those of item i are `term[start[i]:start[i + 1]]`.

    weight (n,) float32: inverse document frequency, each item's row of unit length; category_share (n_categories + 1,)
    float32: share of the active catalogue, 1 for unknown.
    """

    start: npt.NDArray[np.int64]
    term: IntArray
    weight: FloatArray
    n_terms: int
    category_share: FloatArray


@dataclass(frozen=True, slots=True)
class _Known:
    """A catalogue whose words were read; `codes` is where a term gets its number."""

    items: ItemTable
    vocabulary: Vocabulary
    codes: dict[str, int]
    terms: ItemTerms


_known: tuple[_Known, ...] = ()
"""The catalogues that were asked for last, newest first: a run has two, one with what came later hidden."""


def known_terms(items: ItemTable) -> ItemTerms:
    """Return `item_terms` of a catalogue that was asked for lately; of a changed one only new texts are read.

    4 seconds for 100,000 new texts: whoever loads a catalogue asks before a shopper does.
    """
    global _known
    for known in _known:
        if known.items is items:
            return known.terms
    known = _read(items, _known[0] if _known else None)
    _known = (known, *_known[: N_KEPT - 1])
    return known.terms


def item_terms(items: ItemTable) -> ItemTerms:
    """Read the words of a catalogue: about 0.1 s for 4,000 items."""
    return _read(items, None).terms


def _read(items: ItemTable, before: _Known | None) -> _Known:
    """Read the texts that are not in `before` at their place; weights stay until a tenth of the texts is new."""
    texts = items.texts
    is_same = np.zeros(len(texts), bool)
    if before is not None:
        n = min(len(texts), len(before.items))
        is_same[:n] = [mine is theirs for mine, theirs in zip(texts[:n], before.items.texts[:n], strict=True)]
    if before is None or is_same.sum() < len(texts) * KEPT_SHARE:
        is_same[:] = False
        vocabulary, codes, old = vocabulary_of(texts), dict[str, int](), None
    else:
        vocabulary, codes, old = before.vocabulary, before.codes, before.terms
    term, weight, size = list[IntArray](), list[FloatArray](), np.zeros(len(texts) + 1, np.int64)
    for row, text in enumerate(texts):
        if old is not None and is_same[row]:
            own = slice(old.start[row], old.start[row + 1])
            term.append(old.term[own])
            weight.append(old.weight[own])
        else:
            told = {stem: value for stem in terms(text) if (value := vocabulary.weight(stem)) > 0}
            length = math.sqrt(sum(value * value for value in told.values())) or 1.0
            term.append(np.array([codes.setdefault(stem, len(codes)) for stem in told], np.int32))
            weight.append(np.array([value / length for value in told.values()], np.float32))
        size[row + 1] = len(term[-1])
    found = ItemTerms(
        np.cumsum(size),
        np.concatenate([np.empty(0, np.int32), *term]),
        np.concatenate([np.empty(0, np.float32), *weight]),
        len(codes),
        _category_share(items),
    )
    return _Known(items, vocabulary, codes, found)


def _category_share(items: ItemTable) -> FloatArray:
    known = items.active & (items.category >= 0)
    share = np.bincount(items.category[known], minlength=len(items.category_names)) / max(int(known.sum()), 1)
    return np.append(share, 1).astype(np.float32)


def persona_features(
    profile: Profile,
    candidates: IntArray,
    items: ItemTable,
    item_terms: ItemTerms,
) -> FloatArray:
    """Return (n_candidates, 3) float32 in the order of `PERSONA_FEATURES`; what is unknown counts as 0.

    persona_category: log of the share of the shopper's decayed evidence in the candidate's category against the
    catalogue's; persona_words: cosine of its words with those of the evidence, [0, 1]; persona_price: nearness of its
    price to the shopper's, (0, 1].
    """
    item, mass = evidence(profile)
    columns = (
        _category(item, mass, candidates, items, item_terms),
        _words(item, mass, candidates, item_terms),
        _price(item, mass, candidates, items),
    )
    rows = np.zeros((len(candidates), len(columns)), np.float32)
    for place, column in enumerate(columns):
        rows[:, place] = column
    return rows


def evidence(profile: Profile) -> tuple[IntArray, FloatArray]:
    """Return the items of a profile, (m,) each once, and what speaks for each: decayed, without what was taken back."""
    known = profile.item >= 0
    age = np.maximum(profile.now - profile.time[known], 0) / DAY_SECONDS
    item, where = np.unique(profile.item[known], return_inverse=True)
    looks, bought = kept_evidence(
        where, profile.type[known], profile.quantity[known], 0.5 ** (age / HALF_LIFE_DAYS), len(item)
    )
    mass = (looks + bought).astype(np.float32)
    kept = np.flatnonzero(mass > 0)
    if len(kept) > MOST_ITEMS:
        kept = kept[np.argpartition(-mass[kept], MOST_ITEMS)[:MOST_ITEMS]]
    return item[kept], mass[kept]


def _category(
    item: IntArray, mass: FloatArray, candidates: IntArray, items: ItemTable, item_terms: ItemTerms
) -> FloatArray:
    n = len(items.category_names)
    own = np.bincount(items.category[item] % (n + 1), weights=mass, minlength=n + 1)  # -1 reads the last place
    share = np.maximum(item_terms.category_share, 1e-4)
    told = own[:n].sum()
    lift = np.log((own + CATEGORY_PRIOR * share) / (told + CATEGORY_PRIOR) / share)
    lift[n] = 0
    return lift[items.category[candidates]].astype(np.float32)


def _words(item: IntArray, mass: FloatArray, candidates: IntArray, item_terms: ItemTerms) -> FloatArray:
    if not len(item) or not item_terms.n_terms:
        return np.zeros(len(candidates), np.float32)
    place, where = _spans(item_terms.start, item)
    liked = np.bincount(
        item_terms.term[place], weights=item_terms.weight[place] * mass[where], minlength=item_terms.n_terms
    )
    place, where = _spans(item_terms.start, candidates)
    cosine = np.bincount(
        where, weights=item_terms.weight[place] * liked[item_terms.term[place]], minlength=len(candidates)
    )
    return (cosine / max(float(np.linalg.norm(liked)), 1e-9)).astype(np.float32)


def _price(item: IntArray, mass: FloatArray, candidates: IntArray, items: ItemTable) -> FloatArray:
    past = np.log(np.maximum(items.price[item], 0.01))
    known = np.isfinite(past)
    if not known.any():
        return np.zeros(len(candidates), np.float32)
    past, mass = past[known], mass[known] / mass[known].sum()
    middle = float(past @ mass)
    width = float(np.sqrt(np.square(past - middle) @ mass)) + PRICE_WIDTH
    gap = np.abs(np.log(np.maximum(items.price[candidates], 0.01)) - middle) / width
    return np.nan_to_num(np.exp(-gap), nan=0.0).astype(np.float32)


def _spans(start: npt.NDArray[np.int64], rows: IntArray) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the places of the entries of `rows` in the compressed rows, and the position in `rows` of each."""
    first, length = start[rows], start[rows + 1] - start[rows]
    where = np.repeat(np.arange(len(rows)), length)
    offset = np.arange(length.sum()) - np.repeat(np.cumsum(length) - length, length)
    return np.repeat(first, length) + offset, where
