"""What became of the events of each day, and the events that were rejected, to be looked at and sent again."""

from __future__ import annotations

import uuid
from typing import Any, ClassVar

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from recommender.models.encryption import EncryptedTextField
from recommender.models.events import Visitor
from recommender.models.words import words_of


class EventCount(models.Model):
    """How many events of one source came on one day, by UTC, and what became of them."""

    day = models.DateField(_("day"))
    source = models.CharField(_("source"), max_length=10, blank=True)
    accepted = models.IntegerField(_("accepted"), default=0)
    duplicate = models.IntegerField(_("duplicate"), default=0)
    rejected = models.IntegerField(_("rejected"), default=0)
    dropped = models.IntegerField(_("dropped"), default=0, help_text=_("Not stored, because there was no consent."))

    class Meta:
        verbose_name = _("count of events")
        verbose_name_plural = _("counts of events")
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["day", "source"], name="recommender_event_count_once"),
        ]

    def __str__(self) -> str:
        return f"{self.day} {words_of(self.source)}".strip()

    @property
    def sent(self) -> int:
        """Every event is accounted for."""
        return self.accepted + self.duplicate + self.rejected + self.dropped


class RejectedEvent(models.Model):
    """An event that could not be stored, as it was sent but for what identifies a person; see `capture.rejections`.

    `payload` holds its fields but the query, which may be encrypted. `clock_behind`: seconds by which the client's
    clock was behind. `names_user`: it came for a user, without a visitor.
    """

    key = models.UUIDField(_("key"), default=uuid.uuid4, unique=True, editable=False)
    visitor = models.ForeignKey(
        Visitor, models.CASCADE, null=True, blank=True, related_name="rejected_events", verbose_name=_("visitor")
    )
    received_at = models.DateTimeField(_("received"), default=timezone.now, db_index=True)
    source = models.CharField(_("source"), max_length=10, blank=True)
    code = models.CharField(_("reason"), max_length=40, db_index=True, help_text=_("The field at fault."))
    reason = models.CharField(_("what was wrong"), max_length=255, blank=True)
    payload = models.JSONField(_("event"), default=dict)
    query = EncryptedTextField(_("query"), blank=True)
    clock_behind = models.FloatField(_("seconds that the clock was behind"), default=0)
    device = models.CharField(_("device"), max_length=16, blank=True)
    region = models.CharField(_("region"), max_length=32, blank=True)
    is_bot = models.BooleanField(_("bot"), default=False)
    names_user = models.BooleanField(_("came for a user"), default=False)

    class Meta:
        verbose_name = _("rejected event")
        verbose_name_plural = _("rejected events")

    def __str__(self) -> str:
        return f"{self.code}: {self.reason}"

    @property
    def event(self) -> dict[str, Any]:
        """The event as it was sent."""
        return {**self.payload, "query": self.query} if self.query else self.payload
