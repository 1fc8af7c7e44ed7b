"""How much profit weighs in a list: a dial for each slot, changed by one person and let live by another."""

from __future__ import annotations

from typing import Any, ClassVar

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from recommender.models.words import WORDS
from recommender.types import PROFITABLE_SLOTS


class ProfitDial(models.Model):
    """One setting of the dial of a slot. `version` counts its changes; at most one of a slot is live."""

    class State(models.TextChoices):
        DRAFT = "draft", _("draft")
        REVIEW = "review", _("in review")
        LIVE = "live", _("live")
        WITHDRAWN = "withdrawn", _("withdrawn")

    slot = models.CharField(_("slot"), max_length=20, choices=[(slot.value, WORDS[slot]) for slot in PROFITABLE_SLOTS])
    weight = models.FloatField(
        _("weight of the margin"),
        validators=[MinValueValidator(0.0), MaxValueValidator(2.0)],
        help_text=_("0 to 2: 0 orders by relevance alone, 1 by expected profit among items of like relevance."),
    )
    note = models.CharField(_("note"), max_length=500, help_text=_("Why, for whoever approves it."))
    state = models.CharField(_("state"), max_length=9, choices=State, default=State.DRAFT, editable=False)
    version = models.PositiveIntegerField(_("version"), default=1, editable=False)
    edited_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.SET_NULL,
        null=True,
        editable=False,
        related_name="+",
        verbose_name=_("changed by"),
    )
    reviewed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.SET_NULL,
        null=True,
        editable=False,
        related_name="+",
        verbose_name=_("let live by"),
    )
    updated_at = models.DateTimeField(_("changed"), default=timezone.now, editable=False)
    reviewed_at = models.DateTimeField(_("live since"), null=True, editable=False)

    class Meta:
        verbose_name = _("profit dial")
        verbose_name_plural = _("profit dials")
        ordering: ClassVar[list[Any]] = ["-updated_at", "-pk"]
        permissions = [("publish_profitdial", "Can let profit weigh in lists, and end it")]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["slot"], condition=models.Q(state="live"), name="recommender_one_dial_a_slot"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_slot_display()} {self.weight:g}"
