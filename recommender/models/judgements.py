"""Relevance judgements: how well an item answers a query."""

from __future__ import annotations

from typing import ClassVar

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _


class Judgement(models.Model):
    """How well one item answers one query, from 0 (not at all) to 1 (exactly what was meant), once per source."""

    query = models.CharField(_("query"), max_length=255)
    item_id = models.CharField(_("item id"), max_length=128)
    grade = models.FloatField(
        _("grade"),
        validators=[MinValueValidator(0.0), MaxValueValidator(1.0)],
        help_text=_("From 0 (does not match at all) to 1 (exactly what was meant)."),
    )
    source = models.CharField(
        _("source"), max_length=40, default="person", help_text=_("Who or what made the judgement.")
    )
    judged_at = models.DateTimeField(_("judged"), default=timezone.now)

    class Meta:
        verbose_name = _("judgement")
        verbose_name_plural = _("judgements")
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["query", "item_id", "source"], name="recommender_judged_once"),
            models.CheckConstraint(
                condition=models.Q(grade__gte=0.0, grade__lte=1.0), name="recommender_grade_in_range"
            ),
        ]
        indexes: ClassVar[list[models.Index]] = [models.Index(fields=["query"], name="recommender_judged_query")]

    def __str__(self) -> str:
        return f"{self.query[:40]} / {self.item_id}: {self.grade:g}"
