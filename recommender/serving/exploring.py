"""Gives the last position of some lists to an item that the ranker would not have shown there, with a chance that is
logged: what is never shown is never learned about, and only known chances let a log answer for another ranker."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np

from recommender import conf
from recommender.exceptions import ConfigurationError
from recommender.experiments import exploring
from recommender.experiments.exploring import EPSILON, THOMPSON
from recommender.serving.shelf import Shelf
from recommender.types import Entry, Ranking, Slot

logger = logging.getLogger(__name__)

POOL_SIZE = 12
"""Items of which one is drawn: the ranker's own choice and those that follow it."""

PLACES_PER_EXPLORED = 10
"""At most one position in so many explores; a shorter list explores at its last one as much less often."""

WAYS = (EPSILON, THOMPSON)

_logged: set[str] = set()


@dataclass(frozen=True, slots=True)
class Exploration:
    """How a slot explores: in `rate` of the lists of ten positions, by `how`."""

    how: str
    rate: float


def declared_explorations() -> dict[Slot, Exploration]:
    """What the setting `EXPLORE` says; nothing, and one line in the log, for a value that cannot be meant."""
    declared = conf.get("EXPLORE")
    if not declared:
        return {}
    try:
        return explorations_of(declared)
    except ConfigurationError as error:
        if str(error) not in _logged:
            logger.error("no list explores: %s", error)
            _logged.add(str(error))
        return {}


def explorations_of(declared: Any) -> dict[Slot, Exploration]:
    """The slots that explore. Raises ConfigurationError for a slot or a value that cannot be meant."""
    if not isinstance(declared, Mapping):
        raise ConfigurationError(_expected("", declared))
    return {_slot(name, value): _exploration(name, value) for name, value in declared.items()}


def _slot(name: Any, declared: Any) -> Slot:
    if name not in list(Slot) or name == Slot.SEARCH:
        raise ConfigurationError(_expected(name, declared))
    return Slot(name)


def _exploration(name: Any, declared: Any) -> Exploration:
    values: dict[str, Any] = {"how": EPSILON, "rate": 0.1} | dict(
        declared if isinstance(declared, Mapping) else {"how": declared}
    )
    how, rate = values.pop("how"), values.pop("rate")
    is_share = isinstance(rate, int | float) and not isinstance(rate, bool) and 0 < rate <= 1
    if values or how not in WAYS or not is_share:
        raise ConfigurationError(_expected(name, declared))
    return Exploration(how, float(rate))


def _expected(name: Any, declared: Any) -> str:
    return (
        f"EXPLORE has {name!r}: {declared!r}. Expected a slot other than search, and "
        '{"how": "epsilon" or "thompson", "rate": a share above 0 and up to 1}.'
    )


def explored(ranking: Ranking, shelf: Shelf, exploration: Exploration, *, limit: int) -> Ranking:
    """The first `limit` entries, the last of them drawn from those that stood there or behind.

    Only what can be bought and what no rule pins is drawn. The chances of the draw are those of the item over all lists
    of this kind: also where the ranker's own choice stays.
    """
    head, tail = ranking.entries[: limit - 1], ranking.entries[limit - 1 :]
    drawable = (entry for entry in tail if not entry.pinned and (entry.live is None or entry.live.available))
    pool = list(islice(drawable, POOL_SIZE))
    if len(pool) < 2 or tail[0].pinned:
        return replace(ranking, entries=ranking.entries[:limit])
    generator = np.random.default_rng()
    chances = _chances(pool, shelf, exploration, min(1.0, limit / PLACES_PER_EXPLORED), generator)
    chosen = exploring.draw(chances, generator=generator)
    drawn = replace(pool[chosen], position=pool[0].position, propensity=float(chances[chosen]))
    return replace(ranking, entries=(*head, drawn), pool=tuple(entry.item_id for entry in pool))


def _chances(
    pool: list[Entry], shelf: Shelf, exploration: Exploration, share: float, generator: np.random.Generator
) -> exploring.Chances:
    rate = exploration.rate * share
    if exploration.how == EPSILON:
        return exploring.epsilon_chances(len(pool), rate)
    predicted = np.array([entry.score for entry in pool])
    n_events = shelf.state.counts[[shelf.index[entry.item_id] for entry in pool], -2]
    chances = rate * exploring.thompson_chances(predicted, n_events, generator=generator)
    chances[0] += 1 - rate
    return chances
