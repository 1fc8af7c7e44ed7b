"""How corrections of interests are stored on a visitor's row, and what those of all rows of a person come to."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

PINNED, MUTED = "pinned", "muted"


class Corrections(NamedTuple):
    """What staff corrected of a person's interests, by their names: pinned ones come first, muted ones count for
    nothing."""

    pinned: tuple[str, ...] = ()
    muted: tuple[str, ...] = ()


UNCORRECTED = Corrections()


@dataclass(frozen=True, slots=True)
class Correction:
    """One corrected interest. what: `PINNED` or `MUTED`; by: primary key of the member of staff, as text."""

    interest: str
    what: str
    at: dt.datetime
    by: str = ""

    def stored(self) -> dict[str, str]:
        """The correction as a value of the column `Visitor.corrections`."""
        return {"interest": self.interest, "what": self.what, "at": self.at.isoformat(), "by": self.by}


def merged(columns: Iterable[Any]) -> tuple[Correction, ...]:
    """The corrections of a person from the columns of all their visitors, the oldest first; of two for one interest the
    later one."""
    latest: dict[str, Correction] = {}
    for column in _different(columns):
        for entry in column or ():
            at = dt.datetime.fromisoformat(entry["at"])
            correction = Correction(entry["interest"], entry["what"], at, entry.get("by", ""))
            before = latest.get(correction.interest)
            if before is None or before.at < at:
                latest[correction.interest] = correction
    return tuple(sorted(latest.values(), key=lambda correction: (correction.at, correction.interest)))


def _different(columns: Iterable[Any]) -> Iterator[Any]:
    """The columns without those that repeat the one before: a history has one for each event."""
    before = None
    for column in columns:
        if column != before:
            yield column
        before = column


def corrections_of(columns: Iterable[Any]) -> Corrections:
    """The same, as lists are computed from it."""
    entries = merged(columns)
    return Corrections(
        tuple(entry.interest for entry in entries if entry.what == PINNED),
        tuple(entry.interest for entry in entries if entry.what == MUTED),
    )


def exported(column: Any) -> list[dict[str, str]]:
    """A column as the person may read it: without who of the staff it was."""
    return [{name: entry[name] for name in ("interest", "what", "at")} for entry in column or ()]
