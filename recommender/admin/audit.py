"""What people did in this app's admin, on one page and as a file: who, when, with what, and what they wrote."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, StreamingHttpResponse
from django.urls import NoReverseMatch, URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from recommender.admin.exporting import csv_file
from recommender.admin.readonly import ReadOnlyAdmin
from recommender.admin.steps import Link, require
from recommender.models import Action

EXPORT = "recommender.view_action"
HEADER = ("when", "who", "what", "object", "id", "message")


@admin.register(Action)
class ActionAdmin(ReadOnlyAdmin):
    list_display = ("action_time", "user", "kind", "subject", "message")
    list_display_links = None
    list_filter = ("action_time", ("user", admin.RelatedOnlyFieldListFilter))
    list_select_related = ("user", "content_type")
    ordering = ("-action_time", "-pk")
    change_list_template = "admin/recommender/action/change_list.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Action]:
        return super().get_queryset(request).filter(content_type__app_label="recommender")

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        return [path("export/", wrap(self.export_view), name="recommender_action_export"), *super().get_urls()]

    @admin.display(description=_("what"))
    def kind(self, action: Action) -> str:
        return f"{action.content_type}: {action.get_action_flag_display()}"

    @admin.display(description=_("object"))
    def subject(self, action: Action) -> SafeString | str:
        model = action.content_type.model if action.content_type is not None else ""
        try:
            url = reverse(f"admin:recommender_{model}_change", args=[action.object_id])
        except NoReverseMatch:
            return action.object_repr
        return format_html('<a href="{}">{}</a>', url, action.object_repr)

    @admin.display(description=_("what they wrote"))
    def message(self, action: Action) -> str:
        return action.get_change_message()

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        links = [Link(str(_("Export as CSV")), reverse("admin:recommender_action_export"))]
        return super().changelist_view(request, {"links": links, **(extra_context or {})})

    def export_view(self, request: HttpRequest) -> StreamingHttpResponse:
        require(request, EXPORT)
        return csv_file("actions.csv", HEADER, self._rows(request))

    def _rows(self, request: HttpRequest) -> Iterator[tuple[Any, ...]]:
        actions = self.get_queryset(request).select_related("user", "content_type").order_by("pk")
        for action in actions.iterator(chunk_size=2_000):
            when, who = action.action_time.isoformat(), action.user.get_username()
            yield when, who, self.kind(action), action.object_repr, action.object_id, action.get_change_message()
