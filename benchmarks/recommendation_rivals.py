"""The peers that recommendations are compared with: each is fitted to the events before one moment."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from benchmarks.events import EventRow, first_seen
from benchmarks.workbench import InputError, read
from recommender.durations import DAY_SECONDS
from recommender.features import purchases
from recommender.features.shop_state import ShopState, build_state
from recommender.ml import metrics
from recommender.ml.histories import Histories
from recommender.ml.rivals import baselines, competitors
from recommender.tables import Interactions, ItemTable, Profile
from recommender.types import EVENT_CODES, EventType, FloatArray

TIE_BREAK = 1e-4
N_TUNED = 400
"""Visitors of the window before the test that blend and ALS are tuned on, as in the product's own evaluation."""

ALS_ALPHAS = (0.3, 1.0, 5.0, 20.0)
"""Confidence of one order (Hu, Koren and Volinsky 2008, equation 2), chosen by the window before the test."""

ALS_FACTORS, ALS_PENALTY, ALS_ROUNDS = 64, 0.05, 15

EVERYTHING = 10**9
_PURCHASE = EVENT_CODES[EventType.PURCHASE]


@dataclass
class Past:
    """A shop just before `at`: the events to learn from, and the history of every user, also of those unseen."""

    items: ItemTable
    learned: Interactions
    histories: Histories
    visitors: Mapping[str, int]
    """User to visitor in `histories`."""
    at: float

    @cached_property
    def state(self) -> ShopState:
        """Popularity and neighbours, from the events to learn from."""
        return build_state(self.learned, self.items, at=self.at)

    @cached_property
    def available(self) -> Any:
        """Which items the shop had, (n_items,) bool."""
        return self.items.active & (self.items.first_seen <= self.at)

    def profile(self, user: str) -> Profile:
        """Return the whole history of a user, empty for a new user."""
        visitor = self.visitors.get(user, self.histories.n_visitors)
        if visitor < self.histories.n_visitors:
            return self.histories.profile(visitor, at=self.at, limit=EVERYTHING)
        none = np.empty(0, np.int32)
        moment, quantity = np.empty(0, np.float64), np.empty(0, np.float32)
        return Profile(none, none.astype(np.int8), moment, quantity, none, (), self.at)

    def before(self, seconds: float) -> tuple[Past, list[tuple[Profile, frozenset[int]]]]:
        """Return the shop `seconds` earlier, and cases: profiles of that moment with what was bought in between."""
        at = self.at - seconds
        histories = Histories(self.learned)
        n = int(np.searchsorted(self.learned.time, at))
        columns: dict[str, Any] = {name: column[:n] for name, column in self.learned.columns().items()}
        learned = dataclasses.replace(self.learned, **columns)
        earlier = Past(self.items, learned, histories, self.visitors, at)
        cases = []
        for visitor in np.random.default_rng(0).permutation(histories.buyers(at=at, until=self.at))[:N_TUNED].tolist():
            bought = histories.bought(visitor, since=at, until=self.at)
            bought = bought[earlier.available[bought]]
            if len(bought):
                cases.append((histories.profile(visitor, at=at, limit=EVERYTHING), frozenset(bought.tolist())))
        return earlier, cases


def read_past(items_path: Path, events: Sequence[EventRow], extra: Sequence[EventRow], *, at: float) -> Past:
    """Read catalogue and events into columns; a guest's order is a visitor of its own, as in the app."""
    items = _items(items_path, first_seen(items_path, events))
    row = {item_id: index for index, item_id in enumerate(items.ids)}
    visitors: dict[str, int] = {}
    orders: dict[tuple[str, str], int] = {}
    learned = _interactions([event for event in events if event.at < at], row, visitors, orders)
    everything = sorted([event for event in [*events, *extra] if event.at < at], key=lambda event: event.at)
    return Past(items, learned, Histories(_interactions(everything, row, visitors, orders)), visitors, at)


def simple_scorers(past: Past, *, window_seconds: float) -> dict[str, Callable[[], baselines.Scorer]]:
    """Return how each simple peer is fitted, by name."""
    basis = competitors.Basis(past.learned, past.items, past.state)

    def blend() -> baselines.Scorer:
        earlier, cases = past.before(window_seconds)
        items = dataclasses.replace(earlier.items, active=earlier.available)
        return competitors.blend(competitors.tuned_weights(earlier.state, items, cases))

    def ease() -> baselines.Scorer:
        scorer = competitors.ease(basis)
        if scorer is None:
            raise InputError(f"EASE is fitted for {competitors.MOST_ITEMS} items with a past at most: leave it out.")
        return scorer

    return {
        "random": baselines.random_order,
        "popularity, 14 days": lambda: popularity(past, days=14),
        "own frequency + popularity": lambda: baselines.own_frequency,
        "item-kNN": lambda: baselines.item_knn,
        "TIFU-KNN": lambda: competitors.tifu_knn(basis),
        "EASE": ease,
        "tuned blend": blend,
        "Markov chain of orders": lambda: next_orders,
        "MiniLM neighbours of the last order": lambda: text_neighbours(past.items.texts),
        "implicit ALS": lambda: tuned_als(past, window_seconds=window_seconds),
    }


def popularity(past: Past, *, days: float) -> baselines.Scorer:
    """Purchases of the last days."""
    since = np.searchsorted(past.learned.time, past.at - days * DAY_SECONDS)
    bought = past.learned.item[since:][past.learned.type[since:] == _PURCHASE]
    count = np.bincount(bought, minlength=len(past.items)).astype(np.float32)

    def score(profile: Profile, state: ShopState, items: ItemTable) -> FloatArray:
        return count + TIE_BREAK * state.popularity[:, 3]

    return score


def next_orders(profile: Profile, state: ShopState, items: ItemTable) -> FloatArray:
    """What followed the items of the last order in the next orders of others, then popularity."""
    own = np.unique(purchases(profile).last())
    following, score = state.sequel.spread(own, np.ones(len(own), np.float32))
    total = np.bincount(following, weights=score, minlength=len(items))
    return (total + TIE_BREAK * state.popularity[:, 2]).astype(np.float32)


def text_neighbours(texts: Sequence[str]) -> baselines.Scorer:
    """Cosine of untuned MiniLM with the mean of the last order, then popularity."""
    from recommender.ml.encoder.model import load_encoder

    vectors = load_encoder("").encode(texts, batch_texts=16)

    def score(profile: Profile, state: ShopState, items: ItemTable) -> FloatArray:
        own = np.unique(purchases(profile).last())
        total = vectors @ vectors[own].mean(axis=0) if len(own) else np.zeros(len(items), np.float32)
        return np.asarray(total + TIE_BREAK * state.popularity[:, 2], np.float32)

    return score


def tuned_als(past: Past, *, window_seconds: float) -> baselines.Scorer:
    """Alternating least squares of the package implicit; its confidence is chosen by the window before the test."""
    earlier, cases = past.before(window_seconds)

    def quality(alpha: float) -> float:
        score = als(earlier, alpha=alpha)
        lists = (
            competitors.best_rows(
                np.where(earlier.available, score(profile, earlier.state, earlier.items), -np.inf), 10
            )
            for profile, _ in cases
        )
        return sum(metrics.ndcg_at_k(ranked, truth) for ranked, (_, truth) in zip(lists, cases, strict=True))

    chosen = max(ALS_ALPHAS, key=quality)
    print(f"  ALS: confidence {chosen:g} of {ALS_ALPHAS}", flush=True)
    return als(past, alpha=chosen)


def als(past: Past, *, alpha: float, seed: int = 0) -> baselines.Scorer:
    """Implicit ALS on log(1 + orders); a visitor's factors are solved from the profile, so all can be ranked for."""
    from implicit.als import AlternatingLeastSquares

    bought = past.learned.type == _PURCHASE
    visitor, item = past.learned.visitor[bought], past.learned.item[bought]
    shape = (int(visitor.max()) + 1, len(past.items))
    matrix = sparse.csr_matrix((np.ones(len(visitor), np.float32), (visitor, item)), shape)
    matrix.data = np.log1p(matrix.data)
    model = AlternatingLeastSquares(
        factors=ALS_FACTORS, regularization=ALS_PENALTY, alpha=alpha, iterations=ALS_ROUNDS, num_threads=1,
        random_state=seed,
    )  # fmt: skip
    model.fit(matrix, show_progress=False)
    factors = np.asarray(model.item_factors, np.float32)

    def score(profile: Profile, state: ShopState, items: ItemTable) -> FloatArray:
        own, count = np.unique(purchases(profile).item, return_counts=True)
        total = TIE_BREAK * state.popularity[:, 2]
        if len(own):
            values = np.log1p(count).astype(np.float32)
            row = sparse.csr_matrix((values, (np.zeros(len(own), np.int64), own)), (1, len(items)))
            total = total + factors @ model.recalculate_user(0, row)
        return np.asarray(total, np.float32)

    return score


def _items(path: Path, seen: Mapping[str, dt.datetime]) -> ItemTable:
    rows = {row["item_id"]: row for row in read(path, "item_id") if row["item_id"]}
    names = ("title", "category", "brand", "description")
    return ItemTable(
        ids=tuple(rows),
        texts=tuple(" ".join(row[name] for name in names if row.get(name, "").strip()) for row in rows.values()),
        price=np.full(len(rows), np.nan, np.float32),
        category=np.full(len(rows), -1, np.int32),
        category_names=(),
        first_seen=np.asarray([seen[item_id].timestamp() for item_id in rows]),
        active=np.ones(len(rows), bool),
    )


def _interactions(
    events: Sequence[EventRow], row: Mapping[str, int], visitors: dict[str, int], orders: dict[tuple[str, str], int]
) -> Interactions:
    """Build the columns of events of items in the catalogue, ascending by time; extends `visitors` and `orders`."""
    events = [event for event in events if event.item in row]
    names = [event.user or f"order {event.order}" for event in events]
    basket = [
        orders.setdefault((name, event.order), len(orders)) if event.order else -1
        for name, event in zip(names, events, strict=True)
    ]
    return Interactions(
        visitor=np.asarray([visitors.setdefault(name, len(visitors)) for name in names], np.int32),
        item=np.asarray([row[event.item] for event in events], np.int32),
        type=np.asarray([EVENT_CODES[EventType(event.type)] for event in events], np.int8),
        time=np.asarray([event.at for event in events], np.float64),
        quantity=np.asarray([event.quantity for event in events], np.float32),
        basket=np.asarray(basket, np.int32),
        query=np.full(len(events), -1, np.int32),
    )
