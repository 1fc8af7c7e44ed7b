"""Experiments: two ways of answering, each for a share of the shoppers, and what has been measured of them."""

from __future__ import annotations

import uuid
from typing import ClassVar

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from recommender.models.runs import Bundle


def new_salt() -> str:
    """A random text that shuffles the people of one experiment."""
    return uuid.uuid4().hex[:12]


class Experiment(models.Model):
    """The control is what serves everybody else; the variant differs by its bundle, its settings, or both.

    `results` is what `experiments.measuring` last computed: sums over people, never a single person.
    """

    class Kind(models.TextChoices):
        SPLIT = "split", _("A/B: each person sees one arm")
        INTERLEAVED = "interleaved", _("interleaved: each list takes items of both in turns")

    class State(models.TextChoices):
        DRAFT = "draft", _("draft")
        LIVE = "live", _("live")
        STOPPED = "stopped", _("stopped")
        FINISHED = "finished", _("finished")

    class Metric(models.TextChoices):
        CLICKS = "clicks", _("clicks per visitor")
        ORDERS = "orders", _("orders per visitor")
        REVENUE = "revenue", _("revenue per visitor")
        MARGIN = "margin", _("margin per visitor")

    name = models.CharField(_("name"), max_length=120)
    hypothesis = models.TextField(_("what you expect, and why"), blank=True)
    kind = models.CharField(_("kind"), max_length=12, choices=Kind, default=Kind.SPLIT)
    state = models.CharField(_("state"), max_length=10, choices=State, default=State.DRAFT, db_index=True)
    bundle = models.ForeignKey(
        Bundle,
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="experiments",
        verbose_name=_("bundle of the variant"),
        help_text=_("Empty: the model that serves everybody."),
    )
    needs_bundle = models.BooleanField(default=False, editable=False)
    changes = models.JSONField(_("settings of the variant"), default=dict, blank=True)
    slots = models.JSONField(_("slots"), default=list, blank=True)
    segment = models.ForeignKey(
        "recommender.Segment",
        models.PROTECT,
        null=True,
        blank=True,
        related_name="experiments",
        verbose_name=_("segment"),
        help_text=_("Empty: all shoppers. Otherwise only its shoppers come in; they stay when they leave it."),
    )
    share = models.FloatField(
        _("share of shoppers in it"),
        default=1.0,
        validators=[MinValueValidator(0.01), MaxValueValidator(1.0)],
        help_text=_("0.1 is one shopper in ten."),
    )
    variant_share = models.FloatField(
        _("of whom try the variant"),
        default=0.5,
        validators=[MinValueValidator(0.01), MaxValueValidator(0.99)],
    )
    group = models.SlugField(
        _("exclusion group"),
        max_length=40,
        default="main",
        help_text=_("Nobody is in two experiments of one group at the same time."),
    )
    first = models.FloatField(default=0.0, editable=False)
    salt = models.CharField(max_length=12, default=new_salt, editable=False)
    metric = models.CharField(_("decided by"), max_length=8, choices=Metric, default=Metric.ORDERS)
    outcome_days = models.PositiveSmallIntegerField(
        _("days that count"),
        default=7,
        validators=[MinValueValidator(1), MaxValueValidator(60)],
        help_text=_("From a person's first list in the experiment; people count once these days are over."),
    )
    lift = models.FloatField(
        _("smallest lift worth finding"),
        default=0.05,
        validators=[MinValueValidator(0.001), MaxValueValidator(2.0)],
        help_text=_("0.02 is two per cent more."),
    )
    planned_people = models.PositiveIntegerField(_("people needed"), default=0, editable=False)
    days = models.PositiveSmallIntegerField(
        _("longest, in days"), default=28, validators=[MinValueValidator(1), MaxValueValidator(365)]
    )
    promotes = models.BooleanField(
        _("promote the variant at its end"),
        default=False,
        help_text=_("Unless it was surely worse in anything by then."),
    )
    results = models.JSONField(default=dict, blank=True, editable=False)
    reason = models.TextField(_("why it ended"), blank=True, editable=False)
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)
    started_at = models.DateTimeField(_("started"), null=True, editable=False)
    measured_at = models.DateTimeField(_("measured"), null=True, editable=False)
    ended_at = models.DateTimeField(_("ended"), null=True, editable=False)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+", editable=False, verbose_name=_("by")
    )

    class Meta:
        verbose_name = _("experiment")
        verbose_name_plural = _("experiments")
        ordering: ClassVar[list[str]] = ["-created_at", "-pk"]
        permissions = [("run_experiment", "Can start and stop experiments")]

    def __str__(self) -> str:
        return self.name
