"""Corrects a person's interests: pins one, mutes one, or takes that back. It holds from the next list on."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import replace

from django.db import transaction
from django.utils.translation import gettext as _

from recommender.exceptions import RecommenderError
from recommender.models import Visitor
from recommender.models.corrections import UNCORRECTED, Correction, Corrections, merged
from recommender.personas.parts import ActionCounts, Interest

MOST_CORRECTIONS = 20
MAX_NAME = 200


def correct(visitors: Sequence[int], correction: Correction) -> None:
    """Store a correction on these visitors, which are one person; it replaces one of the same interest. Two queries.

    Raises RecommenderError for an empty or overlong name, and where there would be too many.
    """
    if not correction.interest.strip() or len(correction.interest) > MAX_NAME:
        raise RecommenderError(_("Name an interest of at most %(n)d characters.") % {"n": MAX_NAME})
    with transaction.atomic():
        others = [entry for entry in _stored(visitors) if entry.interest != correction.interest]
        if len(others) >= MOST_CORRECTIONS:
            message = _("At most %(n)d interests can be corrected. Take one back first.")
            raise RecommenderError(message % {"n": MOST_CORRECTIONS})
        _store(visitors, [*others, correction])


def take_back(visitors: Sequence[int], interest: str) -> None:
    """Let an interest count as its events say again. Two queries. Raises RecommenderError if it is not corrected."""
    with transaction.atomic():
        entries = _stored(visitors)
        others = [entry for entry in entries if entry.interest != interest]
        if len(others) == len(entries):
            raise RecommenderError(_("%(interest)s is neither pinned nor muted.") % {"interest": interest})
        _store(visitors, others)


def corrected(
    interests: tuple[Interest, ...], corrections: Corrections, *, at: dt.datetime, most: int
) -> tuple[Interest, ...]:
    """The interests, strongest first, without muted ones and led by pinned ones, each of which weighs at least as much
    as the strongest."""
    if corrections == UNCORRECTED:
        return interests
    left = {interest.name: interest for interest in interests if interest.name not in corrections.muted}
    largest = max((interest.share for interest in left.values()), default=1.0)
    pinned = [
        replace(left.pop(name, Interest(name, ActionCounts(), largest, at)), share=largest)
        for name in corrections.pinned
    ]
    return (*pinned, *left.values())[: max(most, len(pinned))]


def _stored(visitors: Sequence[int]) -> tuple[Correction, ...]:
    rows = Visitor.objects.select_for_update().filter(pk__in=visitors).order_by("pk")
    return merged(rows.values_list("corrections", flat=True))


def _store(visitors: Sequence[int], entries: Sequence[Correction]) -> None:
    column = [entry.stored() for entry in entries] or None
    Visitor.objects.filter(pk__in=visitors).update(corrections=column)
