"""Erasures of persons, each with its receipt, and the tombstones that keep erased persons from coming back."""

from __future__ import annotations

import uuid
from typing import ClassVar

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _


class Erasure(models.Model):
    """One person to forget: a job that is resumed where it stopped, and its receipt.

    `names` are the keys of the person's visitors and users until the job has looked for late rows; then it is emptied,
    and only `subject`, a keyed hash, is left. The layout of `receipt` is in docs/privacy.md.
    """

    class Trigger(models.TextChoices):
        API = "api", _("API")
        ADMIN = "admin", _("admin")
        COMMAND = "command", _("command")
        ACCOUNT = "account", _("account deleted")
        CODE = "code", _("the shop's code")
        REPLAY = "replay", _("replay after a restore")

    class State(models.TextChoices):
        REQUESTED = "requested", _("requested")
        ROWS_ERASED = "rows_erased", _("rows erased, the rest follows")
        FINISHED = "finished", _("finished")

    key = models.UUIDField(_("key"), default=uuid.uuid4, unique=True, editable=False)
    subject = models.CharField(_("person"), max_length=64, blank=True, help_text=_("A keyed hash, not a name."))
    trigger = models.CharField(_("requested by"), max_length=8, choices=Trigger, default=Trigger.CODE)
    state = models.CharField(_("state"), max_length=12, choices=State, default=State.REQUESTED, db_index=True)
    names = models.JSONField(_("keys of the person"), default=dict, blank=True)
    receipt = models.JSONField(_("receipt"), default=dict, blank=True)
    waits_for = models.TextField(_("waits for"), blank=True)
    requested_at = models.DateTimeField(_("requested"), default=timezone.now)
    rows_erased_at = models.DateTimeField(_("rows erased"), null=True, blank=True)
    finished_at = models.DateTimeField(_("finished"), null=True, blank=True)

    class Meta:
        verbose_name = _("erasure")
        verbose_name_plural = _("erasures")
        ordering: ClassVar[list[str]] = ["-requested_at"]
        permissions = [("erase_person", "Can erase everything about a person")]

    def __str__(self) -> str:
        return gettext("erasure %d") % self.pk


class Tombstone(models.Model):
    """The keyed hash of an erased visitor or user: nothing is recorded for them before a new consent.

    A new consent sets `lifted_at`. `filed_at` is when the file beside the bundles, which outlives a restored backup of
    the database, was last written; None if it is out of date.
    """

    digest = models.CharField(_("keyed hash"), max_length=64, unique=True)
    erased_at = models.DateTimeField(_("erased"), default=timezone.now)
    lifted_at = models.DateTimeField(_("consented again"), null=True, blank=True)
    filed_at = models.DateTimeField(_("filed"), null=True, blank=True, db_index=True)

    class Meta:
        verbose_name = _("tombstone")
        verbose_name_plural = _("tombstones")

    def __str__(self) -> str:
        return self.digest[:12]
