"""Bundles: which weights serve, which served before, and the steps to promote and to roll back."""

from __future__ import annotations

import json
from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from recommender import bundles
from recommender.admin import figures
from recommender.admin.readonly import ReadOnlyAdmin
from recommender.admin.runs import badge, bundle_links
from recommender.admin.steps import PROMOTE, Outcome, Step, require, walk
from recommender.models import Bundle, Run
from recommender.runs.figures import Figures


@admin.register(Bundle)
class BundleAdmin(ReadOnlyAdmin):
    list_display = ("short_name", "state_badge", "is_trained", "of_run", "created_at", "promoted_at")
    list_filter = ("state", "is_trained")
    search_fields = ("name__startswith",)
    ordering = ("-created_at",)
    sortable_by = ("created_at", "promoted_at")
    fields = ("name", "state_badge", "is_trained", "of_run", "encoder_hash", "created_at", "promoted_at", "files")
    readonly_fields = fields

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).prefetch_related("runs")

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        return [
            path("roll-back/", wrap(self.roll_back_view), name="recommender_bundle_roll_back"),
            path("<int:pk>/promote/", wrap(self.promote_view), name="recommender_bundle_promote"),
            *super().get_urls(),
        ]

    @admin.display(description=_("bundle"))
    def short_name(self, bundle: Bundle) -> str:
        return str(bundle)

    @admin.display(description=_("state"))
    def state_badge(self, bundle: Bundle) -> SafeString:
        return badge(bundle.state, bundle.get_state_display())

    @admin.display(description=_("from run"))
    def of_run(self, bundle: Bundle) -> SafeString | str:
        run = next(iter(bundle.runs.all()), None)
        if run is None:
            return gettext("no run")
        url = reverse("admin:recommender_run_change", args=[run.pk])
        return format_html('<a href="{}">{}</a> {}', url, gettext("Run %d") % run.pk, run.get_verdict_display())

    @admin.display(description=_("manifest"))
    def files(self, bundle: Bundle) -> SafeString:
        return format_html('<pre class="rec-pre">{}</pre>', json.dumps(bundle.manifest, indent=2, ensure_ascii=False))

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        bundle = self.get_object(request, object_id)
        links = bundle_links(bundle) if bundle and request.user.has_perm(PROMOTE) else []
        return super().change_view(request, object_id, form_url, {"links": links, **(extra_context or {})})

    def promote_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        require(request, PROMOTE)
        bundle = get_object_or_404(Bundle, pk=pk)
        champion = bundles.champion()
        warning = _why_refused(bundle)
        step = Step(
            title=gettext("Promote bundle %s") % bundle,
            question=gettext("Let this model serve search and every list of the shop?"),
            consequences=(
                gettext("It replaces %s, which you can roll back to.") % champion
                if champion
                else gettext("No model serves yet: lists come from matching words and bestsellers."),
                gettext("Every web process uses it within seconds; nothing is restarted."),
            ),
            button=gettext("Promote anyway") if warning else gettext("Promote"),
            back_url=reverse("admin:recommender_bundle_change", args=[pk]),
            warning=warning,
            insistence=gettext("I have read this. Promote it anyway."),
        )
        return walk(self, request, step, lambda: _promote(request, bundle, is_against_gate=bool(warning)))

    def roll_back_view(self, request: HttpRequest) -> HttpResponse:
        require(request, PROMOTE)
        champion = bundles.champion()
        previous = Bundle.objects.filter(state=Bundle.State.PREVIOUS).first()
        step = Step(
            title=gettext("Roll back"),
            question=gettext("Roll back from %(now)s to %(before)s?") % {"now": champion, "before": previous}
            if previous
            else gettext("There is no previous champion to roll back to."),
            consequences=(
                gettext("The previous model serves again within seconds."),
                gettext("The present one is kept and can be promoted again."),
            ),
            button=gettext("Roll back"),
            back_url=reverse("admin:recommender_run_changelist"),
        )
        return walk(self, request, step, lambda: _roll_back(request))


def _promote(request: HttpRequest, bundle: Bundle, *, is_against_gate: bool) -> Outcome:
    bundles.promote(bundle, user=request.user)
    log = gettext("Promoted although the gate had refused it.") if is_against_gate else gettext("Promoted.")
    url = reverse("admin:recommender_run_changelist")
    return Outcome(bundle, log, gettext("Bundle %s serves now. If you are not satisfied, roll back.") % bundle, url)


def _roll_back(request: HttpRequest) -> Outcome:
    champion = bundles.roll_back(user=request.user)
    message = gettext("Rolled back: bundle %s serves again.") % champion
    return Outcome(champion, gettext("Rolled back to it."), message, reverse("admin:recommender_run_changelist"))


def _why_refused(bundle: Bundle) -> str:
    """Return why the gate refused this bundle; "" for one that it promoted or that served before."""
    run: Run | None = bundle.runs.order_by("-pk").first()
    if run is None or run.verdict == Run.Verdict.PROMOTED or bundle.promoted_at is not None:
        return ""
    reason = run.reason or gettext("Run %d ended without a verdict.") % run.pk
    gains = [
        f"{table.title}: {table.summary}" for table in figures.list_tables(Figures.of(run.metrics)) if table.summary
    ]
    return " ".join([gettext("The gate did not promote this model."), reason, *gains])
