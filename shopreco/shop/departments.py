"""Makes departments for a shop without any: groups of similar item vectors, named after words in their titles.

The k-means is our own because it must be spherical; its groups, and so the demo's categories, depend on it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from django.db import transaction
from django.db.models import Count
from django.utils import timezone
from django.utils.text import slugify

from recommender.models import ItemVector
from shopreco.shop.models import Department, Product

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

N_DEPARTMENTS = 14
MAX_DEPARTMENTS = 100
MAX_ROUNDS = 60
N_STARTS = 8
N_NAME_WORDS = 2
MIN_SHARE_OF_SECOND_WORD = 0.08
"""A department is not named after a word that a smaller share of its titles contain."""

_NOT_NAMES = """
a an and for in no of on own the to with your my new old
set pack box piece pieces pair single tier round square oval mini small medium large big giant jumbo tall
red pink blue green yellow orange purple black white ivory cream silver gold brown grey turquoise amber clear
assorted colour coloured multicolour design style shape shaped vintage retro antique classic traditional regency
french english london union jack retrospot polkadot paisley spot gingham spaceboy woodland dolly girl childrens
holder hanging decorative decoration cover stand hot point happy light love heart beaded greeting
metal zinc wooden wood ceramic enamel
"""
NOT_NAMES = frozenset(_NOT_NAMES.split())
"""Colours, sizes, styles and words that need another word: they describe many things and name none."""

_UNCOUNTED = "birthday christmas easter food garden incense jewellery kitchen party stationery tea travel"
UNCOUNTED = frozenset(_UNCOUNTED.split())


@dataclass(frozen=True, slots=True)
class Group:
    """Similar rows of the input, and a name for them."""

    name: str
    rows: IntArray


@dataclass(frozen=True, slots=True)
class GroupingReport:
    """What `regroup` wrote."""

    names: tuple[str, ...]
    n_products: int


def regroup(*, n_groups: int = N_DEPARTMENTS, seed: int = 0) -> GroupingReport:
    """Replace the shop's departments by groups of item vectors; without vectors nothing is written."""
    codes, titles, vectors = _read_vectors()
    if not codes:
        return GroupingReport((), 0)
    groups = group(vectors, titles, n_groups=n_groups, seed=seed)
    _write(groups, codes)
    return GroupingReport(tuple(department.name for department in groups), len(codes))


def group(vectors: FloatArray, titles: Sequence[str], *, n_groups: int = N_DEPARTMENTS, seed: int = 0) -> list[Group]:
    """Group unit vectors (n, d) by spherical k-means and name each group; ordered by name.

    Source of the k-means: Dhillon and Modha 2001, section 3; of its start: Arthur and Vassilvitskii 2007, section 2.2.
    """
    labels = _cluster(vectors, min(n_groups, len(vectors)), seed)
    members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    names = name_groups([[titles[row] for row in rows.tolist()] for rows in members])
    return sorted(
        (Group(name, rows) for name, rows in zip(names, members, strict=True)), key=lambda department: department.name
    )


def name_groups(groups: Sequence[Sequence[str]]) -> list[str]:
    """Name each list of titles after its most characteristic words; no word names two groups.

    score = share of the group's titles that have the word * log(1 + mean words of a group / count of the word in all):
    class-based TF-IDF (Grootendorst 2022, equation 2), with a share so that long titles do not count twice.
    """
    counts = [Counter(word for title in titles for word in set(_words(title))) for titles in groups]
    total: Counter[str] = sum(counts, Counter())
    mean = sum(total.values()) / max(len(groups), 1)
    forms = Counter(word for titles in groups for title in titles for word in re.findall(r"[a-z]{3,}", title.lower()))
    names = [""] * len(groups)
    taken: set[str] = set()
    for index in sorted(range(len(groups)), key=lambda index: -len(groups[index])):
        scores = {
            word: count / len(groups[index]) * np.log1p(mean / total[word]) for word, count in counts[index].items()
        }
        best = sorted((word for word in scores if word not in taken), key=lambda word: (-scores[word], word))
        often = [word for word in best if counts[index][word] >= MIN_SHARE_OF_SECOND_WORD * len(groups[index])]
        chosen = (often or best)[:N_NAME_WORDS]
        taken.update(chosen)
        names[index] = " & ".join(_spelled(word, forms) for word in chosen) or f"More {index + 1}"
    return names


def _cluster(vectors: FloatArray, n_groups: int, seed: int) -> IntArray:
    """Return the label of each row: the best of several starts by total similarity."""
    chance = np.random.default_rng(seed)
    runs = [_cluster_once(vectors, n_groups, chance) for _ in range(N_STARTS)]
    return max(runs, key=lambda run: run[1])[0]


def _cluster_once(vectors: FloatArray, n_groups: int, chance: np.random.Generator) -> tuple[IntArray, float]:
    centres = _first_centres(vectors, n_groups, chance)
    labels = np.full(len(vectors), -1)
    similarity = vectors @ centres.T
    for _ in range(MAX_ROUNDS):
        nearest = similarity.argmax(axis=1)
        if np.array_equal(nearest, labels):
            break
        labels = nearest
        for label in np.unique(labels):
            centres[label] = _unit(vectors[labels == label].sum(axis=0))
        similarity = vectors @ centres.T
    return labels, float(similarity.max(axis=1).sum())


def _first_centres(vectors: FloatArray, n_groups: int, chance: np.random.Generator) -> FloatArray:
    """Draw each centre with a probability that grows with its distance from the earlier ones."""
    chosen = [int(chance.integers(len(vectors)))]
    while len(chosen) < n_groups:
        distance = np.clip(1 - (vectors @ vectors[chosen].T).max(axis=1), 1e-12, None).astype(np.float64)
        chosen.append(int(chance.choice(len(vectors), p=distance / distance.sum())))
    return vectors[chosen].copy()


def _unit(vector: FloatArray) -> FloatArray:
    return vector / max(float(np.linalg.norm(vector)), 1e-12)


def _words(title: str) -> Iterable[str]:
    for word in re.findall(r"[a-z]{3,}", title.lower().replace("t-light", "candle")):
        if word not in NOT_NAMES and _singular(word) not in NOT_NAMES:
            yield _singular(word)


def _singular(word: str) -> str:
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("ches", "shes", "sses", "xes")):
        return word[:-2]
    return word[:-1] if word.endswith("s") and not word.endswith(("ss", "us", "is", "as")) else word


def _spelled(word: str, forms: Counter[str]) -> str:
    """The word as the name of a department: the plural as titles use it, else a regular one."""
    plain = word if word in UNCOUNTED or word.endswith("s") else f"{word}s"
    plurals = [
        form for form in (f"{word}s", f"{word}es", f"{word[:-1]}ies") if form in forms and _singular(form) == word
    ]
    used = [] if word in UNCOUNTED else plurals
    return max(used, key=lambda form: forms[form], default=plain).capitalize()


def _read_vectors() -> tuple[list[str], list[str], FloatArray]:
    """Stock codes, titles and vectors (n, d) of the visible products under the encoder that has encoded the most."""
    encoders = ItemVector.objects.values("encoder_hash").annotate(n=Count("id")).order_by("-n", "encoder_hash")
    encoder = encoders.first()
    if encoder is None:
        return [], [], np.empty((0, 0), np.float32)
    encoded = ItemVector.objects.filter(
        encoder_hash=encoder["encoder_hash"], item__label="shop.Product", item__is_active=True
    )
    rows = list(encoded.order_by("item__item_id").values_list("item__item_id", "item__title", "vector"))
    vectors = np.stack([np.frombuffer(row[2], "<f4") for row in rows]) if rows else np.empty((0, 0), np.float32)
    return [row[0] for row in rows], [row[1] for row in rows], vectors


@transaction.atomic
def _write(groups: Sequence[Group], codes: Sequence[str]) -> None:
    Product.objects.filter(department__isnull=False).update(department=None, updated_at=timezone.now())
    Department.objects.all().delete()
    for group_of_rows in groups:
        department = Department.objects.create(name=group_of_rows.name, slug=slugify(group_of_rows.name))
        for start in range(0, len(group_of_rows.rows), 500):
            part = [codes[row] for row in group_of_rows.rows[start : start + 500]]
            Product.objects.filter(stock_code__in=part).update(department=department, updated_at=timezone.now())
