"""Segments: a few groups of visitors with numbers that stay the same from day to day."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db import models
from django.db.models.functions import Coalesce
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _


class SegmentQuerySet(models.QuerySet["Segment"]):
    """Segments by what they are used for."""

    def in_use(self) -> SegmentQuerySet:
        """Those that people see: neither retired nor part of a merged one."""
        return self.filter(retired_at=None, merged_into=None)

    def computed(self) -> SegmentQuerySet:
        """Those that visitors are grouped into: not retired, parts of merged ones too."""
        return self.filter(retired_at=None, is_merged=False)


class Segment(models.Model):
    """One group of visitors, computed by `personas.segmentation`: means and sums over its members, never single people.

    A merged segment (see `personas.merging`) stands for its `parts`, into which visitors are still grouped; `moved`
    says what followed the merge, so that dividing it again restores what was before.

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
    is_merged = models.BooleanField(_("merged"), default=False, db_default=False, editable=False)
    merged_into = models.ForeignKey(
        "self",
        models.SET_NULL,
        null=True,
        blank=True,
        editable=False,
        related_name="parts",
        verbose_name=_("merged into"),
    )
    moved = models.JSONField(null=True, blank=True, editable=False)

    objects = SegmentQuerySet.as_manager()

    class Meta:
        verbose_name = _("segment")
        verbose_name_plural = _("segments")
        ordering: ClassVar[list[Any]] = ["number"]
        permissions = [
            ("export_segment", "Can export the people of a segment"),
            ("merge_segment", "Can merge and divide segments"),
        ]

    def __str__(self) -> str:
        return self.own_name or self.name or gettext("segment %d") % self.number

    @property
    def whole(self) -> Segment:
        """The segment that stands for it: itself, unless it is part of a merged one."""
        return self.merged_into or self


def in_segment(segment: Segment, prefix: str = "") -> models.Q:
    """A filter for the visitors of a segment, of its parts where it is merged. prefix: of another model, such as
    `visitor__`."""
    own, of_parts = f"{prefix}segment", f"{prefix}segment__merged_into"
    return models.Q(**{of_parts if segment.is_merged else own: segment})


def whole_id(prefix: str = "") -> Coalesce:
    """The primary key of the segment that stands for a visitor's own. prefix: as of `in_segment`."""
    return Coalesce(f"{prefix}segment__merged_into", f"{prefix}segment")
