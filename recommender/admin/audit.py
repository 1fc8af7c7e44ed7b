"""What people did in this app's admin, on one page and as a file: who, when, with what, and what they wrote."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.template.response import TemplateResponse
from django.urls import NoReverseMatch, URLPattern, path, reverse
from django.utils.translation import gettext

from recommender.admin.exporting import csv_file
from recommender.admin.readonly import BoundedPaginator, ReadOnlyAdmin
from recommender.admin.steps import Link, require
from recommender.models import Approval

SEE = "recommender.view_action"
HEADER = ("when", "who", "what", "object", "id", "message")
N_A_PAGE = 50


@admin.register(Approval)
class ApprovalAdmin(ReadOnlyAdmin):
    """Approvals of promotions, and beside them the page of all that people did."""

    list_display = ("bundle", "name", "note", "created_at", "used_at")
    list_select_related = ("bundle",)
    ordering = ("-pk",)
    change_list_template = "admin/recommender/approval/change_list.html"

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        return [
            path("actions/", wrap(self.actions_view), name="recommender_actions"),
            path("actions/export/", wrap(self.export_view), name="recommender_actions_export"),
            *super().get_urls(),
        ]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        links = [Link(gettext("What people did"), reverse("admin:recommender_actions"))]
        shown = links if request.user.has_perm(SEE) else []
        return super().changelist_view(request, {"links": shown, **(extra_context or {})})

    def actions_view(self, request: HttpRequest) -> HttpResponse:
        require(request, SEE)
        who = request.GET.get("who", "")[:150]
        entries = _entries().order_by("-action_time", "-pk")
        if who:
            entries = entries.filter(**{f"user__{LogEntry.user.field.related_model.USERNAME_FIELD}": who})  # type: ignore[attr-defined]
        entries_of_page = BoundedPaginator(entries, N_A_PAGE).get_page(request.GET.get("p"))
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "media": self.media,
            "title": gettext("What people did"),
            "page": entries_of_page,
            "rows": [(entry, _kind(entry), _url(entry), entry.get_change_message()) for entry in entries_of_page],
            "who": who,
            "links": [Link(gettext("Export as CSV"), reverse("admin:recommender_actions_export"))],
        }
        return TemplateResponse(request, "admin/recommender/approval/actions.html", context)

    def export_view(self, request: HttpRequest) -> StreamingHttpResponse:
        require(request, SEE)
        return csv_file("actions.csv", HEADER, _rows())


def _entries() -> QuerySet[LogEntry]:
    entries = LogEntry.objects.filter(content_type__app_label="recommender")
    return entries.select_related("user", "content_type")


def _rows() -> Iterator[tuple[Any, ...]]:
    for entry in _entries().order_by("pk").iterator(chunk_size=2_000):
        when, who = entry.action_time.isoformat(), entry.user.get_username()
        yield when, who, _kind(entry), entry.object_repr, entry.object_id, entry.get_change_message()


def _kind(entry: LogEntry) -> str:
    name = entry.content_type.name if entry.content_type is not None else ""
    return f"{name}: {entry.get_action_flag_display()}"


def _url(entry: LogEntry) -> str:
    model = entry.content_type.model if entry.content_type is not None else ""
    try:
        return reverse(f"admin:recommender_{model}_change", args=[entry.object_id])
    except NoReverseMatch:
        return ""
