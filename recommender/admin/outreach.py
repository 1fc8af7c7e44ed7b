"""Ready lists for a shop's e-mails: whom to win back, what is due again, and whose viewed items have become cheaper."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext, pgettext

from recommender.admin.exporting import csv_file
from recommender.admin.handouts import SEE_PEOPLE, hand_out
from recommender.admin.numbers import local
from recommender.admin.people import names_of
from recommender.admin.readonly import ReadOnlyAdmin
from recommender.admin.steps import Link, Step, require
from recommender.models import Outreach
from recommender.outreach.lists import LISTS, ReadyList

VIEW, EXPORT = "recommender.view_outreach", "recommender.export_outreach"
N_SHOWN = 50
N_LOOKED_AT = 5_000
"""People whom the page looks through for its examples; the file has all."""


@admin.register(Outreach)
class OutreachAdmin(ReadOnlyAdmin):
    def get_urls(self) -> list[URLPattern]:
        export = self.admin_site.admin_view(self.export_view)
        own = [pattern for pattern in super().get_urls() if pattern.name == "recommender_outreach_changelist"]
        exports = [
            path(f"{name}/export/", export, {"name": name}, name=f"recommender_outreach_{name}") for name in LISTS
        ]
        return [*exports, *own]

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Both permissions: the lists name people."""
        return super().has_view_permission(request, obj) and request.user.has_perm(SEE_PEOPLE)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Show the first people of one list; `?list=` chooses which."""
        require(request, VIEW)
        require(request, SEE_PEOPLE)
        wanted = request.GET.get("list", "")
        name = wanted if wanted in LISTS else next(iter(LISTS))
        rows = [LISTS[name].cells(row) for row in islice(LISTS[name].rows(most_people=N_LOOKED_AT), N_SHOWN)]
        names = names_of(str(cells[0]) for cells in rows)
        links = [Link(gettext("Export as CSV"), reverse(f"admin:recommender_outreach_{name}"))]
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "media": self.media,
            "title": gettext("Reasons to write"),
            "name": name,
            "list": LISTS[name],
            "lists": [(other, ready.title) for other, ready in LISTS.items()],
            "rows": [[names.get(str(cells[0]), cells[0]), *map(_shown, cells[1:])] for cells in rows],
            "n_shown": N_SHOWN,
            "n_looked_at": local(N_LOOKED_AT, ","),
            "links": links if request.user.has_perm(EXPORT) else [],
        }
        return TemplateResponse(request, "admin/recommender/outreach/page.html", context)

    def export_view(self, request: HttpRequest, name: str) -> HttpResponse:
        require(request, EXPORT)
        ready = LISTS[name]
        step = Step(
            title=gettext("Export: %s") % ready.title,
            question=gettext("Take this list as a file?"),
            consequences=(
                str(ready.meaning),
                gettext("It names people with an account who have consented to being recorded."),
                gettext("Whether they want e-mails is for your e-mail system to know."),
                gettext("Your name and the time are written down among the actions of staff."),
            ),
            button=gettext("Export as CSV"),
            back_url=reverse("admin:recommender_outreach_changelist") + f"?list={name}",
        )
        return hand_out(self, request, step, what=str(ready.title), file=lambda: _file(name, ready))


def _file(name: str, ready: ReadyList) -> HttpResponseBase:
    header: Sequence[str] = [column for column, _label in ready.columns]
    moment = timezone.now()
    return csv_file(f"{name}-{moment:%Y-%m-%d}.csv", header, (ready.cells(row) for row in ready.rows(at=moment)))


def _shown(cell: Any) -> str:
    return date_format(cell, pgettext("format of a day", "j M Y")) if hasattr(cell, "isoformat") else str(cell)
