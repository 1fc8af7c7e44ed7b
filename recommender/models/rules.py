"""Rules of merchandisers: what stands where in a list, for which query, slot and shoppers, and for how long."""

from __future__ import annotations

import datetime as dt
from typing import Any, ClassVar

from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from recommender.models.words import WORDS
from recommender.types import Slot


class Rule(models.Model):
    """One rule. `version` counts its changes: whoever edits a version that is no longer the newest is refused.

    It acts on `item_ids`, or on the items whose `attribute` has one of `values`. `cost` is what `rules.costs` measured
    last. A segment that is retired or empty leaves its rules without shoppers, never with all of them.
    """

    class Action(models.TextChoices):
        PIN = "pin", _("pin: give items a position")
        BOOST = "boost", _("boost: move items up")
        BURY = "bury", _("bury: move items down")
        FILTER = "filter", _("filter: show only these")
        EXCLUDE = "exclude", _("exclude: never show these")
        REDIRECT = "redirect", _("redirect: lead a query to a page")
        BANNER = "banner", _("banner: show a text above the list")

    class Match(models.TextChoices):
        ANY = "any", _("whatever is searched, and lists without a query")
        EXACT = "exact", _("the query is")
        CONTAINS = "contains", _("the query contains")
        CATEGORY = "category", _("the query, or the item beside the list, is of the category")

    class State(models.TextChoices):
        DRAFT = "draft", _("draft")
        REVIEW = "review", _("in review")
        LIVE = "live", _("live")
        WITHDRAWN = "withdrawn", _("withdrawn")

    name = models.CharField(_("name"), max_length=100, help_text=_("What it is for, for your colleagues."))
    action = models.CharField(_("action"), max_length=8, choices=Action)
    item_ids = models.JSONField(_("items"), default=list, blank=True)
    attribute = models.CharField(
        _("attribute"), max_length=64, blank=True, help_text=_("category, brand, or one that your Catalogs declare.")
    )
    values = models.JSONField(_("values"), default=list, blank=True)
    position = models.PositiveSmallIntegerField(
        _("position"), null=True, blank=True, help_text=_("Of the first pinned item; the others follow it.")
    )
    places = models.PositiveSmallIntegerField(
        _("places"),
        null=True,
        blank=True,
        help_text=_("How far boost and bury move an item; empty: to the front, or to the end."),
    )
    url = models.CharField(
        _("leads to"), max_length=500, blank=True, help_text=_("A path such as /sale/, or an address of this shop.")
    )
    text = models.CharField(_("text of the banner"), max_length=300, blank=True)
    match = models.CharField(_("for"), max_length=8, choices=Match, default=Match.ANY)
    query = models.CharField(_("query or category"), max_length=255, blank=True)
    slot = models.CharField(
        _("slot"), max_length=20, blank=True, choices=[(slot.value, WORDS[slot.value]) for slot in Slot]
    )
    segment = models.ForeignKey(
        "recommender.Segment",
        models.PROTECT,
        null=True,
        blank=True,
        related_name="rules",
        verbose_name=_("segment"),
        help_text=_("Empty: all shoppers."),
    )
    experiment = models.ForeignKey(
        "recommender.Experiment",
        models.PROTECT,
        null=True,
        blank=True,
        related_name="rules",
        verbose_name=_("tried by"),
        help_text=_("An experiment: only shoppers who try its variant are under the rule, and nobody once it is over."),
    )
    starts_at = models.DateTimeField(_("starts"), null=True, blank=True)
    ends_at = models.DateTimeField(_("ends"), null=True, blank=True)
    state = models.CharField(_("state"), max_length=9, choices=State, default=State.DRAFT, editable=False)
    version = models.PositiveIntegerField(default=1, editable=False)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, editable=False, related_name="+", verbose_name=_("author")
    )
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
        verbose_name=_("published by"),
    )
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)
    updated_at = models.DateTimeField(_("changed"), default=timezone.now, editable=False, db_index=True)
    submitted_at = models.DateTimeField(_("submitted"), null=True, editable=False)
    reviewed_at = models.DateTimeField(_("published"), null=True, editable=False)
    withdrawn_at = models.DateTimeField(_("withdrawn on"), null=True, editable=False)
    cost = models.JSONField(_("cost"), default=dict, editable=False)
    cost_at = models.DateTimeField(_("cost measured"), null=True, editable=False)

    class Meta:
        verbose_name = _("rule")
        verbose_name_plural = _("rules")
        ordering: ClassVar[list[Any]] = ["-updated_at", "-pk"]
        permissions = [("publish_rule", "Can publish and withdraw rules")]

    def __str__(self) -> str:
        return self.name

    def has_ended(self, at: dt.datetime) -> bool:
        """Whether its window is over."""
        return self.ends_at is not None and self.ends_at <= at

    def is_serving(self, at: dt.datetime) -> bool:
        """Whether it is live and within its window."""
        has_begun = self.starts_at is None or self.starts_at <= at
        return self.state == self.State.LIVE and has_begun and not self.has_ended(at)
