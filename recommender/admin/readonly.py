"""Base of the pages of behaviour: nothing can be changed, and no query gets slower with the size of the table."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.admin.options import ShowFacets
from django.contrib.admin.views.main import ChangeList
from django.core.paginator import Paginator
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.functional import cached_property
from django.utils.text import capfirst
from django.utils.translation import gettext_lazy as _

from recommender.models.words import words_of

N_COUNTED = 10_000
"""Rows that a page counts and pages through; to see more, search or filter."""


class BoundedPaginator(Paginator):
    """Counts to `N_COUNTED` at most, so that a page takes as long with a thousand rows as with five million."""

    @cached_property
    def count(self) -> int:
        rows: QuerySet[Any] = self.object_list[:N_COUNTED]  # type: ignore[assignment]
        return rows.count()

    @property
    def is_cut(self) -> bool:
        """There may be more rows than were counted."""
        return self.count >= N_COUNTED


class BoundedChangeList(ChangeList):
    """Sorts by the columns of `sortable_by` only; Django hides the other headings, but obeys a typed address."""

    def get_ordering_field(self, field_name: Any) -> Any:
        return super().get_ordering_field(field_name) if field_name in (self.sortable_by or ()) else None


class StyledAdmin(admin.ModelAdmin):
    """Uses the style sheet of the recommender's pages."""

    class Media:
        css = {"all": ("recommender/admin.css",)}


class ReadOnlyAdmin(StyledAdmin):
    """Shows rows; nobody can add, change or delete any, not even a superuser."""

    paginator = BoundedPaginator
    show_full_result_count = False
    show_facets = ShowFacets.NEVER
    list_per_page = 50
    list_max_show_all = 0
    sortable_by: ClassVar[list[str] | tuple[str, ...] | None] = ()
    actions: Any = None

    @admin.display(description=_("source"))
    def source_in_words(self, row: Any) -> str:
        return words_of(row.source)

    @admin.display(description=_("device"))
    def device_in_words(self, row: Any) -> str:
        return words_of(row.device)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return BoundedChangeList

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        title = capfirst(self.opts.verbose_name_plural)
        return super().changelist_view(request, {"title": title, **(extra_context or {})})

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False
