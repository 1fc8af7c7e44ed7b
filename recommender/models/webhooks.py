"""Webhooks: where people of a segment or a ready list are sent to, whom each was told of, and what was delivered."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterable
from typing import ClassVar

from django.conf import settings
from django.db import models, router
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from recommender.models.connections import writing
from recommender.models.encryption import EncryptedTextField

ERASED = "erased"


class Webhook(models.Model):
    """An address outside that is told who enters and leaves a list. Every message is signed with the secret."""

    class Source(models.TextChoices):
        SEGMENT = "segment", _("the people of a segment")
        WIN_BACK = "win-back", _("win back")
        DUE = "due", _("due again")
        PRICES = "prices", _("price drops")

    name = models.CharField(_("name"), max_length=120)
    source = models.CharField(_("what is sent"), max_length=8, choices=Source, default=Source.SEGMENT)
    segment = models.ForeignKey(
        "recommender.Segment",
        models.PROTECT,
        null=True,
        blank=True,
        related_name="webhooks",
        verbose_name=_("segment"),
        help_text=_("Only where the people of a segment are sent."),
    )
    url = models.CharField(_("address"), max_length=500, help_text=_("It begins with https:// and is not redirected."))
    secret = EncryptedTextField(_("secret"), help_text=_("By which the receiver checks the signature."))
    is_active = models.BooleanField(
        _("active"), default=True, help_text=_("A webhook that is not active is told of erasures alone.")
    )
    requested_at = models.DateTimeField(null=True, editable=False)
    compared_at = models.DateTimeField(_("last compared"), null=True, editable=False)
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, editable=False, related_name="+", verbose_name=_("by")
    )

    class Meta:
        verbose_name = _("webhook")
        verbose_name_plural = _("webhooks")
        ordering: ClassVar[list[str]] = ["name", "pk"]
        permissions = [("send_webhook", "Can send webhooks now")]

    def __str__(self) -> str:
        return self.name


class WebhookMember(models.Model):
    """A person whom a webhook was told of. digest: of what was told, so that only changes are sent; erased_at: since
    when the receiver is owed the message that the person was erased, at whose delivery the row is deleted."""

    webhook = models.ForeignKey(Webhook, models.CASCADE, related_name="members", verbose_name=_("webhook"))
    user_key = models.CharField(_("user"), max_length=64, db_index=True)
    digest = models.CharField(max_length=64)
    told_at = models.DateTimeField(_("told"), default=timezone.now)
    erased_at = models.DateTimeField(_("erased"), null=True, db_index=True)

    class Meta:
        verbose_name = _("person told to a webhook")
        verbose_name_plural = _("people told to webhooks")
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["webhook", "user_key"], name="recommender_told_once"),
        ]

    def __str__(self) -> str:
        return self.user_key


class Delivery(models.Model):
    """One message. `changes` are emptied as soon as they are delivered, given up or replaced by newer ones."""

    class State(models.TextChoices):
        WAITING = "waiting", _("waiting")
        DELIVERED = "delivered", _("delivered")
        FAILED = "failed", _("given up")
        REPLACED = "replaced", _("replaced")

    key = models.UUIDField(_("delivery"), default=uuid.uuid4, unique=True, editable=False)
    webhook = models.ForeignKey(Webhook, models.CASCADE, related_name="deliveries", verbose_name=_("webhook"))
    state = models.CharField(_("state"), max_length=9, choices=State, default=State.WAITING)
    changes = models.JSONField(default=list, editable=False)
    n_changes = models.PositiveIntegerField(_("changes"), default=0)
    n_attempts = models.PositiveSmallIntegerField(_("attempts"), default=0)
    status = models.PositiveSmallIntegerField(_("answer"), null=True)
    fault = models.CharField(_("fault"), max_length=10, blank=True)
    created_at = models.DateTimeField(_("created"), default=timezone.now)
    next_attempt_at = models.DateTimeField(_("next attempt"), default=timezone.now)
    ended_at = models.DateTimeField(_("ended"), null=True)

    class Meta:
        verbose_name = _("delivery")
        verbose_name_plural = _("deliveries")
        ordering: ClassVar[list[str]] = ["-pk"]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["state", "next_attempt_at"], name="recommender_delivery_due"),
        ]

    def __str__(self) -> str:
        return str(self.key)[:8]


def forget(user_keys: Iterable[str], *, at: dt.datetime) -> int:
    """Let nothing wait to be sent of people who are erased but that; return how many rows say that a webhook was told
    of one of them. They are deleted once the receiver knows of the erasure."""
    users = set(user_keys)
    with writing(using=router.db_for_write(Delivery)):
        for delivery in Delivery.objects.select_for_update().filter(state=Delivery.State.WAITING):
            left = [one for one in delivery.changes if one["event"] == ERASED or one["user"] not in users]
            if len(left) < len(delivery.changes):
                Delivery.objects.filter(pk=delivery.pk).update(changes=left, n_changes=len(left))
        return WebhookMember.objects.filter(user_key__in=users, erased_at=None).update(erased_at=at, digest="")
