"""Reads an events file, ascending by time; without times each user's positions count as days."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.workbench import InputError, number, read

DAY = 86_400.0
LAST_POSITION = dt.datetime(2020, 1, 1, tzinfo=dt.UTC).timestamp()
"""Where events have a position instead of a time, each user's last one happened on this day, the one before a day
earlier: so "the next event" is the next day for everybody, and a moment of training holds one event of each."""

NAMES = {"cancel": "refund", "": "purchase"}


@dataclass(frozen=True, slots=True)
class EventRow:
    """One row of an events file: `at` in seconds since the epoch, UTC."""

    user: str
    item: str
    type: str
    at: float
    quantity: float
    price: float
    order: str
    country: str


def read_events(path: Path) -> tuple[list[EventRow], bool]:
    """Return the events ascending by time, and whether they have one; else `position` orders each user's."""
    from recommender.types import EventType

    rows = list(read(path, "user_id", "item_id"))
    has_clock = bool(rows) and "timestamp" in rows[0]
    if rows and not has_clock and "position" not in rows[0]:
        raise InputError(f"{path} has neither a column timestamp nor position: one of them must order the events.")
    days = None if has_clock else _days_of_positions(rows)
    kinds, events, n_bad = {kind.value for kind in EventType}, [], 0
    for index, row in enumerate(rows):
        kind = NAMES.get(row.get("event_type", ""), row.get("event_type", ""))
        at = seconds_of(row["timestamp"]) if days is None else days[index]
        if kind not in kinds or at is None or not row["item_id"]:
            n_bad += 1
            continue
        events.append(
            EventRow(
                row["user_id"],
                row["item_id"],
                kind,
                at,
                max(number(row.get("quantity", ""), default=1.0), 0.0) or 1.0,
                number(row.get("unit_price") or row.get("price") or ""),
                row.get("order_id", ""),
                row.get("country", ""),
            )
        )
    if n_bad:
        print(f"{n_bad} of {len(rows)} events left out: no item, no time, or a type that is not one of {sorted(kinds)}")
    if not events:
        raise InputError(f"{path} holds no usable event.")
    events.sort(key=lambda event: event.at)  # stable: events of one moment keep the order of the file
    return events, has_clock


def moment_of(text: str, events: Sequence[EventRow]) -> float:
    """Read --at; empty: just after the last event. Raises InputError."""
    if not text:
        return events[-1].at + 1.0
    at = seconds_of(text)
    if at is None:
        raise InputError(f"--at {text!r} is no time: write it as 2011-11-10T00:00.")
    if not any(event.at < at for event in events):
        raise InputError(f"--at {text} is before the first event: nothing could be learned.")
    return at


def first_seen(items: Path, events: Sequence[EventRow]) -> dict[str, dt.datetime]:
    """When each item came into the shop: as its row says, at the latest with its first event, else from the start."""
    first: dict[str, float] = {}
    for event in events:
        first.setdefault(event.item, event.at)
    start = events[0].at
    moments = {}
    for row in read(items, "item_id"):
        listed = seconds_of(row.get("first_seen", "")) or start
        seconds = min(listed, first.get(row["item_id"], listed))
        moments[row["item_id"]] = dt.datetime.fromtimestamp(seconds, dt.UTC)
    return moments


def seconds_of(text: str) -> float | None:
    """Read a time, UTC where it says no other, or seconds since the epoch; None where it is neither."""
    try:
        moment = dt.datetime.fromisoformat(text.strip())
    except ValueError:
        seconds = number(text)
        return seconds if seconds == seconds and seconds > 0 else None
    return (moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)).timestamp()


def _days_of_positions(rows: Sequence[dict[str, str]]) -> list[float | None]:
    """Give each event its day: the last of a user on the last day, whoever has one before it a day earlier."""
    ordered: dict[str, list[tuple[float, int]]] = {}
    for index, row in enumerate(rows):
        ordered.setdefault(row["user_id"], []).append((number(row["position"]), index))
    times: list[float | None] = [None] * len(rows)
    for of_user in ordered.values():
        numbered = sorted(pair for pair in of_user if pair[0] == pair[0])
        for back, (_, index) in enumerate(reversed(numbered)):
            times[index] = LAST_POSITION - back * DAY
    return times
