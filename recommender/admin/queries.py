"""Synonyms to write, approve and reject, and the queries that several visitors typed."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from recommender.admin.filters import DecisionFilter
from recommender.admin.items import listed
from recommender.admin.readonly import ReadOnlyAdmin, StyledAdmin
from recommender.admin.runs import badge
from recommender.models import QueryStatistics, Synonym


@admin.register(Synonym)
class SynonymAdmin(StyledAdmin):
    list_display = ("words", "meaning", "kind", "decision", "source", "n_evidence", "updated_at")
    list_filter = (DecisionFilter, "kind", "source")
    search_fields = ("words", "meaning")
    ordering = ("-is_active", "-n_evidence", "words")
    fields = ("words", "meaning", "kind", "is_active", "source", "n_evidence", "reviewed_at")
    readonly_fields = ("source", "n_evidence", "reviewed_at")
    actions = ("approve", "reject")
    show_full_result_count = False

    @admin.display(description=_("state"))
    def decision(self, synonym: Synonym) -> SafeString:
        if synonym.is_active:
            return badge("succeeded", gettext("in use"))
        if synonym.reviewed_at is None:
            return badge("queued", gettext("proposed"))
        return badge("cancelled", gettext("rejected"))

    @admin.action(description=_("Approve: search uses the selected synonyms"), permissions=["change"])
    def approve(self, request: HttpRequest, chosen: QuerySet[Synonym]) -> None:
        n = self._decide(request, chosen, is_active=True)
        text = ngettext("%d synonym is in use within seconds.", "%d synonyms are in use within seconds.", n) % n
        self.message_user(request, text, messages.SUCCESS)

    @admin.action(description=_("Reject: do not use or propose the selected synonyms"), permissions=["change"])
    def reject(self, request: HttpRequest, chosen: QuerySet[Synonym]) -> None:
        n = self._decide(request, chosen, is_active=False)
        text = ngettext("%d synonym is rejected and not proposed again.", "%d synonyms are rejected.", n) % n
        self.message_user(request, text, messages.SUCCESS)

    def save_model(self, request: HttpRequest, obj: Synonym, form: Any, change: bool) -> None:
        """Saving is a decision."""
        obj.reviewed_at = timezone.now()
        super().save_model(request, obj, form, change)

    def _decide(self, request: HttpRequest, chosen: QuerySet[Synonym], *, is_active: bool) -> int:
        synonyms = list(chosen)
        for synonym in synonyms:
            synonym.is_active, synonym.reviewed_at, synonym.updated_at = is_active, timezone.now(), timezone.now()
        Synonym.objects.bulk_update(synonyms, ["is_active", "reviewed_at", "updated_at"])
        for synonym in synonyms:
            self.log_change(request, synonym, gettext("Approved.") if is_active else gettext("Rejected."))
        return len(synonyms)


@admin.register(QueryStatistics)
class QueryStatisticsAdmin(ReadOnlyAdmin):
    list_display = ("query", "n_visitors", "n_searches", "n_led_to", "last_at")
    search_fields = ("query__startswith",)
    search_help_text = _("The beginning of a query")
    ordering = ("-n_visitors",)
    sortable_by = ("n_visitors", "last_at")
    fields = ("query", "n_visitors", "n_searches", "last_at", "led_to")
    readonly_fields = fields

    @admin.display(description=_("items it led to"))
    def n_led_to(self, statistics: QueryStatistics) -> int:
        return len(statistics.items)

    @admin.display(description=_("led to"))
    def led_to(self, statistics: QueryStatistics) -> SafeString:
        return listed([pair[0] for pair in statistics.items], notes=[f"· {pair[1]}" for pair in statistics.items])
