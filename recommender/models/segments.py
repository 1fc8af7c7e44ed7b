"""Segments: a few groups of visitors with numbers that stay the same from day to day."""

from typing import Any, ClassVar

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _


class Segment(models.Model):
    """One group of visitors, computed by `personas.segmentation`: means and sums over its members, never single people.

    `axes` are [block, name, share in the segment, share of all visitors]; `item_counts` the weighted events of the
    members by item id. A segment that does not continue is retired, and its number is never used again.
    """

    number = models.PositiveSmallIntegerField(_("number"), unique=True)
    name = models.CharField(_("automatic name"), max_length=160, blank=True)
    own_name = models.CharField(
        _("your name for it"), max_length=160, blank=True, help_text=_("Leave empty to use the automatic name.")
    )
    traits = models.JSONField(_("what distinguishes it"), default=list)
    axes = models.JSONField(_("axes"), default=list)
    item_counts = models.JSONField(_("events by item"), default=dict)
    n_people = models.PositiveIntegerField(_("people"), default=0)
    computed_at = models.DateTimeField(_("computed"), default=timezone.now)
    retired_at = models.DateTimeField(_("retired"), null=True, blank=True)

    class Meta:
        verbose_name = _("segment")
        verbose_name_plural = _("segments")
        ordering: ClassVar[list[Any]] = ["number"]
        permissions = [("export_segment", "Can export the people of a segment")]

    def __str__(self) -> str:
        return self.own_name or self.name or gettext("segment %d") % self.number
