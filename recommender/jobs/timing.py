"""When recurring work is due: after a time, or at the minutes of a crontab, in UTC."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from django.core import checks

from recommender import conf
from recommender.exceptions import ConfigurationError

DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
"""Sunday is 0, as in every crontab."""

MINUTE, DAY = dt.timedelta(minutes=1), dt.timedelta(days=1)
DAYS_LOOKED_BACK = 8
"""A crontab of minute, hour and day of week comes round within a week."""


@dataclass(frozen=True, slots=True)
class Crontab:
    """The times of `TRAINING_SCHEDULE`: minute, hour and day of week, each the set of its numbers."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]

    @classmethod
    def of(cls, declared: Any) -> Crontab:
        """Read `("0", "3", "*")`. Raises ConfigurationError that shows what is expected."""
        if isinstance(declared, str) or not isinstance(declared, Sequence) or len(declared) != 3:
            raise ConfigurationError(_expected(declared))
        minute, hour, day = declared
        try:
            return cls(_numbers(minute, 60), _numbers(hour, 24), _numbers(day, 7, DAYS))
        except ValueError as error:
            raise ConfigurationError(f"{_expected(declared)} {error}") from error

    def last(self, now: dt.datetime) -> dt.datetime:
        """The newest minute of the crontab that is not after `now`, in UTC."""
        now = now.astimezone(dt.UTC).replace(second=0, microsecond=0)
        midnight = now.replace(hour=0, minute=0)
        for n_days in range(DAYS_LOOKED_BACK):
            day = midnight - n_days * DAY
            if day.isoweekday() % 7 not in self.days:
                continue
            for hour in sorted(self.hours, reverse=True):
                for minute in sorted(self.minutes, reverse=True):
                    moment = day.replace(hour=hour, minute=minute)
                    if moment <= now:
                        return moment
        raise AssertionError("every crontab that was read comes round within a week")


def due_since(every: dt.timedelta | Crontab, now: dt.datetime) -> dt.datetime:
    """Work that last started before this moment is due."""
    return every.last(now) if isinstance(every, Crontab) else now - every


def check_schedule(app_configs: Any, **_: Any) -> list[checks.CheckMessage]:
    """E004: a `TRAINING_SCHEDULE` that no crontab is."""
    declared = conf.get("TRAINING_SCHEDULE")
    if not declared:
        return []
    try:
        Crontab.of(declared)
    except ConfigurationError as error:
        hint = f"The default is {conf.DEFAULTS['TRAINING_SCHEDULE']!r}, every night at three; None switches it off."
        return [checks.Error(str(error), hint=hint, id="recommender.E004")]
    return []


def _expected(declared: Any) -> str:
    return (
        "RECOMMENDER['TRAINING_SCHEDULE'] must be three parts of a crontab, minute, hour and day of week, "
        f'such as ("30", "3", "mon-fri"), not {declared!r}.'
    )


def _numbers(declared: Any, size: int, names: Sequence[str] = ()) -> frozenset[int]:
    """The numbers that one part means: "*", "*/15", "1-5", "0,30", a name, a number or several."""
    if isinstance(declared, int):
        declared = str(declared)
    parts = declared.split(",") if isinstance(declared, str) else [str(part) for part in _iterated(declared)]
    numbers = frozenset(number for part in parts for number in _range(part.strip().lower(), size, names))
    if not numbers:
        raise ValueError(f"{declared!r} names no time.")
    return numbers


def _iterated(declared: Any) -> Iterable[Any]:
    if not isinstance(declared, Iterable):
        raise ValueError(f"{declared!r} is no part of a crontab.")
    return declared


def _range(part: str, size: int, names: Sequence[str]) -> range | list[int]:
    span, _, step = part.partition("/")
    if step and (not step.isdigit() or int(step) == 0):
        raise ValueError(f"{part!r} steps by no number.")
    if span == "*":
        return range(0, size, int(step or 1))
    first, is_span, last = span.partition("-")
    start = _number(first, size, names)
    if not is_span:
        return [start] if not step else range(start, size, int(step))
    stop = _number(last, size, names)
    length = (stop - start) % size + 1  # "fri-mon" goes over the end of the week
    return [(start + offset) % size for offset in range(0, length, int(step or 1))]


def _number(text: str, size: int, names: Sequence[str]) -> int:
    if names and text[:3] in names:
        return names.index(text[:3])
    if not text.isdigit():
        raise ValueError(f"{text!r} is no number.")
    number = int(text) % size if names and int(text) == size else int(text)  # 7 is a Sunday too
    if number >= size:
        raise ValueError(f"{text} is more than {size - 1}.")
    return number
