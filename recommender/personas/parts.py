"""The description of a visitor and its parts, as values."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

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
    """A category, a term that several items or queries share, or a title that shares none; with its counts.

    share: in (0, 1], its part of all decayed evidence.
    """

    name: str
    evidence: ActionCounts
    share: float
    last_at: dt.datetime


@dataclass(frozen=True, slots=True)
class Rhythm:
    """Hours with an event, by weekday (7, Monday first) and by hour of the day (24), in local time."""

    weekdays: tuple[int, ...]
    hours: tuple[int, ...]
    text: str


@dataclass(frozen=True, slots=True)
class PersonaDescription:
    """The description of one visitor; without events it says that nothing is known.

    prices, orders: a sentence, or "" if nothing is known; repeated: (item id, number of orders), most often first.
    """

    headline: str
    n_events: int = 0
    interests: tuple[Interest, ...] = ()
    words: tuple[Interest, ...] = ()
    prices: str = ""
    rhythm: Rhythm | None = None
    orders: str = ""
    repeated: tuple[tuple[str, int], ...] = ()
    device: str = ""
