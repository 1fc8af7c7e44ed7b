"""Lists of halved orders, from which a shop with few next orders learns what else is wanted beside what is known."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from recommender.durations import DAY_SECONDS
from recommender.features import FEATURE_NAMES
from recommender.features.weights import positive_events
from recommender.ml.head.lists import Lists, ShopHistory
from recommender.ml.head.shown import States
from recommender.ml.histories import Histories
from recommender.ml.progress import UNWATCHED, Progress
from recommender.retrieval.candidates import N_CANDIDATES
from recommender.tables import Profile
from recommender.types import EVENT_CODES, EventType, IntArray

FIRST_DAYS = 3
"""Days after the first event in which no order makes a list: the shop has no statistics yet."""

VISIT_SECONDS = DAY_SECONDS
"""What the visitor did within this time before an order belongs to it, such as looks at what was then bought."""

MOST_BASKETS = 400
"""Orders that become lists: a shop with more has next orders, and 400 lists of 300 candidates take 40 MB."""

PURCHASE = EVENT_CODES[EventType.PURCHASE]


@dataclass(frozen=True, slots=True)
class Basket:
    """One order in two halves, by `time`: rows (r,) of its events that stay known, and the items (h,) to be found."""

    visitor: int
    time: float
    rows: npt.NDArray[np.int64]
    held: IntArray

    @property
    def before(self) -> float:
        """The moment up to which everything else is known."""
        return self.time - VISIT_SECONDS


def baskets(histories: Histories, *, until: float, seed: int = 0) -> list[Basket]:
    """Orders of two items or more before `until`, oldest first, each with a random half of its items held back."""
    source, generator = histories.interactions, np.random.default_rng(seed)
    if not len(source):
        return []
    is_ordered = (source.type == PURCHASE) & (source.basket >= 0) & (source.visitor >= 0) & (source.item >= 0)
    rows = np.flatnonzero(is_ordered & (source.time < until))
    orders: dict[tuple[int, int], list[int]] = {}
    for row in rows.tolist():
        orders.setdefault((int(source.visitor[row]), int(source.basket[row])), []).append(row)
    since, halved = float(source.time[0]) + FIRST_DAYS * DAY_SECONDS + VISIT_SECONDS, []
    for (visitor, _basket), lines in orders.items():
        items = generator.permutation(np.unique(source.item[lines])).astype(np.int32)
        held, time = items[: len(items) // 2], float(source.time[lines[0]])
        if len(held) and time >= since:
            known_rows = np.array(lines)[~np.isin(source.item[lines], held)]
            halved.append(Basket(visitor, time, known_rows, held))
    drawn = np.sort(generator.permutation(len(halved))[:MOST_BASKETS]).tolist()
    return sorted((halved[index] for index in drawn), key=lambda basket: basket.time)


def basket_lists(shop: ShopHistory, *, until: float, seed: int = 0, progress: Progress = UNWATCHED) -> Lists:
    """Return a list for each of `baskets`, labelled with the half that was held back.

    The profile ends a `VISIT_SECONDS` before the order, to which the known half is added; statistics are those of no
    later. What the known half holds is not new, so `Lists.new_only` leaves it out.
    """
    halved = baskets(shop.histories, until=until, seed=seed)
    rows = np.zeros((len(halved), N_CANDIDATES, len(FEATURE_NAMES)), np.float32)
    labels = np.zeros(rows.shape[:2], np.float32)
    mask, is_new = np.zeros((2, *labels.shape), bool)
    n_lists = 0
    states = States(shop, np.array([basket.before for basket in halved]))
    for basket in halved:
        if progress.should_stop():
            break
        profile, state = known_at(shop.histories, basket), states.before(basket.before)
        context = shop.vectors.context_of(profile)
        chosen = shop.candidates(profile, state, context)
        n = len(chosen)
        rows[n_lists, :n] = shop.rows(profile, chosen, state, context)
        labels[n_lists, :n] = np.isin(chosen, basket.held)
        mask[n_lists, :n] = True
        is_new[n_lists, :n] = ~np.isin(chosen, profile.item[positive_events(profile)])
        n_lists += 1
    return Lists(rows[:n_lists], labels[:n_lists], mask[:n_lists], is_new[:n_lists])


def known_at(histories: Histories, basket: Basket) -> Profile:
    """Return the profile at the time of the order: what came before the visit, then the known half."""
    source, past = histories.interactions, histories.profile(basket.visitor, at=basket.before)
    rows = basket.rows
    return replace(
        past,
        item=np.concatenate([past.item, source.item[rows]]),
        type=np.concatenate([past.type, source.type[rows]]),
        time=np.concatenate([past.time, np.minimum(source.time[rows], basket.time)]),
        quantity=np.concatenate([past.quantity, source.quantity[rows]]),
        basket=np.concatenate([past.basket, source.basket[rows]]),
        queries=(*past.queries, *[""] * len(rows)),
        now=basket.time,
    )
