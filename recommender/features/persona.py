"""Persona features: how well each candidate suits the categories, words and prices that a shopper likes.

Everything comes from the profile (events before `profile.now`) and the catalogue, so training and serving agree.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recommender.durations import PERSONA_HALF_LIFE_DAYS
from recommender.features.neighbours import entries
from recommender.features.returns import kept_evidence
from recommender.features.weights import age_days, decay
from recommender.packed import (
    Counted,
    Numbering,
    PackedArrays,
    PackedTexts,
    TextIndex,
    appended,
    put_rows,
    within,
)
from recommender.tables import ItemTable, Profile
from recommender.text.vocabulary import Vocabulary, terms, vocabulary_of
from recommender.types import FloatArray, IntArray

CATEGORY_PRIOR = 0.5
"""Evidence of half a purchase, distributed like the catalogue, that is added before shares are compared with it."""

PRICE_WIDTH = 0.5
"""Added to the spread of the log price, so that one look does not fix the price to the penny; as in `matrix`."""

N_CATALOGUES = 2
"""Catalogues whose words are cached: a training run has two, one of them without the items that came later."""

MIN_SAME_SHARE = 0.9
"""The weights of words are kept while at least this share of the texts is unchanged."""

MOST_ITEMS = 200
"""Items of a history that are read, those with most evidence: the others say little and cost time."""


@dataclass(frozen=True, slots=True)
class ItemTerms:
    """The words of each item: those of item i are the `length[i]` values of `term` from `start[i]` on.

    weight (m,) float32: inverse document frequency, each item's row of unit length; category_share (n_categories + 1,)
    float32: share of the active catalogue, 1 for an unknown category. Not a `scipy.sparse` matrix, for the same reason
    as `neighbours.Neighbours`: the words of 300 candidates take 0.05 ms, by indexing a matrix 0.10 ms.
    """

    start: npt.NDArray[np.int64]
    length: npt.NDArray[np.int32]
    term: IntArray
    weight: FloatArray
    n_terms: int
    category_share: FloatArray

    def of(self, row: int) -> tuple[IntArray, FloatArray]:
        """Return the terms of one item and their weights."""
        span = slice(self.start[row], self.start[row] + self.length[row])
        return self.term[span], self.weight[span]

    def of_rows(self, rows: IntArray) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return where the terms of rows (n,) stand, and for each its place among the rows."""
        return entries(self.start[rows], self.length[rows].astype(np.int64))


@dataclass(frozen=True, slots=True)
class _ReadCatalogue:
    """A catalogue with its words; `codes` has the number of each term."""

    items: ItemTable
    vocabulary: Vocabulary
    codes: TextIndex
    terms: ItemTerms


_cached: tuple[_ReadCatalogue, ...] = ()
"""The catalogues that were read last, newest first."""


def cached_item_terms(items: ItemTable) -> ItemTerms:
    """Return `item_terms`, cached; of a changed catalogue only the new texts are read.

    100,000 new texts take 4 seconds: whoever loads a catalogue calls this before the first request does.
    """
    for catalogue in _cached:
        if catalogue.items is items:
            return catalogue.terms
    return _cache(_read(items, _cached[0] if _cached else None)).terms


def item_terms(items: ItemTable) -> ItemTerms:
    """Read the words of a catalogue: about 0.1 s for 4,000 items."""
    return _read(items, None).terms


def item_terms_arrays(items: ItemTable) -> PackedArrays:
    """Return the words of a catalogue as `cache_item_terms` takes them."""
    cached_item_terms(items)
    catalogue = next(one for one in _cached if one.items is items)
    words, counts = catalogue.terms, Counted.of(catalogue.vocabulary.counts)
    used = words.of_rows(np.arange(len(items), dtype=np.int32))[0]
    parts = {"codes": catalogue.codes.arrays(), "counts": {**counts.index.arrays(), "values": counts.values_of}}
    return {
        **{f"{part}-{name}": array for part, arrays in parts.items() for name, array in arrays.items()},
        "start": np.cumsum(words.length, dtype=np.int64) - words.length,
        "length": words.length,
        "term": words.term[used],
        "weight": words.weight[used],
        "n_titles": np.array([catalogue.vocabulary.n_titles], np.int64),
    }


def cache_item_terms(items: ItemTable, arrays: PackedArrays) -> None:
    """Remember the words of a catalogue without reading its texts. Raises KeyError or ValueError where they do not fit
    one another."""
    codes, counts = within(arrays, "codes"), within(arrays, "counts")
    vocabulary = Vocabulary(int(arrays["n_titles"][0]), Counted(TextIndex.from_arrays(counts), counts["values"]))
    index = TextIndex.from_arrays(codes)
    if len(arrays["start"]) != len(items) or len(arrays["term"]) != len(arrays["weight"]):
        raise ValueError("the words of the catalogue do not fit it")
    terms = ItemTerms(
        arrays["start"], arrays["length"], arrays["term"], arrays["weight"], len(index), _category_share(items)
    )
    _cache(_ReadCatalogue(items, vocabulary, index, terms))


def _cache(catalogue: _ReadCatalogue) -> _ReadCatalogue:
    global _cached
    _cached = (catalogue, *_cached[: N_CATALOGUES - 1])
    return catalogue


def _read(items: ItemTable, before: _ReadCatalogue | None) -> _ReadCatalogue:
    """Read a catalogue, and of one that hardly differs from `before` only the texts that changed in their row."""
    changed = None if before is None else _changed(before.items.texts, items.texts)
    if before is None or changed is None or len(changed) > len(items) * (1 - MIN_SAME_SHARE):
        vocabulary, numbers = vocabulary_of(items.texts), Numbering()
        rows = [_weighted(text, vocabulary, numbers) for text in items.texts]
        length, (term, weight) = np.array([len(term) for term, _ in rows], np.int32), _joined(rows)
        start, codes = np.cumsum(length, dtype=np.int64) - length, TextIndex.of(PackedTexts.of(list(numbers.new)))
    else:
        vocabulary, numbers, old = before.vocabulary, Numbering(before.codes, len(before.codes)), before.terms
        rows = [_weighted(items.texts[row], vocabulary, numbers) for row in changed]
        lengths, (term, weight) = np.array([len(term) for term, _ in rows], np.int64), _joined(rows)
        start = put_rows(old.start, changed, len(old.term) + np.cumsum(lengths) - lengths, len(items))
        length = put_rows(old.length, changed, lengths, len(items))
        term, weight, codes = appended(old.term, term), appended(old.weight, weight), before.codes.adding(numbers.new)
    return _ReadCatalogue(
        items, vocabulary, codes, ItemTerms(start, length, term, weight, len(codes), _category_share(items))
    )


def _changed(before: Sequence[str], after: Sequence[str]) -> list[int] | None:
    """Return the rows whose text differs or is new; None where there are fewer rows than before."""
    if len(after) < len(before):
        return None
    if isinstance(after, PackedTexts) and (rows := after.differing(before)) is not None:
        return sorted(rows)
    same = (old is new for old, new in zip(before, after, strict=False))
    return [*(row for row, is_same in enumerate(same) if not is_same), *range(len(before), len(after))]


def _joined(rows: Sequence[tuple[IntArray, FloatArray]]) -> tuple[IntArray, FloatArray]:
    terms, weights = (part for part in zip(*rows, strict=True)) if rows else ((), ())
    return np.concatenate([np.empty(0, np.int32), *terms]), np.concatenate([np.empty(0, np.float32), *weights])


def _weighted(text: str, vocabulary: Vocabulary, codes: Numbering) -> tuple[IntArray, FloatArray]:
    """Return the terms of a text and their weights, of unit length; new terms get the next code."""
    weights = {stem: value for stem in terms(text) if (value := vocabulary.weight(stem)) > 0}
    length = math.sqrt(sum(value * value for value in weights.values())) or 1.0
    term = np.array([codes.add(stem) for stem in weights], np.int32)
    return term, np.array([value / length for value in weights.values()], np.float32)


def _category_share(items: ItemTable) -> FloatArray:
    category = items.category[items.active & (items.category >= 0)]
    share = np.bincount(category, minlength=len(items.category_names)) / max(len(category), 1)
    return np.append(share, 1).astype(np.float32)


def persona_features(profile: Profile, candidates: IntArray, items: ItemTable, item_terms: ItemTerms) -> FloatArray:
    """Return (n_candidates, 3) float32 in the order of `names.PERSONA`; whatever is unknown counts as 0.

    persona_category: log of the share of the shopper's decayed evidence in the candidate's category against the
    catalogue's; persona_words: cosine of its words with those of the evidence, [0, 1]; persona_price: nearness of its
    price to the shopper's, (0, 1].
    """
    item, mass = evidence(profile)
    return np.stack(
        [
            _category(item, mass, candidates, items, item_terms),
            word_cosine(item, mass, candidates, item_terms),
            _price(item, mass, candidates, items),
        ],
        axis=1,
    )


def evidence(profile: Profile) -> tuple[IntArray, FloatArray]:
    """Return the items of a profile, (m,) each once, and their decayed evidence, returned goods taken off."""
    of_item = profile.item >= 0
    item, key = np.unique(profile.item[of_item], return_inverse=True)
    fading = decay(age_days(profile.time[of_item], profile.now), PERSONA_HALF_LIFE_DAYS)
    looks, bought = kept_evidence(key, profile.type[of_item], profile.quantity[of_item], fading, len(item))
    mass = (looks + bought).astype(np.float32)
    best = np.flatnonzero(mass > 0)
    if len(best) > MOST_ITEMS:
        best = best[np.argpartition(-mass[best], MOST_ITEMS)[:MOST_ITEMS]]
    return item[best], mass[best]


def _category(
    item: IntArray, mass: FloatArray, candidates: IntArray, items: ItemTable, item_terms: ItemTerms
) -> FloatArray:
    n = len(items.category_names)
    own = np.bincount(items.category[item] % (n + 1), weights=mass, minlength=n + 1)  # -1 becomes the last place
    share = np.maximum(item_terms.category_share, 1e-4)
    lift = np.log((own + CATEGORY_PRIOR * share) / (own[:n].sum() + CATEGORY_PRIOR) / share)
    lift[n] = 0
    return lift[items.category[candidates]].astype(np.float32)


def word_cosine(item: IntArray, mass: FloatArray, candidates: IntArray, item_terms: ItemTerms) -> FloatArray:
    """Return (n_candidates,) in [0, 1]: cosine of the words of each with those of items (m,), each times its mass."""
    if not len(item) or not item_terms.n_terms:
        return np.zeros(len(candidates), np.float32)
    term, weight = item_terms.term, item_terms.weight
    entry, index = item_terms.of_rows(item)
    liked = np.bincount(term[entry], weights=weight[entry] * mass[index], minlength=item_terms.n_terms)
    entry, index = item_terms.of_rows(candidates)
    cosine = np.bincount(index, weights=weight[entry] * liked[term[entry]], minlength=len(candidates))
    return (cosine / max(float(np.linalg.norm(liked)), 1e-9)).astype(np.float32)


def _price(item: IntArray, mass: FloatArray, candidates: IntArray, items: ItemTable) -> FloatArray:
    past = np.log(np.maximum(items.price[item], 0.01))
    has_price = np.isfinite(past)
    if not has_price.any():
        return np.zeros(len(candidates), np.float32)
    past, mass = past[has_price], mass[has_price] / mass[has_price].sum()
    middle = float(past @ mass)
    width = float(np.sqrt(np.square(past - middle) @ mass)) + PRICE_WIDTH
    gap = np.abs(np.log(np.maximum(items.price[candidates], 0.01)) - middle) / width
    return np.nan_to_num(np.exp(-gap), nan=0.0).astype(np.float32)
