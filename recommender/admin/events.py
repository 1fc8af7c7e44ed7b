"""Events, impressions and visitors as they were recorded, to read and to search, never to change."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from recommender.admin.filters import DeviceFilter, PersonalisedFilter, SegmentFilter, SignedInFilter, SourceFilter
from recommender.admin.items import listed, titles_of
from recommender.admin.people import N_MATCHES, names_of, uuid_or_none, visitors_matching
from recommender.admin.readonly import BoundedChangeList, ReadOnlyAdmin
from recommender.models import Event, Impression, Visitor


class BehaviourChangeList(BoundedChangeList):
    """Adds the titles of the items and the names of the people on one page: two queries."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        rows: list[Any] = list(self.result_list)
        titles = titles_of({getattr(row, "item_id", "") for row in rows})
        names = names_of(row.visitor.user_key for row in rows if row.visitor_id)
        for row in rows:
            row.item_title = titles.get(getattr(row, "item_id", ""), getattr(row, "item_id", ""))
            row.person = (names.get(row.visitor.user_key or "") or str(row.visitor)) if row.visitor_id else ""
        self.result_list = rows


class BehaviourAdmin(ReadOnlyAdmin):
    """Newest first by the index on `occurred_at`; a search uses indexed columns only."""

    ordering = ("-occurred_at",)
    sortable_by = ("occurred_at",)
    list_select_related = ("visitor",)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return BehaviourChangeList

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        words = search_term.strip()
        if not words:
            return queryset, False
        visitors = list(Visitor.objects.filter(visitors_matching(words)).values_list("pk", flat=True)[:N_MATCHES])
        return queryset.filter(Q(visitor_id__in=visitors) | self.own_match(words)), False

    def own_match(self, words: str) -> Q:
        """Return the condition on the row's own keys."""
        raise NotImplementedError

    @admin.display(description=_("visitor"))
    def who(self, row: Any) -> SafeString | str:
        if not row.visitor_id:
            return "—"
        url = reverse("admin:recommender_persona_change", args=[row.visitor_id])
        return format_html('<a href="{}">{}</a>', url, getattr(row, "person", row.visitor))


@admin.register(Event)
class EventAdmin(BehaviourAdmin):
    list_display = ("occurred_at", "type", "what", "quantity", "who", "source_in_words", "device_in_words")
    list_filter = ("type", SourceFilter, DeviceFilter, "is_bot", "occurred_at")
    search_fields = ("item_id",)
    search_help_text = _("Item id, message id, user's name, or the key of a user or a visitor")

    @admin.display(description=_("item or query"))
    def what(self, event: Event) -> str:
        return getattr(event, "item_title", event.item_id) or (f"“{event.query}”" if event.query else "—")

    def own_match(self, words: str) -> Q:
        return Q(item_id=words) | Q(message_id=words)


@admin.register(Impression)
class ImpressionAdmin(BehaviourAdmin):
    list_display = ("occurred_at", "slot", "n_items", "query", "rung", "who", "source_in_words", "device_in_words")
    list_filter = ("slot", "rung", SourceFilter, DeviceFilter, "is_bot", "occurred_at")
    search_fields = ("ranking_id",)
    search_help_text = _("Ranking id, user's name, or the key of a user or a visitor")
    exclude = ("item_ids", "propensities")
    readonly_fields = ("items_shown",)

    @admin.display(description=_("items"))
    def n_items(self, impression: Impression) -> int:
        return len(impression.item_ids)

    @admin.display(description=_("items shown"))
    def items_shown(self, impression: Impression) -> SafeString:
        return listed(impression.item_ids, start=impression.first_position)

    def own_match(self, words: str) -> Q:
        key = uuid_or_none(words)
        return Q(ranking_id=key) if key else Q(pk__in=[])


@admin.register(Visitor)
class VisitorAdmin(ReadOnlyAdmin):
    list_display = (
        "short_key",
        "user_key",
        "last_seen_at",
        "device_in_words",
        "has_consented",
        "is_profiled",
        "persona",
    )
    list_filter = (SignedInFilter, PersonalisedFilter, SegmentFilter, DeviceFilter, "last_seen_at")
    search_fields = ("key",)
    search_help_text = _("Name of a user, or the key of a user or a visitor")
    ordering = ("-last_seen_at",)
    sortable_by = ("last_seen_at",)
    readonly_fields = ("key",)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        return (queryset.filter(visitors_matching(search_term)) if search_term.strip() else queryset), False

    @admin.display(description=_("visitor"))
    def short_key(self, visitor: Visitor) -> str:
        return str(visitor.key)[:8]

    @admin.display(description=_("persona"))
    def persona(self, visitor: Visitor) -> SafeString:
        url = reverse("admin:recommender_persona_change", args=[visitor.pk])
        return format_html('<a href="{}">{}</a>', url, _("show"))
