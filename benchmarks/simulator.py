"""A planted truth: shoppers whose likings depend on known circumstances, and who look down lists in a known way.

    python -m benchmarks.simulator --visitors 400 --visits 8 --seed 0

It is a check that a model can recover what is there, and never evidence that a shop gains from it: every dependence
was put in by hand. An item is of one kind. What a shopper takes up is drawn from softmax(utility), with

    utility = own liking of the kind + device, hour, weekday, region, current item and query where they favour the kind
              + popularity of the item.

A list shown is looked at from the top: the place k is examined with probability `EXAMINATION[k]`, an examined item is
clicked with a probability that grows with its utility (the examination hypothesis, Richardson et al. 2007; the position
bias model of Joachims et al. 2017, section 2), a click becomes a cart and a cart a purchase with fixed probabilities.
"""

from __future__ import annotations

import argparse
import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from recommender.tables import Interactions, ItemTable
from recommender.types import EVENT_CODES, EventType, FloatArray, IntArray, Slot

KINDS = (
    "teapot", "lantern", "cushion", "notebook", "garland", "umbrella", "puzzle", "apron", "candle", "kite", "lamp",
    "bell",
)  # fmt: skip
COLOURS = ("red", "blue", "green", "white", "black", "golden", "pink", "grey", "purple", "yellow")
DEVICES, REGIONS = ("mobile", "tablet", "desktop"), ("GB", "DE", "FR")

FAVOURS: Mapping[str, Mapping[object, int]] = {
    "device": {"mobile": 0, "tablet": 1, "desktop": 2},
    "hour": {"morning": 3, "evening": 4},
    "weekday": {"weekend": 5},
    "region": {"GB": 6, "DE": 7, "FR": 8},
}
"""The kind that each circumstance favours."""

STRENGTH: Mapping[str, float] = {
    "own": 2.0, "device": 1.5, "hour": 1.5, "weekday": 1.5, "region": 1.5, "current": 2.5, "query": 4.0,
}  # fmt: skip
"""What it adds to the utility."""

N_POSITIONS = 10
EXAMINATION: FloatArray = (1 / np.arange(1, N_POSITIONS + 1) ** 0.8).astype(np.float32)
"""Chance that the shopper looks at each place of a list."""

CLICK_AT_ZERO, CART_SHARE, PURCHASE_SHARE = -2.5, 0.4, 0.5
"""Log-odds of a click on an examined item of utility 0; share of clicks that become a cart, of carts a purchase."""

MONDAY = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)


@dataclass(frozen=True, slots=True)
class Circumstances:
    """One request. `current` is a row of the catalogue and `query_kind` a kind, -1 for none."""

    visitor: int
    at: dt.datetime
    device: str
    region: str
    slot: Slot = Slot.HOME
    current: int = -1
    query_kind: int = -1


@dataclass(frozen=True, slots=True)
class Impressions:
    """Lists as they were shown, row by row, and what happened to each place.

    time (n,) float64; visitor (n,) int32; slot (n,): code of `Slot` in its order; current (n,) int32: item beside which
    the list stood, -1 for none; query (n,) int32: row in `Interactions.queries`, -1 for none; item (n, N_POSITIONS)
    int32; examined, clicked, carted, bought (n, N_POSITIONS) bool; attraction (n, N_POSITIONS) float32: the true
    P(click | examined). `examined` and `attraction` are the truth, which no shop sees. Ascending by time.
    """

    time: npt.NDArray[np.float64]
    visitor: IntArray
    slot: npt.NDArray[np.int8]
    current: IntArray
    query: IntArray
    item: IntArray
    clicked: npt.NDArray[np.bool_]
    carted: npt.NDArray[np.bool_]
    bought: npt.NDArray[np.bool_]
    examined: npt.NDArray[np.bool_]
    attraction: FloatArray

    def __len__(self) -> int:
        return len(self.time)


@dataclass(frozen=True, slots=True)
class Shop:
    """The truth: the kind of each item, its popularity, and the kind that each shopper likes."""

    items: ItemTable
    kind: IntArray
    popularity: FloatArray
    likes: IntArray
    strength: Mapping[str, float] = field(default_factory=lambda: dict(STRENGTH))

    def utility(self, request: Circumstances) -> FloatArray:
        """Return (n_items,) float32: what the shopper would get from each item, under these circumstances."""
        of_kind = np.zeros(len(KINDS), np.float32)
        of_kind[self.likes[request.visitor]] += self.strength["own"]
        for name, value in circumstances_by_name(request).items():
            if value in FAVOURS[name]:
                of_kind[FAVOURS[name][value]] += self.strength[name]
        if request.current >= 0:
            of_kind[self.kind[request.current]] += self.strength["current"]
        if request.query_kind >= 0:
            of_kind[request.query_kind] += self.strength["query"]
        return of_kind[self.kind] + self.popularity

    def probabilities(self, request: Circumstances) -> FloatArray:
        """Return (n_items,) float32, sum 1: the true chance of each item to be the next that is taken up."""
        value = np.exp(self.utility(request))
        return (value / value.sum()).astype(np.float32)

    def attraction(self, request: Circumstances) -> FloatArray:
        """Return (n_items,) float32: the true P(click | examined)."""
        return (1 / (1 + np.exp(-(CLICK_AT_ZERO + self.utility(request))))).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Simulation:
    """What a shop would have recorded, and the truth behind it; requests[i] led to row i of `impressions`."""

    shop: Shop
    interactions: Interactions
    impressions: Impressions
    requests: tuple[Circumstances, ...]


def simulate(
    *,
    n_visitors: int = 400,
    n_visits: int = 8,
    n_per_kind: int = 10,
    n_picks: int = 3,
    seed: int = 0,
    strength: Mapping[str, float] | None = None,
) -> Simulation:
    """Let shoppers come every three days: a look or a search or neither, a list, clicks, and `n_picks` of their own.

    What they pick on their own is drawn from `Shop.probabilities` and bought. The logged list is a draw that leans to
    what is popular, so that good items also stand low and bad ones high. `strength` changes `STRENGTH`.
    """
    generator = np.random.default_rng(seed)
    shop = _shop(n_visitors, n_per_kind, {**STRENGTH, **(strength or {})}, generator)
    log, shown = _Log(), list[dict[str, object]]()
    requests = [
        _request(shop, visitor, 3 * visit, generator) for visit in range(n_visits) for visitor in range(n_visitors)
    ]
    requests.sort(key=lambda request: (request.at, request.visitor))
    for request in requests:
        log.begin(request)
        shown.append(_show(shop, request, log, generator))
        for _ in range(n_picks):
            log.add(EventType.PURCHASE, int(generator.choice(len(shop.items), p=_p(shop.probabilities(request)))))
    return Simulation(shop, log.interactions(), _impressions(shown, requests), tuple(requests))


def circumstances_by_name(request: Circumstances) -> dict[str, object]:
    """Return the circumstances by name as `FAVOURS` knows them."""
    part = "morning" if 6 <= request.at.hour < 12 else "evening" if 17 <= request.at.hour < 23 else "else"
    day = "weekend" if request.at.weekday() >= 5 else "weekday"
    return {"device": request.device, "hour": part, "weekday": day, "region": request.region}


def vectors(shop: Shop, *, dimension: int = 48, noise: float = 0.5, seed: int = 0) -> tuple[FloatArray, FloatArray]:
    """Return (n_items, d) and (n_kinds, d) of unit length: an encoder that has understood titles and queries."""
    generator = np.random.default_rng(seed)
    kinds = generator.normal(size=(len(KINDS), dimension))
    own = kinds[shop.kind] + noise * generator.normal(size=(len(shop.items), dimension))
    return _unit(own), _unit(kinds)


class _Log:
    """Gathers events, a visit at a time."""

    def __init__(self) -> None:
        self.rows: list[tuple[float, int, int, int, int, int, int]] = []
        self.request: Circumstances | None = None
        self.second, self.visit = 0, -1

    def begin(self, request: Circumstances) -> None:
        self.request, self.second, self.visit = request, 0, self.visit + 1
        if request.current >= 0:
            self.add(EventType.VIEW_ITEM, request.current)
        if request.query_kind >= 0:
            self.add(EventType.SEARCH, -1, request.query_kind)

    def add(self, kind: EventType, item: int, query: int = -1) -> None:
        request = self.request
        assert request is not None
        basket = self.visit if kind is EventType.PURCHASE else -1
        self.rows.append((
            request.at.timestamp() + self.second, request.visitor, item, EVENT_CODES[kind], basket, query,
            DEVICES.index(request.device) * len(REGIONS) + REGIONS.index(request.region),
        ))  # fmt: skip
        self.second += 5

    def interactions(self) -> Interactions:
        time, visitor, item, kind, basket, query, device_and_region = (
            np.asarray(column) for column in zip(*sorted(self.rows), strict=True)
        )
        return Interactions(
            visitor=visitor.astype(np.int32),
            item=item.astype(np.int32),
            type=kind.astype(np.int8),
            time=time.astype(np.float64),
            quantity=np.ones(len(time), np.float32),
            basket=basket.astype(np.int32),
            query=query.astype(np.int32),
            queries=KINDS,
            device=(device_and_region // len(REGIONS)).astype(np.int32),
            region=(device_and_region % len(REGIONS)).astype(np.int32),
            devices=DEVICES,
            regions=REGIONS,
        )


def _shop(n_visitors: int, n_per_kind: int, strength: Mapping[str, float], generator: np.random.Generator) -> Shop:
    kind = np.repeat(np.arange(len(KINDS), dtype=np.int32), n_per_kind)
    texts = tuple(f"{COLOURS[n % len(COLOURS)]} {KINDS[k]} {n}" for n, k in enumerate(kind.tolist()))
    n = len(kind)
    items = ItemTable(
        ids=tuple(f"item-{row}" for row in range(n)),
        texts=texts,
        price=generator.lognormal(1.5, 0.6, n).astype(np.float32),
        category=np.full(n, -1, np.int32),
        category_names=(),
        first_seen=np.zeros(n),
        active=np.ones(n, bool),
    )
    popularity = (0.5 * generator.normal(size=n)).astype(np.float32)
    return Shop(items, kind, popularity, generator.integers(len(KINDS), size=n_visitors).astype(np.int32), strength)


def _request(shop: Shop, visitor: int, days: int, generator: np.random.Generator) -> Circumstances:
    at = MONDAY + dt.timedelta(days=days, hours=int(generator.integers(24)), minutes=int(generator.integers(60)))
    slot = (Slot.HOME, Slot.SIMILAR, Slot.SEARCH)[generator.choice(3, p=(0.5, 0.25, 0.25))]
    return Circumstances(
        visitor=visitor,
        at=at,
        device=DEVICES[generator.integers(len(DEVICES))],
        region=REGIONS[generator.integers(len(REGIONS))],
        slot=slot,
        current=int(generator.integers(len(shop.items))) if slot is Slot.SIMILAR else -1,
        query_kind=int(generator.integers(len(KINDS))) if slot is Slot.SEARCH else -1,
    )


def _show(shop: Shop, request: Circumstances, log: _Log, generator: np.random.Generator) -> dict[str, object]:
    """Show a list and follow the shopper down it."""
    lean = shop.popularity + generator.gumbel(size=len(shop.items))
    rows = np.argsort(-lean)[:N_POSITIONS].astype(np.int32)
    attraction = shop.attraction(request)[rows]
    examined = generator.random(N_POSITIONS) < EXAMINATION
    clicked = examined & (generator.random(N_POSITIONS) < attraction)
    carted = clicked & (generator.random(N_POSITIONS) < CART_SHARE)
    bought = carted & (generator.random(N_POSITIONS) < PURCHASE_SHARE)
    for position in np.flatnonzero(clicked).tolist():
        log.add(EventType.SELECT_ITEM, int(rows[position]))
        if carted[position]:
            log.add(EventType.ADD_TO_CART, int(rows[position]))
        if bought[position]:
            log.add(EventType.PURCHASE, int(rows[position]))
    return {
        "item": rows, "clicked": clicked, "carted": carted, "bought": bought, "examined": examined,
        "attraction": attraction,
    }  # fmt: skip


def _impressions(shown: list[dict[str, Any]], requests: list[Circumstances]) -> Impressions:
    slots = list(Slot)
    columns = {name: np.stack([row[name] for row in shown]) for name in shown[0]}
    return Impressions(
        time=np.asarray([request.at.timestamp() for request in requests]),
        visitor=np.asarray([request.visitor for request in requests], np.int32),
        slot=np.asarray([slots.index(request.slot) for request in requests], np.int8),
        current=np.asarray([request.current for request in requests], np.int32),
        query=np.asarray([request.query_kind for request in requests], np.int32),
        **columns,
    )


def _p(probabilities: FloatArray) -> npt.NDArray[np.float64]:
    exact = probabilities.astype(np.float64)
    return exact / exact.sum()


def _unit(rows: npt.NDArray[np.float64]) -> FloatArray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--visitors", type=int, default=400)
    parser.add_argument("--visits", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    simulation = simulate(n_visitors=options.visitors, n_visits=options.visits, seed=options.seed)
    shown = simulation.impressions
    events, items = simulation.interactions, simulation.shop.items
    print(f"{len(events)} events, {len(shown)} lists, {len(items)} items, seed {options.seed}")
    print("place  examined (true)  clicked  P(click | examined)")
    for position in range(N_POSITIONS):
        seen = shown.examined[:, position]
        print(
            f"{position + 1:>5}  {EXAMINATION[position]:>15.2f}  {shown.clicked[:, position].mean():7.3f}  "
            f"{shown.clicked[seen, position].mean():19.3f}"
        )


if __name__ == "__main__":
    main()
