"""When a recurring job is due: after an interval, or at the times of a crontab, in UTC.

The crontab is our own because Celery's is not importable in a shop without Celery.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from django.core import checks
from django.utils.translation import gettext as _

from recommender import conf
from recommender.exceptions import ConfigurationError

DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
"""Sunday is 0, as in any crontab."""

MINUTE, DAY = dt.timedelta(minutes=1), dt.timedelta(days=1)
DAYS_LOOKED_BACK = 8
"""A crontab of minute, hour and day of the week comes round within a week."""


@dataclass(frozen=True, slots=True)
class Crontab:
    """The times of `TRAINING_SCHEDULE`: the sets of minutes, hours and days of the week."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]

    @classmethod
    def of(cls, declared: Any) -> Crontab:
        """Parse a setting such as `("0", "3", "*")`. Raises ConfigurationError with an example."""
        if isinstance(declared, str) or not isinstance(declared, Sequence) or len(declared) != 3:
            raise ConfigurationError(_expected(declared))
        minute, hour, day = declared
        try:
            return cls(_numbers(minute, 60), _numbers(hour, 24), _numbers(day, 7, DAYS))
        except ValueError as error:
            raise ConfigurationError(f"{_expected(declared)} {error}") from error

    def last(self, now: dt.datetime) -> dt.datetime:
        """The latest time of the crontab that is not after `now`, in UTC."""
        now = now.astimezone(dt.UTC).replace(second=0, microsecond=0)
        midnight = now.replace(hour=0, minute=0)
        return next(
            moment
            for day in (midnight - n_days * DAY for n_days in range(DAYS_LOOKED_BACK))
            if day.isoweekday() % 7 in self.days
            for hour in sorted(self.hours, reverse=True)
            for minute in sorted(self.minutes, reverse=True)
            if (moment := day.replace(hour=hour, minute=minute)) <= now
        )


def next_time(crontab: Crontab, now: dt.datetime) -> dt.datetime:
    """The first time of the crontab after `now`, in UTC."""
    now = now.astimezone(dt.UTC)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    return next(
        moment
        for day in (midnight + n_days * DAY for n_days in range(DAYS_LOOKED_BACK))
        if day.isoweekday() % 7 in crontab.days
        for hour in sorted(crontab.hours)
        for minute in sorted(crontab.minutes)
        if (moment := day.replace(hour=hour, minute=minute)) > now
    )


def due_since(every: dt.timedelta | Crontab, now: dt.datetime) -> dt.datetime:
    """A job that last started before this moment is due."""
    return every.last(now) if isinstance(every, Crontab) else now - every


def check_schedule(app_configs: Any, **options: Any) -> list[checks.CheckMessage]:
    """E004: `TRAINING_SCHEDULE` is not a crontab."""
    declared = conf.get("TRAINING_SCHEDULE")
    if not declared:
        return []
    try:
        Crontab.of(declared)
    except ConfigurationError as error:
        hint = _("The default is %(default)r, every night at three; None switches it off.")
        hint %= {"default": conf.DEFAULTS["TRAINING_SCHEDULE"]}
        return [checks.Error(str(error), hint=hint, id="recommender.E004")]
    return []


def _expected(declared: Any) -> str:
    return _(
        "RECOMMENDER['TRAINING_SCHEDULE'] must be the minute, hour and day of the week of a crontab, "
        'such as ("30", "3", "mon-fri"), not %(value)r.'
    ) % {"value": declared}


def _numbers(declared: Any, size: int, names: Sequence[str] = ()) -> frozenset[int]:
    """The numbers that one part stands for: "*", "*/15", "1-5", "0,30", a name, a number, or a list of these."""
    if not isinstance(declared, int | Iterable):
        raise ValueError(_("%(value)r is not a part of a crontab.") % {"value": declared})
    parts = str(declared).split(",") if isinstance(declared, int | str) else [str(part) for part in declared]
    numbers = frozenset(number for part in parts for number in _range(part.strip().lower(), size, names))
    if not numbers:
        raise ValueError(_("%(value)r contains no time.") % {"value": declared})
    return numbers


def _range(part: str, size: int, names: Sequence[str]) -> range | list[int]:
    span, _slash, step = part.partition("/")
    if step and (not step.isdigit() or int(step) == 0):
        raise ValueError(_("The step of %(part)r is not a number above 0.") % {"part": part})
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
        raise ValueError(_("%(text)r is not a number.") % {"text": text})
    number = int(text) % size if names and int(text) == size else int(text)  # 7 is Sunday too
    if number >= size:
        raise ValueError(_("%(text)s is more than %(most)d.") % {"text": text, "most": size - 1})
    return number
