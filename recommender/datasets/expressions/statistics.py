"""From the events of the archive to a `ShopState`, without holding the events in memory."""

from __future__ import annotations

from ibis.expr import types as ir

from recommender.datasets.expressions.engine import Engine
from recommender.datasets.expressions.neighbours import (
    basket_neighbours,
    incidence,
    regression_neighbours,
    sequel_neighbours,
    visitor_neighbours,
)
from recommender.datasets.expressions.popularity import popularity, wanted
from recommender.features.shop_state import ShopState


def shop_state(
    engine: Engine, clean: ir.Table, *, n_items: int, at: float, fewest_buyers: int, fewest: int
) -> ShopState:
    """Compute the state of the shop before `at`, in which the neighbours that may be published are marked."""
    used = wanted(engine, clean, at=at)
    counted = popularity(engine, clean, used, n_items=n_items, at=at)
    baskets, visitors = incidence(engine, used, "basket"), incidence(engine, used, "visitor")
    state = ShopState.from_columns(
        at=at,
        counts=counted.counts,
        last_event_at=counted.last_event_at,
        first_event_at=counted.first_event_at,
        basket=basket_neighbours(engine, baskets, n_items=n_items, fewest=fewest_buyers),
        visitor=visitor_neighbours(engine, visitors, n_items=n_items, fewest=fewest),
        regression=regression_neighbours(engine, visitors, n_items=n_items),
        sequel=sequel_neighbours(engine, used, n_items=n_items),
    )
    engine.drop(used, baskets, visitors)
    return state
