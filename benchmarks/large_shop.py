"""Makes a shop of any size for `benchmarks.serving --items`: items with titles, vectors, statistics and some shoppers.

Titles are made of a brand, adjectives, a material, a noun, a measure and a model number, so that the number of words
grows with the catalogue as it does in real ones. The vector of an item is the sum of one random direction per word:
items that share words are near one another, and 100,000 of them need no encoder.
"""

from __future__ import annotations

import datetime as dt
import random
import uuid
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Any

import numpy as np
from django.utils import timezone

from recommender.types import FloatArray

BATCH = 2_000
N_VISITORS, N_EVENTS_EACH = 50, 120
SOLD_SHARE, N_NEIGHBOURS = 0.5, 20
"""Half of a large catalogue has been bought; such an item has so many neighbours of each kind."""

_ONSETS = ("b", "br", "c", "ch", "d", "f", "g", "h", "j", "k", "l", "m", "n", "p", "r", "s", "st", "t", "tr", "v", "w")
_NUCLEI = ("a", "e", "i", "o", "u", "ai", "ea", "oo")
_CODAS = ("", "l", "n", "r", "s", "t", "ck", "nd", "mp", "st")
_ADJECTIVES = (
    "red blue green white black grey vintage modern small large folding portable heavy light round square glazed matt "
    "polished brushed wireless rechargeable waterproof insulated padded striped woven quilted ribbed smooth"
)
_MATERIALS = "steel oak pine cotton linen wool leather ceramic glass brass copper bamboo rubber nylon"
ADJECTIVES, MATERIALS = _ADJECTIVES.split(), _MATERIALS.split()
UNITS = ("cm", "mm", "kg", "g", "ml", "l", "in", "ft", "w", "v")


@dataclass(frozen=True, slots=True)
class Draft:
    """One item to be written."""

    code: str
    title: str
    brand: str
    category: str


def make(n_items: int) -> None:
    """Fill empty, migrated tables. Vectors belong to bundle 0, which is exported and becomes the champion."""
    from recommender import bundles

    drafts = list(_drafts(n_items))
    _write_items(drafts)
    encoder_hash = bundles.ensure_champion().encoder_hash
    _write_vectors(drafts, encoder_hash)
    _write_statistics(drafts)
    _write_histories(drafts)


def queries(n: int) -> list[str]:
    """Two words of titles; every third query with two letters swapped."""
    chance, texts = random.Random(1), []
    for number, draft in enumerate(_drafts(n)):
        text = " ".join(chance.sample(draft.title.lower().split()[:5], 2))
        middle = len(text) // 2
        swapped = text[: middle - 1] + text[middle] + text[middle - 1] + text[middle + 1 :]
        texts.append(swapped if number % 3 == 0 else text)
    return texts


def item_code(number: int) -> str:
    """The id of the item of this number, from 0."""
    return f"SKU{number:07d}"


def _drafts(n_items: int) -> Iterator[Draft]:
    chance = random.Random(0)
    brands = [_name(chance).title() for _ in range(max(20, n_items // 120))]
    nouns = [_name(chance) for _ in range(max(40, n_items // 250))]
    categories = [f"{noun.title()} goods" for noun in nouns[: max(8, len(nouns) // 10)]]
    for number in range(n_items):
        brand, noun = chance.choice(brands), int(len(nouns) * chance.random() ** 2)
        size = f"{chance.randint(1, 400)}{chance.choice(UNITS)}"
        model = f"{chance.choice('ABCDEFGHKLMNPRSTVWX')}{chance.randint(10, 99)}-{chance.randint(100, 9999)}"
        parts = [brand, *chance.sample(ADJECTIVES, 2), chance.choice(MATERIALS), nouns[noun], "with", size, model]
        yield Draft(item_code(number), " ".join(parts), brand, categories[noun % len(categories)])


def _name(chance: random.Random) -> str:
    syllables = (f"{chance.choice(_ONSETS)}{chance.choice(_NUCLEI)}{chance.choice(_CODAS)}" for _ in range(2))
    return "".join(syllables)


def _batches(rows: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(rows), BATCH):
        yield rows[start : start + BATCH]


def _write_items(drafts: Sequence[Draft]) -> None:
    from recommender.catalog.values import text_hash
    from recommender.models import Item
    from shopreco.shop.models import Product

    chance, now = random.Random(2), timezone.now()
    for batch in _batches(drafts):
        prices = [Decimal(chance.randint(99, 49_999)) / 100 for _ in batch]
        products = Product.objects.bulk_create(
            Product(stock_code=draft.code, title=draft.title, price=price, stock=chance.randint(0, 20))
            for draft, price in zip(batch, prices, strict=True)
        )
        texts = [f"{draft.title} . {draft.brand} . {draft.category}" for draft in batch]
        Item.objects.bulk_create(
            Item(
                item_id=draft.code,
                label="shop.Product",
                object_id=str(product.pk),
                title=draft.title,
                text=text,
                text_hash=text_hash(text),
                category=draft.category,
                brand=draft.brand,
                price=price,
                currency="GBP",
                url=f"/item/{draft.code}/",
                attributes={"colour": draft.title.split()[1]},
                is_available=product.stock > 0,
                first_seen_at=now - dt.timedelta(days=chance.random() * 900),
            )
            for draft, product, price, text in zip(batch, products, prices, texts, strict=True)
        )


@lru_cache(maxsize=500_000)
def _direction(word: str) -> FloatArray:
    return np.random.default_rng(zlib.crc32(word.encode())).standard_normal(384).astype(np.float32)


def _vector(title: str) -> FloatArray:
    total = np.sum([_direction(word) for word in title.lower().split()], axis=0) + 2 * _direction("")
    return np.asarray(total / np.linalg.norm(total), np.float32)


def _write_vectors(drafts: Sequence[Draft], encoder_hash: str) -> None:
    from recommender.models import Item
    from recommender.serving.vectors import write_vectors

    for batch in _batches(drafts):
        items = Item.objects.in_bulk([draft.code for draft in batch], field_name="item_id")
        vectors = np.stack([_vector(draft.title) for draft in batch])
        write_vectors([items[draft.code] for draft in batch], vectors, encoder_hash=encoder_hash)


def _write_statistics(drafts: Sequence[Draft]) -> None:
    from recommender.models import Item, ItemStatistics

    chance, now = random.Random(3), timezone.now()
    keys = dict(Item.objects.values_list("item_id", "pk"))

    def neighbours() -> list[list[object]]:
        scores = sorted((round(chance.random(), 4) for _ in range(N_NEIGHBOURS)), reverse=True)
        return [[drafts[chance.randrange(len(drafts))].code, score] for score in scores]

    for batch in _batches(drafts):
        rows = []
        for draft in batch:
            is_sold, n = chance.random() < SOLD_SHARE, int(chance.paretovariate(1.2))
            kinds = {f"{kind}_neighbours": neighbours() for kind in ("basket", "visitor", "sequel") if is_sold}
            last = now - dt.timedelta(days=chance.random() * 60) if is_sold else None
            sold = {"n_7": n // 4, "n_30": n, "n_total": 5 * n} if is_sold else {}
            rows.append(ItemStatistics(item_id=keys[draft.code], last_event_at=last, **sold, **kinds))
        ItemStatistics.objects.bulk_create(rows)


def _write_histories(drafts: Sequence[Draft]) -> None:
    from recommender.models import Event, Visitor
    from recommender.types import EventType

    chance, now = random.Random(4), timezone.now()
    visitors = Visitor.objects.bulk_create(Visitor(key=uuid.UUID(int=number + 1)) for number in range(N_VISITORS))
    kinds = (EventType.VIEW_ITEM,) * 4 + (EventType.ADD_TO_CART, EventType.PURCHASE)
    Event.objects.bulk_create(
        Event(
            message_id=f"large:{visitor.pk}:{number}",
            visitor=visitor,
            type=(kind := chance.choice(kinds)),
            item_id=drafts[chance.randrange(len(drafts))].code,
            occurred_at=now - dt.timedelta(hours=number * 7 + 1),
            order_id=f"{visitor.pk}-{number}" if kind == EventType.PURCHASE else "",
        )
        for visitor in visitors
        for number in range(N_EVENTS_EACH)
    )
