"""One step of what staff write, review and publish: no change is lost, and none is made on what is outdated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from django.db import router, transaction
from django.db.models import F
from django.utils import timezone
from django.utils.translation import gettext as _

from recommender.exceptions import RuleError, StaleRule
from recommender.models import ProfitDial, Rule

Reviewed = TypeVar("Reviewed", Rule, ProfitDial)


def step(row: Reviewed, version: int, states: tuple[str, ...], values: Mapping[str, Any]) -> Reviewed:
    """Write only where the row is still at this version and in one of the states, and read it again.

    Two queries, three where it is refused. Raises `StaleRule` where somebody has changed it since, `RuleError` where
    its state does not allow the step.
    """
    model = type(row)
    with transaction.atomic(using=router.db_for_write(model)):
        rows = model._default_manager.filter(pk=row.pk, version=version, state__in=states)
        if not rows.update(**values, version=F("version") + 1, updated_at=timezone.now()):
            current = model._default_manager.select_related("edited_by").filter(pk=row.pk).first()
            if current is None:
                raise StaleRule(_("It was deleted. Nothing was changed."))
            if current.version != version:
                who = current.edited_by.get_username() if current.edited_by else _("Somebody")
                text = _("%(who)s has changed it since you opened it. Nothing was changed: look at it again first.")
                raise StaleRule(text % {"who": who})
            raise RuleError(_("That is not possible with what is in the state “%s”.") % current.get_state_display())
        row.refresh_from_db()
    return row
