"""Who is shown: the exposure of brands, categories, price bands and new items, and the floors that it must not pass."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.http import urlencode
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from recommender import bundles
from recommender.admin.exporting import csv_file
from recommender.admin.exposure_tables import group_label, group_tables
from recommender.admin.readonly import ReadOnlyAdmin, StyledAdmin
from recommender.admin.steps import Link, require
from recommender.exposure import catalogue, groups, reading
from recommender.exposure.reading import ExposurePeriod
from recommender.models import Exposure, ExposureFloor

SEE = "recommender.view_exposure"
SPANS = (1, 7, 30)
NO_MODEL = "-"
"""In an address, the lists that no model served."""

HEADER = ("attribute", "group", "exposure", "low", "high", "catalogue", "demand", "floor", "is_below")


@admin.register(Exposure)
class ExposureAdmin(ReadOnlyAdmin):
    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view  # a single row says nothing, so it has no page
        return [
            path("", wrap(self.changelist_view), name="recommender_exposure_changelist"),
            path("export/", wrap(self.export_view), name="recommender_exposure_export"),
        ]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Show one period and arm; `?days=` chooses among `SPANS`, `?arm=` a bundle that served in it, else all."""
        require(request, SEE)
        n_days, arm, period = _chosen(request)
        query = urlencode([("days", n_days)] + ([("arm", arm)] if arm else []))
        tables = group_tables(period.standings)
        links = [Link(gettext("Export as CSV"), f"{reverse('admin:recommender_exposure_export')}?{query}")]
        if request.user.has_perm("recommender.view_exposurefloor"):
            links.append(Link(gettext("Floors"), reverse("admin:recommender_exposurefloor_changelist")))
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "media": self.media,
            "title": gettext("Exposure"),
            "n_days": n_days,
            "spans": SPANS,
            "arm": arm,
            "arm_query": urlencode({"arm": arm}) if arm else "",
            "arms": _arms(period),
            "tables": tables,
            "n_below": sum(table.n_below for table in tables),
            "period": period,
            "links": links,
        }
        return TemplateResponse(request, "admin/recommender/exposure/page.html", context)

    def export_view(self, request: HttpRequest) -> StreamingHttpResponse:
        require(request, SEE)
        n_days, _arm, period = _chosen(request)
        return csv_file(f"exposure-{n_days}-days.csv", HEADER, _rows(period))


class ExposureFloorForm(forms.ModelForm):
    class Meta:
        model = ExposureFloor
        fields = ("attribute", "value", "basis", "part")

    def clean_attribute(self) -> str:
        attribute: str = self.cleaned_data["attribute"].strip()
        names = (*catalogue.attributes(), groups.PRICE, groups.NEWNESS)
        if attribute not in names:
            raise ValidationError(
                _("Exposure is not counted by %(name)s. Write one of %(names)s, or add it to EXPOSURE_ATTRIBUTES."),
                params={"name": attribute, "names": ", ".join(names)},
            )
        return attribute

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        values = {
            groups.PRICE: tuple(str(number) for number in range(1, groups.N_BANDS + 1)),
            groups.NEWNESS: (groups.NEW, groups.OLDER),
        }.get(cleaned.get("attribute", ""))
        if values is not None and cleaned.get("value") not in values:
            self.add_error("value", _("There is no such group. Write one of %s.") % ", ".join(values))
        return cleaned


@admin.register(ExposureFloor)
class ExposureFloorAdmin(StyledAdmin):
    form = ExposureFloorForm
    list_display = ("group", "part", "basis")
    list_filter = ("attribute",)
    search_fields = ("value",)

    @admin.display(description=_("group"), ordering="value")
    def group(self, floor: ExposureFloor) -> str:
        return f"{floor.attribute}: {group_label(floor.attribute, floor.value)}"


def _chosen(request: HttpRequest) -> tuple[int, str, ExposurePeriod]:
    text = request.GET.get("days", "")
    n_days = int(text) if text in {str(span) for span in SPANS} else 7
    arm = request.GET.get("arm", "")
    served_by = {"": None, NO_MODEL: ""}.get(arm, arm)
    return n_days, arm, reading.period(n_days, today=timezone.localdate(), arm=served_by)


def _arms(period: ExposurePeriod) -> list[tuple[str, str, int]]:
    """Each bundle that served in the period: as in the address, in words, and how many lists."""
    champion = bundles.champion()
    live = champion.name if champion is not None else ""
    arms = []
    for arm, n_lists in period.arms.items():
        name = arm[:12] or gettext("no model")
        words = gettext("%s, serves now") % name if arm and arm == live else name
        arms.append((arm or NO_MODEL, words, n_lists))
    return arms


def _rows(period: ExposurePeriod) -> Iterator[tuple[Any, ...]]:
    for standings in period.standings.values():
        for one in standings:
            exposure = one.exposure
            bounds = ("", "", "") if exposure is None else (exposure.value, exposure.low, exposure.high)
            group = group_label(one.attribute, one.value)
            yield (one.attribute, group, *bounds, one.catalogue, one.demand, one.floor or "", int(one.is_below))
