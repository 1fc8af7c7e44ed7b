"""The way of a profit dial: a draft, submitted, let live by another person, withdrawn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db import router
from django.db.models import F
from django.utils import timezone
from django.utils.translation import gettext as _

from recommender.exceptions import RuleError, StaleRule
from recommender.models import ProfitDial
from recommender.models.connections import writing
from recommender.types import Slot

State = ProfitDial.State


def live_dials() -> dict[Slot, float]:
    """The weight of the margin in each slot that has one above 0. One query."""
    rows = ProfitDial.objects.filter(state=State.LIVE, weight__gt=0).values_list("slot", "weight")
    return {Slot(slot): weight for slot, weight in rows if slot in list(Slot)}


def save(dial: ProfitDial, *, user: Any) -> None:
    """Store a draft, or a changed one, which is a draft again. Raises `RuleError` for one that was live."""
    if dial.state in (State.LIVE, State.WITHDRAWN):
        raise RuleError(_("A dial that was live is not changed: write a new one for the slot."))
    dial.state, dial.edited_by, dial.updated_at = State.DRAFT, user, timezone.now()
    dial.version += dial.pk is not None
    dial.save()


def submit(dial: ProfitDial, *, version: int) -> ProfitDial:
    """Hand a draft over to review. Raises `RuleError`, `StaleRule`."""
    return _step(dial, version, (State.DRAFT,), {"state": State.REVIEW})


def publish(dial: ProfitDial, *, user: Any, version: int) -> ProfitDial:
    """Let a dial in review live in the place of the slot's former one; not by whoever changed it last. Raises
    `RuleError`, `StaleRule`."""
    if dial.edited_by_id == user.pk:
        raise RuleError(_("You changed this dial last, so another person must let it live."))
    with writing(using=router.db_for_write(ProfitDial)):
        former = ProfitDial.objects.filter(slot=dial.slot, state=State.LIVE).exclude(pk=dial.pk)
        former.update(state=State.WITHDRAWN, version=F("version") + 1, updated_at=timezone.now())
        values = {"state": State.LIVE, "reviewed_by": user, "reviewed_at": timezone.now()}
        return _step(dial, version, (State.REVIEW,), values)


def withdraw(dial: ProfitDial, *, version: int) -> ProfitDial:
    """Order by relevance alone again. Raises `RuleError`, `StaleRule`."""
    return _step(dial, version, (State.REVIEW, State.LIVE), {"state": State.WITHDRAWN})


def _step(dial: ProfitDial, version: int, states: tuple[str, ...], values: Mapping[str, Any]) -> ProfitDial:
    """Write only where the dial is still at this version and in one of the states."""
    rows = ProfitDial.objects.filter(pk=dial.pk, version=version, state__in=states)
    if not rows.update(**values, version=F("version") + 1, updated_at=timezone.now()):
        current = ProfitDial.objects.filter(pk=dial.pk).first()
        if current is None or current.version != version:
            raise StaleRule(_("Somebody has changed this dial since you opened it. Look at it again first."))
        raise RuleError(_("That is not possible with a dial that is %s.") % current.get_state_display())
    dial.refresh_from_db()
    return dial
