"""Steps that let one segment stand for several, and take that back."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import URLPattern, path, reverse
from django.utils.http import urlencode
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from recommender.admin.numbers import local
from recommender.admin.steps import Link, Outcome, Step, require, walk
from recommender.exceptions import SegmentError
from recommender.models import Segment
from recommender.personas import merging

MERGE = "recommender.merge_segment"


class MergeForm(forms.Form):
    """The name of the merged segment."""

    name = forms.CharField(
        max_length=merging.MAX_NAME, label=_("Name"), help_text=_("What the merged segment is called from now on.")
    )

    def __init__(self, pks: list[int], *positional: Any, **named: Any) -> None:
        super().__init__(*positional, **named)
        self.pks = pks

    def clean(self) -> dict[str, Any]:
        """Refuse what cannot be merged while what was typed is still on the page."""
        values: dict[str, Any] = super().clean() or {}
        if "name" in values:
            try:
                merging.require_mergeable(self.pks, name=values["name"])
            except SegmentError as error:
                raise forms.ValidationError(str(error)) from error
        return values


class MergingSteps(admin.ModelAdmin):
    """Adds merging and dividing to the admin of segments."""

    def merging_urls(self, wrap: Callable[..., Any]) -> list[URLPattern]:
        return [
            path("merge/", wrap(self.merge_view), name="recommender_segment_merge"),
            path("<int:pk>/divide/", wrap(self.divide_view), name="recommender_segment_divide"),
        ]

    def has_merge_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(MERGE)

    @admin.action(description=_("Merge the selected segments"), permissions=["merge"])
    def merge_selected(self, request: HttpRequest, queryset: QuerySet[Segment]) -> HttpResponse:
        """Lead to the page that asks."""
        chosen = urlencode([("segment", pk) for pk in queryset.order_by("number").values_list("pk", flat=True)])
        return redirect(f"{reverse('admin:recommender_segment_merge')}?{chosen}")

    def merge_view(self, request: HttpRequest) -> HttpResponse:
        """Ask for a name and say what follows, then merge."""
        require(request, MERGE)
        pks = [int(number) for number in request.GET.getlist("segment") if number.isdecimal()]
        back_url = reverse("admin:recommender_segment_changelist")
        form = MergeForm(pks, request.POST if request.method == "POST" else None)
        if request.method != "POST":
            try:
                merging.require_mergeable(pks)
            except SegmentError as error:
                messages.error(request, str(error))
                return redirect(back_url)
        step = Step(
            title=gettext("Merge segments"),
            question=gettext("Let one segment stand for these?"),
            consequences=_what_merging_means(list(Segment.objects.filter(pk__in=pks).order_by("number"))),
            button=gettext("Merge"),
            back_url=back_url,
            form=form,
        )

        def act() -> Outcome:
            whole = merging.merge(pks, name=form.cleaned_data["name"])
            log = gettext("Merged from %s.") % _listed(whole.parts.order_by("number"))
            message = gettext("“%s” is one segment now. Rules serve it within seconds.") % whole
            return Outcome(whole, log, message, reverse("admin:recommender_segment_change", args=[whole.pk]))

        return walk(self, request, step, act)

    def divide_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Ask, then take a merge back."""
        require(request, MERGE)
        back_url = reverse("admin:recommender_segment_changelist")
        whole = Segment.objects.in_use().filter(is_merged=True, pk=pk).first()
        if whole is None:
            messages.error(request, gettext("This segment is not merged, or not any more: choose another."))
            return redirect(back_url)
        step = Step(
            title=gettext("Divide %s") % whole,
            question=gettext("Divide this segment again?"),
            consequences=_what_dividing_means(whole),
            button=gettext("Divide"),
            back_url=reverse("admin:recommender_segment_change", args=[pk]),
        )

        def act() -> Outcome:
            parts = _listed(whole.parts.order_by("number"))
            divided = merging.divide(pk)
            message = gettext("“%s” is divided.") % divided
            return Outcome(divided, gettext("Divided into %s.") % parts, message, back_url)

        return walk(self, request, step, act)


def divide_link(request: HttpRequest, segment: Segment) -> list[Link]:
    """The step that takes a merge back, for who may."""
    if not (segment.is_merged and request.user.has_perm(MERGE)):
        return []
    return [Link(gettext("Divide again"), reverse("admin:recommender_segment_divide", args=[segment.pk]), "danger")]


def _what_merging_means(segments: list[Segment]) -> tuple[str, ...]:
    n = sum(segment.n_people for segment in segments)
    people = ngettext("%(parts)s: one segment of %(n)s shopper.", "%(parts)s: one segment of %(n)s shoppers.", n)
    each = ", ".join(f"“{segment}” ({local(segment.n_people, ',')})" for segment in segments)
    named = merging.followers([segment.pk for segment in segments])
    lines = [people % {"parts": each, "n": local(n, ",")}]
    if named.rules:
        lines.append(gettext("These rules hold for all of them from then on: %s.") % _listed(named.rules))
    else:
        lines.append(gettext("No rule names one of them."))
    if named.experiments:
        lines.append(gettext("These experiments are for all of them from then on: %s.") % _listed(named.experiments))
    else:
        lines.append(gettext("No experiment names one of them."))
    if named.queries:
        lines.append(gettext("Queries watched for one of them are watched for all: %s.") % _listed(named.queries))
    if named.webhooks:
        lines.append(gettext("These webhooks are told of all of them from then on: %s.") % _listed(named.webhooks))
    return (*lines, gettext("It is kept when segments are computed again, and can be divided again."))


def _what_dividing_means(whole: Segment) -> tuple[str, ...]:
    left, named = merging.left_behind(whole), merging.followers([whole.pk])
    lines = [gettext("Its shoppers are in these segments again: %s.") % _listed(whole.parts.filter(retired_at=None))]
    returning = [
        row
        for all_of_them, staying in (
            (named.rules, left.rules),
            (named.experiments, left.experiments),
            (named.webhooks, left.webhooks),
        )
        for row in all_of_them
        if row not in staying
    ]
    if returning:
        lines.append(gettext("These return to the segment that they named: %s.") % _listed(returning))
    if abandoned := [*left.rules, *left.experiments, *left.webhooks]:
        lines.append(
            gettext("These were written for the merged segment, and are for nobody until you choose another: %s.")
            % _listed(abandoned)
        )
    return tuple(lines)


def _listed(rows: Iterable[Any]) -> str:
    """The names of rows, in quotation marks."""
    return ", ".join(f"“{row}”" for row in rows)
