"""Queries that several shoppers typed, and synonyms."""

from __future__ import annotations

from typing import ClassVar

from django.core.exceptions import ValidationError
from django.core.validators import MinLengthValidator
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _


class QueryStatistics(models.Model):
    """A query of several visitors and what they chose after it, recomputed from events; never a query of one person.

    `items` is a list of `[item_id, n_visitors]`, most first.
    """

    query = models.CharField(_("query"), max_length=255, unique=True)
    n_visitors = models.PositiveIntegerField(_("visitors"), default=0)
    n_searches = models.PositiveIntegerField(_("searches"), default=0)
    items = models.JSONField(_("chosen items"), default=list, blank=True)
    last_at = models.DateTimeField(_("last searched"), default=timezone.now)
    computed_at = models.DateTimeField(_("computed"), default=timezone.now, db_index=True)

    class Meta:
        verbose_name = _("query")
        verbose_name_plural = _("queries")

    def __str__(self) -> str:
        return self.query


class Synonym(models.Model):
    """Words that also find what other words find.

    A learned synonym waits for approval; `reviewed_at` is set once somebody decided. Rejected ones stay, inactive, so
    that they are not proposed again.
    """

    class Kind(models.TextChoices):
        ONE_WAY = "one_way", _("one way")
        TWO_WAY = "two_way", _("both ways")

    class Source(models.TextChoices):
        LEARNED = "learned", _("learned")
        EDITED = "edited", _("edited")

    words = models.CharField(_("typed"), max_length=100, validators=[MinLengthValidator(1)])
    meaning = models.CharField(_("also finds"), max_length=100, validators=[MinLengthValidator(1)])
    kind = models.CharField(_("direction"), max_length=7, choices=Kind, default=Kind.TWO_WAY)
    source = models.CharField(_("source"), max_length=7, choices=Source, default=Source.EDITED)
    is_active = models.BooleanField(_("active"), default=True)
    n_evidence = models.PositiveIntegerField(
        _("evidence"), default=0, help_text=_("Number of visitors whose choices support it; 0 if it was written here.")
    )
    reviewed_at = models.DateTimeField(_("decided"), null=True, blank=True)
    updated_at = models.DateTimeField(_("updated"), auto_now=True, db_index=True)

    class Meta:
        verbose_name = _("synonym")
        verbose_name_plural = _("synonyms")
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["words", "meaning"], name="recommender_synonym_once"),
        ]

    def __str__(self) -> str:
        return f"{self.words} {'↔' if self.kind == self.Kind.TWO_WAY else '→'} {self.meaning}"

    def clean(self) -> None:
        """Store lower case; refuse a synonym that equals its words."""
        self.words, self.meaning = " ".join(self.words.lower().split()), " ".join(self.meaning.lower().split())
        if self.words == self.meaning:
            raise ValidationError({"meaning": _("These are the same words. Write what else should be found.")})

    def pairs(self) -> list[tuple[str, str]]:
        """Return (typed words, words they also find), for each direction that the synonym works in."""
        pair = (self.words, self.meaning)
        return [pair, pair[::-1]] if self.kind == self.Kind.TWO_WAY else [pair]
