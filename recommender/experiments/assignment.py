"""Who is in which arm of an experiment: by a hash, so that nobody changes sides and nothing has to be stored."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

CONTROL, VARIANT = "a", "b"

_SPACE = float(2**64)


@dataclass(frozen=True, slots=True)
class Allocation:
    """The people of an experiment: those from `first` on, `share` of all of them, of which `variant_share` try it.

    Experiments of one exclusion group read the same position of a person, so that ranges which do not overlap have
    nobody in common; experiments of different groups are independent of each other. All shares are in [0, 1].
    """

    group: str
    salt: str
    first: float
    share: float
    variant_share: float

    def arm(self, person_key: str) -> str:
        """The arm of a person, `CONTROL` or `VARIANT`; "" for who is not in the experiment."""
        if not self.first <= position(person_key, self.group) < self.first + self.share:
            return ""
        return VARIANT if position(person_key, self.salt) < self.variant_share else CONTROL


def position(person_key: str, salt: str) -> float:
    """A number in [0, 1) that depends on the person and the salt alone, uniform over people."""
    digest = hashlib.blake2b(f"{salt}:{person_key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / _SPACE


def free_range(taken: list[tuple[float, float]], share: float) -> float | None:
    """The first position from which `share` of all people are free; None where no gap is so wide.

    taken: (first, share) of the experiments that run in the group.
    """
    start, slack = 0.0, 1e-9
    for first, width in sorted(taken):
        if first - start >= share - slack:
            return start
        start = max(start, first + width)
    return start if 1.0 - start >= share - slack else None
