"""Guests who ordered and have not paid yet: the payment is confirmed in a request of the gateway, without the guest."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import Any

from django.db import models
from django.db.models.functions import Concat
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from recommender.models.events import Event


class UnpaidRow(models.Model):
    """The browser of a consenting guest, by the message id of the coming purchase; deleted once that is recorded."""

    message_id = models.CharField(_("message id"), max_length=128, unique=True)
    visitor_key = models.UUIDField(_("key"), default=uuid.uuid4, db_index=True)
    device = models.CharField(_("device"), max_length=16, blank=True)
    region = models.CharField(_("region"), max_length=32, blank=True)
    is_bot = models.BooleanField(_("bot"), default=False)
    is_profiled = models.BooleanField(_("personalised"), default=True)
    occurred_at = models.DateTimeField(_("occurred"), default=timezone.now, db_index=True)

    class Meta:
        verbose_name = _("unpaid order row")
        verbose_name_plural = _("unpaid order rows")

    def __str__(self) -> str:
        return self.message_id

    @classmethod
    def remember(cls, message_ids: Iterable[str], shopper: Any) -> None:
        """Store the shopper as the buyer of these rows unless they have one. One statement."""
        buyer = {name: getattr(shopper, name) for name in ("visitor_key", "device", "region", "is_bot", "is_profiled")}
        if buyer["visitor_key"] is not None:
            unpaid = [cls(message_id=message_id, **buyer) for message_id in sorted(message_ids)]
            cls._default_manager.bulk_create(unpaid, ignore_conflicts=True)

    @classmethod
    def forget_recorded(cls) -> None:
        """Delete the rows whose purchase is recorded. One statement."""
        first_of_several = Concat(models.OuterRef("message_id"), models.Value(":0"))
        recorded = Event.objects.filter(message_id__in=[models.OuterRef("message_id"), first_of_several])
        cls._default_manager.filter(models.Exists(recorded)).delete()
