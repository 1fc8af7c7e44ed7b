"""Approvals: who agreed that a bundle serves everybody, and why."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from recommender.models.runs import Bundle


class Approval(models.Model):
    """One person's approval of a promotion; `name` stays when the account is deleted. used_at: when it was promoted."""

    bundle = models.ForeignKey(Bundle, models.CASCADE, related_name="approvals", verbose_name=_("bundle"))
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+", verbose_name=_("approved by")
    )
    name = models.CharField(_("approved by"), max_length=150)
    note = models.TextField(_("note"))
    created_at = models.DateTimeField(_("approved"), default=timezone.now)
    used_at = models.DateTimeField(_("promoted"), null=True)

    class Meta:
        verbose_name = _("approval")
        verbose_name_plural = _("approvals")
        permissions = [("view_action", "Can see and export what people did")]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["bundle", "user"],
                condition=models.Q(used_at__isnull=True),
                name="recommender_one_approval_a_person",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name}: {self.note}"
