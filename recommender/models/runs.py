"""Training runs and the bundles they write."""

from __future__ import annotations

import uuid
from typing import ClassVar

from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _


def random_key() -> str:
    """Return a key for messages about a run, whose number another shop on the same broker may have too."""
    return uuid.uuid4().hex


class Bundle(models.Model):
    """One immutable folder of weights, named by its hash. At most one is champion."""

    class State(models.TextChoices):
        CANDIDATE = "candidate", _("candidate")
        CHAMPION = "champion", _("champion")
        PREVIOUS = "previous", _("previous champion")
        ARCHIVED = "archived", _("archived")
        QUARANTINED = "quarantined", _("quarantined")

    name = models.CharField(_("name"), max_length=64, unique=True)
    state = models.CharField(_("state"), max_length=12, choices=State, default=State.CANDIDATE, db_index=True)
    is_trained = models.BooleanField(_("trained"), default=True, help_text=_("Bundle 0 is the untrained encoder."))
    is_provisional = models.BooleanField(
        _("provisional"),
        default=False,
        help_text=_("Promoted on its expected gain; the next run judges it again on what came since."),
    )
    encoder_hash = models.CharField(_("encoder"), max_length=32)
    manifest = models.JSONField(_("manifest"), default=dict)
    created_at = models.DateTimeField(_("created"), default=timezone.now)
    promoted_at = models.DateTimeField(_("promoted"), null=True, blank=True)

    class Meta:
        verbose_name = _("bundle")
        verbose_name_plural = _("bundles")
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["state"], condition=models.Q(state="champion"), name="recommender_one_champion"
            ),
        ]
        permissions = [("approve_bundle", "Can approve that a bundle serves everybody")]

    def __str__(self) -> str:
        return self.name[:12]


class Run(models.Model):
    """One training run or tuning: a leased row. Only the holder of `fencing_token` may write to it."""

    class Kind(models.TextChoices):
        TRAINING = "training", _("training")
        TUNING = "tuning", _("tuning")

    class State(models.TextChoices):
        QUEUED = "queued", _("queued")
        RUNNING = "running", _("running")
        CANCELLING = "cancelling", _("cancelling")
        SUCCEEDED = "succeeded", _("succeeded")
        FAILED = "failed", _("failed")
        CANCELLED = "cancelled", _("cancelled")

    class Verdict(models.TextChoices):
        PROMOTED = "promoted", _("promoted")
        PROVISIONAL = "provisional", _("provisionally promoted")
        REFUSED = "refused", _("not promoted")
        INSUFFICIENT = "insufficient", _("insufficient data")
        TOO_SHORT = "too_short", _("not enough time")

    key = models.CharField(max_length=32, default=random_key, editable=False)
    kind = models.CharField(_("kind"), max_length=12, choices=Kind, default=Kind.TRAINING)
    state = models.CharField(_("state"), max_length=12, choices=State, default=State.QUEUED, db_index=True)
    verdict = models.CharField(_("verdict"), max_length=12, choices=Verdict, blank=True)
    reason = models.TextField(_("reason"), blank=True, help_text=_("Why the run ended as it did."))
    trigger = models.CharField(_("started by"), max_length=10, default="command")
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("requested by"),
    )
    settings = models.JSONField(_("settings"), default=dict, blank=True)
    stage = models.CharField(_("stage"), max_length=40, blank=True)
    progress = models.FloatField(_("progress"), default=0, help_text=_("Share done, 0 to 1."))
    report = models.JSONField(_("data report"), default=dict, blank=True)
    metrics = models.JSONField(_("figures"), default=dict, blank=True)
    losses = models.JSONField(_("loss curve"), default=list, blank=True)
    seconds = models.JSONField(_("seconds per stage"), default=dict, blank=True)
    provenance = models.JSONField(
        _("provenance"),
        default=dict,
        blank=True,
        help_text=_("What the result depends on: data, code, versions, settings."),
    )
    accepted_at = models.DateTimeField(
        _("accepted"),
        null=True,
        blank=True,
        help_text=_("Since when later runs use the settings that this tuning found."),
    )
    bundle = models.ForeignKey(
        Bundle, models.SET_NULL, null=True, blank=True, related_name="runs", verbose_name=_("bundle")
    )
    fencing_token = models.PositiveIntegerField(_("fencing token"), default=0)
    worker = models.CharField(_("worker"), max_length=200, blank=True)
    created_at = models.DateTimeField(_("created"), default=timezone.now)
    started_at = models.DateTimeField(_("started"), null=True, blank=True)
    heartbeat_at = models.DateTimeField(_("last heartbeat"), null=True, blank=True)
    advanced_at = models.DateTimeField(
        _("last advance"), null=True, blank=True, help_text=_("When the training last took a step or computed.")
    )
    finished_at = models.DateTimeField(_("finished"), null=True, blank=True)

    class Meta:
        verbose_name = _("model run")
        verbose_name_plural = _("model runs")
        ordering: ClassVar[list[str]] = ["-created_at"]
        permissions = [
            ("train_model", "Can start and cancel training runs"),
            ("promote_bundle", "Can promote and roll back bundles"),
        ]

    def __str__(self) -> str:
        return gettext("run %(number)s (%(state)s)") % {"number": self.pk, "state": self.get_state_display()}
