"""What became of the events of each day, and those that were rejected, with their reasons."""

from __future__ import annotations

import json

from django.contrib import admin
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from recommender.admin.filters import SourceFilter
from recommender.admin.readonly import ReadOnlyAdmin
from recommender.models import EventCount, RejectedEvent


@admin.register(EventCount)
class EventCountAdmin(ReadOnlyAdmin):
    list_display = ("day", "source_in_words", "n_sent", "accepted", "duplicate", "rejected", "dropped")
    list_filter = (SourceFilter, "day")
    ordering = ("-day", "source")
    sortable_by = ("day",)

    @admin.display(description=_("sent"))
    def n_sent(self, row: EventCount) -> int:
        return row.sent


@admin.register(RejectedEvent)
class RejectedEventAdmin(ReadOnlyAdmin):
    list_display = ("received_at", "source_in_words", "code", "reason", "event_type", "device_in_words")
    list_filter = ("code", SourceFilter, "received_at")
    ordering = ("-received_at",)
    sortable_by = ("received_at",)
    fields = ("received_at", "source", "code", "reason", "whole_event", "device", "region", "is_bot")
    readonly_fields = fields

    @admin.display(description=_("type"))
    def event_type(self, row: RejectedEvent) -> str:
        return str(row.payload.get("type", "—"))

    @admin.display(description=_("event"))
    def whole_event(self, row: RejectedEvent) -> SafeString:
        return format_html('<pre class="rec-pre">{}</pre>', json.dumps(row.event, indent=2, ensure_ascii=False))
