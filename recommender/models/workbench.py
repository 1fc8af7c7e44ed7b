"""The workbench's entry in the admin, with a permission of its own: `view_workbench`."""

from __future__ import annotations

from django.utils.translation import gettext_lazy as _

from recommender.models.queries import QueryStatistics


class Workbench(QueryStatistics):
    """A page that shows lists and why they are so; it stores nothing."""

    class Meta:
        proxy = True
        verbose_name = _("workbench")
        verbose_name_plural = _("workbench")
        default_permissions = ("view",)
