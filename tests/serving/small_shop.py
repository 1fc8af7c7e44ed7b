"""A small shop in memory with everything by which a search can be narrowed or ordered."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import Any

import numpy as np

from recommender.features.shop_state import ShopState
from recommender.serving import Served
from recommender.serving.ranking import rank
from recommender.serving.shelf import build_shelf
from recommender.tables import ItemTable
from recommender.types import Context, Ranking, Request, Slot

NOW = dt.datetime(2026, 5, 1, 12, tzinfo=dt.UTC)


class SmallShop:
    """Items as (title, category, brand, price); what is sold, in stock, how old and which text may be given by row
    before the first search."""

    def __init__(self, *items: tuple[str, str, str, float | None]) -> None:
        self.items = items
        n = len(items)
        self.texts = [title for title, *_ in items]
        self.sales = np.zeros(n, np.float32)
        self.available = np.ones(n, bool)
        self.first_seen = np.zeros(n)
        self.currency = ("GBP",) * n
        self.attributes: tuple[dict[str, str], ...] = ({},) * n
        self._served: dict[int, Served] = {}

    def served(self, ranker: Any = None) -> Served:
        """The shop in memory, by words alone or with the vectors of a ranker."""
        if id(ranker) not in self._served:
            self._served[id(ranker)] = self._read(ranker)
        return self._served[id(ranker)]

    def _read(self, ranker: Any) -> Served:
        titles, categories, brands, prices = zip(*self.items, strict=True)
        names = tuple(dict.fromkeys(categories))
        items = ItemTable(
            ids=tuple(f"i{row}" for row in range(len(titles))),
            texts=tuple(self.texts),
            price=np.array([np.nan if price is None else price for price in prices], np.float32),
            category=np.array([names.index(category) for category in categories], np.int32),
            category_names=names,
            first_seen=self.first_seen,
            active=np.ones(len(titles), bool),
        )
        counts = np.repeat(self.sales[:, np.newaxis], 4, axis=1)
        state = ShopState.from_columns(at=NOW.timestamp(), counts=counts, last_event_at=np.full(len(titles), -np.inf))
        vectors = None if ranker is None else ranker.encode(titles)
        shelf = build_shelf(items, state=state, titles=titles, brands=brands, vectors=vectors, available=self.available)
        shelf = replace(shelf, currency=self.currency, attributes=self.attributes)
        return Served(shelf) if ranker is None else Served.paired(shelf, ranker, "")

    def search(self, query: str, *, ranker: Any = None, **request: Any) -> Ranking:
        """The first page of a search, 24 items unless the request says otherwise."""
        wanted = Request(Slot.SEARCH, Context(NOW), query=query, **{"limit": 24, **request})
        return rank(wanted, served=self.served(ranker))

    def titles(self, ranking: Ranking) -> list[str]:
        """The titles of a list."""
        return [self.items[int(entry.item_id[1:])][0] for entry in ranking]
