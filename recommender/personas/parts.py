"""The parts of the description of a visitor: interests, prices, rhythm and orders, as values."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field

from recommender.personas import wording


@dataclass(frozen=True, slots=True)
class ActionCounts:
    """How often each thing was done."""

    n_bought: int = 0
    n_carted: int = 0
    n_viewed: int = 0
    n_searched: int = 0
    n_returned: int = 0

    def in_words(self) -> str:
        """Return "12 bought, 3 viewed"."""
        return wording.actions_in_words(self)


@dataclass(frozen=True, slots=True)
class Interest:
    """A kind of goods; `share` in (0, 1] is its part of all decayed evidence.

    kind: "category", "words" that several items or queries share, or "item" for a title that shares no word.
    """

    name: str
    kind: str
    evidence: ActionCounts
    share: float
    last_at: dt.datetime
    item_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PriceBand:
    """Quartiles of the unit prices of what was bought, or looked at if nothing was; `level` in [0, 1] is the rank of
    the middle one in the catalogue."""

    low: float
    middle: float
    high: float
    level: float
    text: str


@dataclass(frozen=True, slots=True)
class Rhythm:
    """Hours with an event, by weekday (7, Monday first) and by hour of the day (24), in local time."""

    weekdays: tuple[int, ...]
    hours: tuple[int, ...]
    text: str


@dataclass(frozen=True, slots=True)
class RepeatCycle:
    """Days between orders; `repeated` are (item id, number of orders), most often first."""

    n_orders: int
    median_days: float | None
    due_at: dt.datetime | None
    repeated: tuple[tuple[str, int], ...]
    text: str


@dataclass(frozen=True, slots=True)
class PersonaDescription:
    """The description of one visitor; without events it says that nothing is known."""

    headline: str
    n_events: int = 0
    evidence: ActionCounts = field(default_factory=ActionCounts)
    interests: tuple[Interest, ...] = ()
    words: tuple[Interest, ...] = ()
    price_band: PriceBand | None = None
    rhythm: Rhythm | None = None
    repeat_cycle: RepeatCycle | None = None
    device: str = ""
    first_at: dt.datetime | None = None
    last_at: dt.datetime | None = None
