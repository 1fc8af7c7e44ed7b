"""Approvals of a promotion: where `PROMOTION_PEOPLE` is 2, nobody lets a bundle serve everybody alone."""

from __future__ import annotations

from typing import Any

from django.db import router
from django.utils import timezone
from django.utils.translation import gettext, ngettext

from recommender import conf
from recommender.exceptions import RunError
from recommender.models import Approval, Bundle
from recommender.models.connections import writing

MAX_NOTE_LENGTH = 2_000


def n_people() -> int:
    """How many different people must approve a promotion; 1: whoever promotes."""
    return max(1, int(conf.get("PROMOTION_PEOPLE")))


def open_approvals(bundle: Bundle) -> list[Approval]:
    """The approvals of a promotion that has not happened yet, oldest first. One query."""
    return list(Approval.objects.filter(bundle=bundle, used_at__isnull=True).order_by("pk"))


def approve(bundle: Bundle, *, user: Any, note: str) -> int:
    """Record a person's approval; return how many are missing then.

    Raises RunError without a note, and for a second approval by the same person.
    """
    if not note.strip():
        raise RunError(gettext("Write in a note what you looked at."))
    with writing(using=router.db_for_write(Approval)):
        list(Bundle.objects.select_for_update().filter(pk=bundle.pk))
        before = open_approvals(bundle)
        if any(approval.user_id == user.pk for approval in before):
            raise RunError(gettext("You have approved it already: another person must."))
        Approval.objects.create(bundle=bundle, user=user, name=user.get_username(), note=note.strip()[:MAX_NOTE_LENGTH])
    return max(0, n_people() - len(before) - 1)


def use_up(bundle: Bundle) -> None:
    """Count the approvals for this promotion, so that a later one needs new ones."""
    Approval.objects.filter(bundle=bundle, used_at__isnull=True).update(used_at=timezone.now())


def require_enough(bundle: Bundle) -> None:
    """Raise RunError while people are missing who must approve."""
    n_missing = n_people() - len(open_approvals(bundle))
    if n_missing > 0:
        raise RunError(missing_in_words(n_missing))


def missing_in_words(n_missing: int) -> str:
    """One sentence for the run, the step and the refusal."""
    return ngettext(
        "%(n)d person must still approve, in the admin on the page of the bundle.",
        "%(n)d people must still approve, in the admin on the page of the bundle.",
        n_missing,
    ) % {"n": n_missing}
