"""Writes a fitted intent model as arrays, and reads it with a lookup in them in place of an object per word."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from recommender.packed import Counted, PackedArrays, PackedTexts, TextIndex, within
from recommender.text.intent.categories import Categorizer
from recommender.text.intent.model import IntentModel
from recommender.text.intent.tagger import Tagger
from recommender.text.intent.titles import N_ROLES, Names

SEPARATOR = "\x1f"
"""Between the words of a key: no word has this character."""

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class PackedMapping(Mapping[Key, Value], Generic[Key, Value]):
    """A mapping whose keys are written as texts, and whose values are read from the row of the key."""

    index: TextIndex
    written: Callable[[Key], str]
    parsed: Callable[[str], Key]
    read: Callable[[int], Value]

    def __getitem__(self, key: Key) -> Value:
        return self.read(self.index[self.written(key)])

    def __contains__(self, key: object) -> bool:
        return self.written(key) in self.index  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[Key]:
        return map(self.parsed, self.index)

    def __len__(self) -> int:
        return len(self.index)


@dataclass(frozen=True, slots=True)
class PackedCounts:
    """`Counts` to be looked up in."""

    word: Mapping[str, list[int]]
    second: Mapping[tuple[str, str], list[int]]
    first: Mapping[tuple[str, str], list[int]]
    leading: Mapping[str, int]
    varied: Mapping[str, int]


def _joined(keys: Sequence[str]) -> str:
    return SEPARATOR.join(keys)


def _split(text: str) -> tuple[str, ...]:
    return tuple(text.split(SEPARATOR)) if text else ()


def _pair(text: str) -> tuple[str, str]:
    first, _, second = text.partition(SEPARATOR)
    return first, second


def _itself(key: str) -> str:
    return key


def model_arrays(model: IntentModel) -> PackedArrays:
    """Return what `model_from_arrays` takes."""
    counts, categorizer = model.tagger.counts, model.categorizer
    parts: dict[str, PackedArrays] = {
        "word": _packed_roles(counts.word, _itself),
        "second": _packed_roles(counts.second, _joined),
        "first": _packed_roles(counts.first, _joined),
        "leading": _packed_counts(counts.leading),
        "varied": _packed_counts(counts.varied),
        "brands": _packed_names(model.tagger.brands),
        "categories": _packed_names(model.tagger.categories),
        "gains": _packed_pairs(categorizer.gains, _itself),
        "past": _packed_pairs({key: pair[:2] for key, pair in categorizer.past.items()}, _joined),
        "brand_names": PackedTexts.of(model.brand_names).arrays(),
        "category_names": PackedTexts.of(model.category_names).arrays(),
    }
    visitors = [n_visitors for _, _, n_visitors in categorizer.past.values()]
    return {
        **{f"{part}-{name}": array for part, arrays in parts.items() for name, array in arrays.items()},
        "past_visitors": np.array(visitors, np.float64),
        "weights": model.tagger.weights,
        "role_prior": np.array(model.tagger.prior, np.float64),
        "prior": categorizer.prior,
        "unseen": categorizer.unseen,
        "temperature": np.array([categorizer.temperature], np.float64),
    }


def model_from_arrays(arrays: PackedArrays) -> IntentModel:
    """Read what `model_arrays` gave. Raises KeyError or ValueError where it cannot be that."""
    visitors, past = arrays["past_visitors"], _pairs(within(arrays, "past"), _joined, _split)

    def past_of(row: int) -> tuple[Any, Any, float]:
        return (*past.read(row), float(visitors[row]))

    counts = PackedCounts(
        word=_roles(within(arrays, "word"), _itself, _itself),
        second=_roles(within(arrays, "second"), _joined, _pair),
        first=_roles(within(arrays, "first"), _joined, _pair),
        leading=_counts(within(arrays, "leading")),
        varied=_counts(within(arrays, "varied")),
    )
    brands, categories = _names(within(arrays, "brands")), _names(within(arrays, "categories"))
    prior = tuple(arrays["role_prior"].tolist())
    return IntentModel(
        tagger=Tagger(counts, brands, categories, prior, np.array(arrays["weights"])),
        categorizer=Categorizer(
            arrays["prior"],
            arrays["unseen"],
            _pairs(within(arrays, "gains"), _itself, _itself),
            float(arrays["temperature"][0]),
            PackedMapping(past.index, past.written, past.parsed, past_of),
        ),
        category_names=tuple(PackedTexts.from_arrays(within(arrays, "category_names"))),
        brand_names=tuple(PackedTexts.from_arrays(within(arrays, "brand_names"))),
    )


def _packed_roles(counts: Mapping[Key, Sequence[int]], written: Callable[[Key], str]) -> PackedArrays:
    index = TextIndex.of(PackedTexts.of([written(key) for key in counts]))
    return {**index.arrays(), "counts": np.array(list(counts.values()), np.int32).reshape(-1, N_ROLES)}


def _roles(
    arrays: PackedArrays, written: Callable[[Key], str], parsed: Callable[[str], Key]
) -> PackedMapping[Key, list[int]]:
    counts = arrays["counts"]
    return PackedMapping(TextIndex.from_arrays(arrays), written, parsed, lambda row: counts[row].tolist())


def _packed_counts(counts: Mapping[str, int]) -> PackedArrays:
    counted = Counted.of(counts)
    return {**counted.index.arrays(), "values": counted.values_of}


def _counts(arrays: PackedArrays) -> Counted:
    return Counted(TextIndex.from_arrays(arrays), arrays["values"])


def _packed_names(names: Names) -> PackedArrays:
    runs = {f"runs_{name}": array for name, array in PackedTexts.of(names.runs).arrays().items()}
    codes = np.fromiter(names.codes.values(), np.int32, len(names.codes))
    return {**PackedTexts.of(list(map(_joined, names.codes))).arrays(), **runs, "codes": codes}


def _names(arrays: PackedArrays) -> Names:
    keys = [tuple(key.split(SEPARATOR)) for key in PackedTexts.from_arrays(arrays)]
    runs = PackedTexts.from_arrays({"blob": arrays["runs_blob"], "start": arrays["runs_start"]})
    codes = dict(zip(keys, arrays["codes"].tolist(), strict=True))
    return Names(codes, max(map(len, codes), default=1), tuple(runs))


def _packed_pairs(
    pairs: Mapping[Key, tuple[npt.NDArray[Any], npt.NDArray[Any]]], written: Callable[[Key], str]
) -> PackedArrays:
    index = TextIndex.of(PackedTexts.of([written(key) for key in pairs]))
    codes = np.concatenate([np.empty(0, np.int32), *(codes for codes, _ in pairs.values())])
    values = np.concatenate([np.empty(0, np.float32), *(values for _, values in pairs.values())])
    ends = np.cumsum([0, *(len(codes) for codes, _ in pairs.values())], dtype=np.int64)
    return {**index.arrays(), "codes": codes, "values": values, "ends": ends}


def _pairs(
    arrays: PackedArrays, written: Callable[[Key], str], parsed: Callable[[str], Key]
) -> PackedMapping[Key, tuple[npt.NDArray[Any], npt.NDArray[Any]]]:
    codes, values, ends = arrays["codes"], arrays["values"], arrays["ends"]

    def pair(row: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        span = slice(ends[row], ends[row + 1])
        return codes[span], values[span]

    return PackedMapping(TextIndex.from_arrays(arrays), written, parsed, pair)
