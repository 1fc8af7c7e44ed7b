"""Alarms: far more visitors did something with an item or a query than the shop's orders make likely, or a group of
items gets less exposure than its floor."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _


class Alarm(models.Model):
    """One day, or one month, of one item, query or group. It says how many visitors there were, never who.

    The lists are not affected: of `n_people` visitors who have not bought anything only `limit` count. Of a
    group that is shown too little `query` holds the name, and `figures` says in words how little.
    """

    class Kind(models.TextChoices):
        LOOK = "look", _("looked at")
        CART = "cart", _("put into the cart")
        SEARCH = "search", _("searched")
        OTHER = "other", _("dismissed or put back")
        EXPOSURE = "exposure", _("shown too little")

    kind = models.CharField(_("what was done"), max_length=8, choices=Kind)
    item_id = models.CharField(_("item id"), max_length=128, blank=True)
    query = models.CharField(_("query or group"), max_length=255, blank=True)
    figures = models.CharField(_("figures"), max_length=300, blank=True, db_default="")
    day = models.DateField(_("day"), help_text=_("The day, or the last of 30 days when the alarm was raised."))
    n_days = models.PositiveSmallIntegerField(_("days"), default=1)
    n_people = models.PositiveIntegerField(_("visitors"), default=0)
    limit = models.PositiveIntegerField(_("of whom count"), default=0)
    raised_at = models.DateTimeField(_("raised"), default=timezone.now, db_index=True)
    seen_at = models.DateTimeField(_("seen"), null=True, blank=True)

    class Meta:
        verbose_name = _("alarm")
        verbose_name_plural = _("alarms")
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["kind", "item_id", "query", "day", "n_days"], name="recommender_alarm_once"
            ),
        ]

    def __str__(self) -> str:
        if self.kind == self.Kind.EXPOSURE:
            return f"{self.query}: {self.figures}"
        return gettext("%(n)d visitors %(did)s: %(what)s") % {
            "n": self.n_people,
            "did": self.get_kind_display(),
            "what": self.item_id or self.query,
        }
