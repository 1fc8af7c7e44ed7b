"""Alarms: which item or query was manipulated, by how many visitors, and which groups of items are shown too little."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from recommender.admin.filters import SeenFilter
from recommender.admin.items import titles_of
from recommender.admin.readonly import BoundedChangeList, ReadOnlyAdmin
from recommender.admin.runs import badge
from recommender.models import Alarm


class AlarmChangeList(BoundedChangeList):
    """Adds the titles of the items of one page: one query."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        rows: list[Any] = list(self.result_list)
        titles = titles_of(row.item_id for row in rows)
        for row in rows:
            row.item_title = titles.get(row.item_id, row.item_id)
        self.result_list = rows


@admin.register(Alarm)
class AlarmAdmin(ReadOnlyAdmin):
    list_display = ("day", "period", "kind", "what", "people", "of_whom_count", "state")
    list_filter = (SeenFilter, "kind")
    search_fields = ("item_id__exact", "query__startswith")
    search_help_text = _("Item id, or the beginning of a query or group")
    ordering = ("-day", "-n_people")
    sortable_by = ("people",)
    actions = ("mark_seen",)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return AlarmChangeList

    @admin.display(description=_("item, query or group"))
    def what(self, alarm: Alarm) -> str:
        if alarm.kind == Alarm.Kind.EXPOSURE:
            return str(alarm)
        return f"“{alarm.query}”" if alarm.query else getattr(alarm, "item_title", alarm.item_id)

    @admin.display(description=_("visitors"), ordering="n_people")
    def people(self, alarm: Alarm) -> str:
        return "–" if alarm.kind == Alarm.Kind.EXPOSURE else str(alarm.n_people)

    @admin.display(description=_("of whom count"))
    def of_whom_count(self, alarm: Alarm) -> str:
        return "–" if alarm.kind == Alarm.Kind.EXPOSURE else str(alarm.limit)

    @admin.display(description=_("period"))
    def period(self, alarm: Alarm) -> str:
        return ngettext("%d day", "%d days", alarm.n_days) % alarm.n_days

    @admin.display(description=_("state"))
    def state(self, alarm: Alarm) -> SafeString:
        return badge("cancelled", gettext("seen")) if alarm.seen_at else badge("failed", gettext("new"))

    @admin.action(description=_("Mark the selected alarms as seen"), permissions=["view"])
    def mark_seen(self, request: HttpRequest, chosen: QuerySet[Alarm]) -> None:
        n = chosen.filter(seen_at=None).update(seen_at=timezone.now())
        text = ngettext("%d alarm is marked as seen.", "%d alarms are marked as seen.", n) % n
        self.message_user(request, text, messages.SUCCESS)
