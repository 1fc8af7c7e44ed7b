"""The way of a profit dial: a draft, submitted, let live by another person, withdrawn."""

from __future__ import annotations

from typing import Any

from django.db import router
from django.db.models import F
from django.utils import timezone
from django.utils.translation import gettext as _

from recommender.exceptions import RuleError
from recommender.models import ProfitDial
from recommender.models.connections import writing
from recommender.rules.steps import step
from recommender.types import Slot

State = ProfitDial.State


def live_dials() -> dict[Slot, float]:
    """The weight of the margin in each slot that has one above 0. One query."""
    rows = ProfitDial.objects.filter(state=State.LIVE, weight__gt=0).values_list("slot", "weight")
    return {Slot(slot): weight for slot, weight in rows if slot in list(Slot)}


def create(dial: ProfitDial, *, user: Any) -> None:
    """Store a new draft."""
    dial.edited_by = user
    dial.save()


def change(dial: ProfitDial, *, user: Any, version: int) -> ProfitDial:
    """Store a changed draft; one that was in review becomes a draft again. Raises `RuleError`, `StaleRule`."""
    if dial.state in (State.LIVE, State.WITHDRAWN):
        raise RuleError(_("A dial that was live is not changed: write a new one for the slot."))
    content = {"slot": dial.slot, "weight": dial.weight, "note": dial.note}
    return step(dial, version, (State.DRAFT, State.REVIEW), {**content, "state": State.DRAFT, "edited_by": user})


def submit(dial: ProfitDial, *, version: int) -> ProfitDial:
    """Hand a draft over to review. Raises `RuleError`, `StaleRule`."""
    return step(dial, version, (State.DRAFT,), {"state": State.REVIEW})


def publish(dial: ProfitDial, *, user: Any, version: int) -> ProfitDial:
    """Let a dial in review live in the place of the slot's former one; not by whoever changed it last. Raises
    `RuleError`, `StaleRule`."""
    if dial.edited_by_id == user.pk:
        raise RuleError(_("You changed this dial last, so another person must let it live."))
    with writing(using=router.db_for_write(ProfitDial)):
        former = ProfitDial.objects.filter(slot=dial.slot, state=State.LIVE).exclude(pk=dial.pk)
        former.update(state=State.WITHDRAWN, version=F("version") + 1, updated_at=timezone.now())
        values = {"state": State.LIVE, "reviewed_by": user, "reviewed_at": timezone.now()}
        return step(dial, version, (State.REVIEW,), values)


def withdraw(dial: ProfitDial, *, version: int) -> ProfitDial:
    """Order by relevance alone again. Raises `RuleError`, `StaleRule`."""
    return step(dial, version, (State.REVIEW, State.LIVE), {"state": State.WITHDRAWN})
