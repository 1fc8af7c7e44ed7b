"""The workbench's entry in the admin, and the queries that every run judges again."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from recommender.models.queries import QueryStatistics

MOST_WATCHED = 200
"""Queries that are watched: each costs a run two searches, and nobody reads more."""


class Workbench(QueryStatistics):
    """A page that shows lists and why they are so, with a permission of its own: `view_workbench`."""

    class Meta:
        proxy = True
        verbose_name = _("workbench")
        verbose_name_plural = _("workbench")
        default_permissions = ("view",)


class WatchedQuery(models.Model):
    """A query that staff watch: every run ranks it by its new bundle. At most `MOST_WATCHED`.

    Staff typed it, so it may be of one person; e-mail addresses, phone and card numbers are masked before it is stored.
    `item_ids` are the first ten as they were served when it was saved, by `bundle`.
    """

    query = models.CharField(_("query"), max_length=255)
    segment = models.ForeignKey(
        "recommender.Segment", models.CASCADE, null=True, blank=True, related_name="+", verbose_name=_("segment")
    )
    note = models.CharField(_("note"), max_length=200, blank=True)
    item_ids = models.JSONField(_("items when it was saved"), default=list, editable=False)
    bundle = models.CharField(_("bundle when it was saved"), max_length=64, blank=True, editable=False)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.SET_NULL,
        null=True,
        editable=False,
        related_name="+",
        verbose_name=_("saved by"),
    )
    created_at = models.DateTimeField(_("saved"), default=timezone.now, editable=False)

    class Meta:
        verbose_name = _("watched query")
        verbose_name_plural = _("watched queries")
        default_permissions = ("add", "delete", "view")
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["query", "segment"], name="recommender_watched_once"),
            models.UniqueConstraint(
                fields=["query"], condition=models.Q(segment=None), name="recommender_watched_by_nobody_once"
            ),
        ]

    def __str__(self) -> str:
        return self.query[:60]


class WatchedResult(models.Model):
    """What one run made of a watched query: how many of the first ten the new and the serving bundle share, from 0 to
    1, also with those when it was saved, and how well both answer by the grades that people gave; none without grades.
    """

    watched = models.ForeignKey(WatchedQuery, models.CASCADE, related_name="results", verbose_name=_("watched query"))
    run = models.ForeignKey("recommender.Run", models.CASCADE, related_name="+", verbose_name=_("run"))
    item_ids = models.JSONField(_("items"), default=list)
    overlap = models.FloatField(_("shared with the serving bundle"))
    overlap_saved = models.FloatField(_("shared with what was saved"))
    n_graded = models.PositiveIntegerField(_("graded items"), default=0)
    ndcg = models.FloatField(_("NDCG@10 of the new bundle"), null=True)
    ndcg_serving = models.FloatField(_("NDCG@10 of the serving bundle"), null=True)
    judged_at = models.DateTimeField(_("judged"), default=timezone.now)

    class Meta:
        verbose_name = _("result of a watched query")
        verbose_name_plural = _("results of watched queries")
        default_permissions = ()
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["watched", "run"], name="recommender_watched_result_once"),
        ]

    def __str__(self) -> str:
        return f"{self.watched_id} / {self.run_id}: {self.overlap:.0%}"
