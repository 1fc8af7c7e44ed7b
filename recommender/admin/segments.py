"""Segments of visitors: what distinguishes each, examples, and a name that people can give."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from recommender import serving
from recommender.admin.charts import Bar, bar_chart
from recommender.admin.exporting import csv_file
from recommender.admin.handouts import SEE_PEOPLE, hand_out
from recommender.admin.items import listed
from recommender.admin.numbers import local
from recommender.admin.people import names_of
from recommender.admin.readonly import ReadOnlyAdmin
from recommender.admin.segment_merging import MergingSteps, divide_link
from recommender.admin.steps import Link, Step, require
from recommender.models import Segment, Visitor
from recommender.models.segments import in_segment
from recommender.outreach.members import COLUMNS, cells_of, members

EXPORT = "recommender.export_segment"
N_EXAMPLES = 10
LEAST_COUNT = 3.0
"""Least weighted events by all members together for an item to be an example."""


class NameForm(forms.ModelForm):
    """A name that somebody gave since the page was opened is not overwritten: `read_name` is that of the page."""

    read_name = forms.CharField(required=False, widget=forms.HiddenInput, label=_("Name that was read"))

    def __init__(self, *positional: Any, **named: Any) -> None:
        super().__init__(*positional, **named)
        if "read_name" in self.fields:
            self.fields["read_name"].initial = self.instance.own_name

    def clean(self) -> dict[str, Any]:
        values: dict[str, Any] = super().clean() or {}
        stored = Segment.objects.filter(pk=self.instance.pk).values_list("own_name", flat=True).first()
        if stored is not None and stored != values.get("read_name"):
            text = gettext("Somebody has named it “%s” since you opened this page. Nothing was overwritten.")
            raise forms.ValidationError(text % stored)
        return values


@admin.register(Segment)
class SegmentAdmin(MergingSteps, ReadOnlyAdmin):
    """Segments are named, merged and divided; the rest is computed from behaviour."""

    form = NameForm
    actions = ("merge_selected",)

    list_display = ("title", "n_people", "share_of_people", "distinguished_by", "personas", "computed_at")
    sortable_by = ("n_people",)
    readonly_fields = (
        "name", "number", "parts", "n_people", "chart", "example_items", "example_people", "computed_at",
    )  # fmt: skip

    def get_queryset(self, request: HttpRequest) -> QuerySet[Segment]:
        return super().get_queryset(request).filter(retired_at=None, merged_into=None)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """Parts are those of a merged segment; the name that was read is that of a form."""
        computed = tuple(name for name in self.readonly_fields if name != "parts" or (obj and obj.is_merged))
        read_name = ("read_name",) if self.has_change_permission(request, obj) else ()
        return ("own_name", *computed, *read_name)

    def save_model(self, request: HttpRequest, obj: Segment, form: Any, change: bool) -> None:
        """Only the name: the rest may be computed at this moment."""
        obj.save(update_fields=["own_name"])

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return admin.ModelAdmin.has_change_permission(self, request, obj)

    def get_urls(self) -> list[URLPattern]:
        export = self.admin_site.admin_view(self.export_view)
        return [
            path("<int:pk>/export/", export, name="recommender_segment_export"),
            *self.merging_urls(self.admin_site.admin_view),
            *super().get_urls(),
        ]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        context = {"links": _links(request, object_id), **(extra_context or {})}
        return super().change_view(request, object_id, form_url, context)

    def export_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Ask, then hand out the people of a segment as a file."""
        require(request, EXPORT)
        segment = get_object_or_404(Segment.objects.in_use(), pk=pk)
        step = Step(
            title=gettext("Export %s") % segment,
            question=gettext("Take the people of this segment as a file?"),
            consequences=(
                gettext("It names people with an account who have consented: user, orders, last order, interests."),
                gettext("Visitors without an account are left out, so there may be fewer than the segment counts."),
                gettext("Your name and the time are written down among the actions of staff."),
            ),
            button=gettext("Export as CSV"),
            back_url=reverse("admin:recommender_segment_change", args=[pk]),
        )
        return hand_out(self, request, step, what=str(segment), obj=segment, file=lambda: _file_of(segment))

    @admin.display(description=_("segment"))
    def title(self, segment: Segment) -> str:
        return str(segment)

    @admin.display(description=_("merged from"))
    def parts(self, segment: Segment) -> str:
        parts = segment.parts.filter(retired_at=None).order_by("number")
        return ", ".join(f"{part} ({local(part.n_people, ',')})" for part in parts) or "—"

    @admin.display(description=_("share"))
    def share_of_people(self, segment: Segment) -> str:
        total = sum(Segment.objects.in_use().values_list("n_people", flat=True))
        return local(segment.n_people / max(total, 1), ".0%")

    @admin.display(description=_("what distinguishes it"))
    def distinguished_by(self, segment: Segment) -> str:
        return ", ".join(
            f"{words} {local(share, '.0%')} ({local(overall, '.0%')})"
            for _, _, words, share, overall in segment.traits[:4]
        )

    @admin.display(description=_("personas"))
    def personas(self, segment: Segment) -> SafeString:
        url = f"{reverse('admin:recommender_persona_changelist')}?segment={segment.number}"
        return format_html('<a href="{}">{}</a>', url, _("show"))

    @admin.display(description=_("what distinguishes it"))
    def chart(self, segment: Segment) -> SafeString:
        """Draw the members' share on each distinguishing trait, with everybody's in words."""
        everybody = gettext("everybody")
        bars = [
            Bar(words, share, f"{local(share, '.0%')} · {everybody} {local(overall, '.0%')}")
            for *__, words, share, overall in segment.traits
        ]
        return bar_chart(bars, title=str(_("What distinguishes it"))) if bars else SafeString("—")

    @admin.display(description=_("items its members like more than others"))
    def example_items(self, segment: Segment) -> SafeString:
        total = max(sum(segment.item_counts.values()), 1e-9)
        rest: dict[str, float] = {}
        for counts in Segment.objects.in_use().values_list("item_counts", flat=True):
            for item_id, count in counts.items():
                rest[item_id] = rest.get(item_id, 0) + count
        everybody = max(sum(rest.values()), 1e-9)
        liking = {
            item_id: (count / total) * (count / total / (rest[item_id] / everybody))
            for item_id, count in segment.item_counts.items()
            if count >= LEAST_COUNT
        }
        return listed(sorted(liking, key=lambda item_id: -liking[item_id])[:N_EXAMPLES])

    @admin.display(description=_("some of its members"))
    def example_people(self, segment: Segment) -> SafeString:
        visitors = list(Visitor.objects.filter(in_segment(segment)).order_by("-last_seen_at")[:N_EXAMPLES])
        names = names_of(visitor.user_key for visitor in visitors)
        links = (
            (
                reverse("admin:recommender_persona_change", args=[visitor.pk]),
                names.get(visitor.user_key or "") or str(visitor),
            )
            for visitor in visitors
        )
        return format_html_join(", ", '<a href="{}">{}</a>', links) or SafeString("—")


def _links(request: HttpRequest, object_id: str) -> list[Link]:
    """The steps of one segment that this user may take."""
    segment = Segment.objects.in_use().filter(pk=object_id).first() if object_id.isdecimal() else None
    if segment is None:
        return []
    links = divide_link(request, segment)
    if request.user.has_perm(EXPORT) and request.user.has_perm(SEE_PEOPLE):
        links.insert(0, Link(gettext("Export as CSV"), reverse("admin:recommender_segment_export", args=[object_id])))
    return links


def _file_of(segment: Segment) -> HttpResponseBase:
    rows = members(segment, serving.current().shelf, at=timezone.now())
    name = f"segment-{segment.number}-{timezone.now():%Y-%m-%d}.csv"
    return csv_file(name, COLUMNS, (cells_of(row) for row in rows))
