"""Persona features: a profile and candidates in, how each suits the shopper's kinds, words, price and segment out.

Pure, for trainer and server alike: everything comes from the profile (events before `profile.now`), from the catalogue
and from `Segments` that were built before that moment.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recommender.axes import HALF_LIFE_DAYS, kept_evidence
from recommender.segments import Segments
from recommender.state import DAY_SECONDS
from recommender.types import FloatArray, IntArray, ItemTable, Profile
from recommender.vocabulary import terms, vocabulary_of

PERSONA_FEATURES: tuple[str, ...] = ("persona_category", "persona_words", "persona_price", "segment_lift")

CATEGORY_PRIOR = 0.5
"""Evidence of half a purchase, spread as the catalogue is, before a share is compared with the catalogue's."""

PRICE_WIDTH = 0.5
"""Added to the spread of the log price, so that one look does not fix the price to the penny; as `features` does."""

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


def item_terms(items: ItemTable) -> ItemTerms:
    """Read the words of a catalogue, once per catalogue: about 0.1 s for 4,000 items."""
    vocabulary, code = vocabulary_of(items.texts), dict[str, int]()
    start, term, weight = np.zeros(len(items) + 1, np.int64), list[int](), list[float]()
    for row, text in enumerate(items.texts):
        told = {stem: value for stem in terms(text) if (value := vocabulary.weight(stem)) > 0}
        length = float(np.sqrt(sum(value * value for value in told.values()))) or 1.0
        term += [code.setdefault(stem, len(code)) for stem in told]
        weight += [value / length for value in told.values()]
        start[row + 1] = len(term)
    known = items.active & (items.category >= 0)
    share = np.bincount(items.category[known], minlength=len(items.category_names)) / max(int(known.sum()), 1)
    category_share = np.append(share, 1).astype(np.float32)
    return ItemTerms(start, np.asarray(term, np.int32), np.asarray(weight, np.float32), len(code), category_share)


def persona_features(
    profile: Profile,
    candidates: IntArray,
    items: ItemTable,
    item_terms: ItemTerms,
    segments: Segments | None = None,
    *,
    segment: int | None = None,
) -> FloatArray:
    """Return (n_candidates, 4) float32 in the order of `PERSONA_FEATURES`; what is unknown counts as 0.

    persona_category: log of the share of the shopper's decayed evidence in the candidate's category against the
    catalogue's; persona_words: cosine of its words with those of the evidence, [0, 1]; persona_price: nearness of its
    price to the shopper's, (0, 1]; segment_lift: log of its popularity in the shopper's segment against the shop's.
    `segment` (a row of `segments`, -1 for none) saves finding the segment anew for every list of one page.
    """
    item, mass = evidence(profile)
    if segments is not None and segment is None:
        segment = segments.of(profile)
    columns = (
        _category(item, mass, candidates, items, item_terms),
        _words(item, mass, candidates, item_terms),
        _price(item, mass, candidates, items),
        segments.lift[segment, candidates] if segments is not None and segment is not None and segment >= 0 else 0,
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
