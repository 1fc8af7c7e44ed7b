"""Bundles: which weights serve, which served before, and the steps to promote and to roll back."""

from __future__ import annotations

import json
from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from recommender import bundles
from recommender.admin import figures
from recommender.admin.exposure_tables import beside_promotion
from recommender.admin.readonly import ReadOnlyAdmin
from recommender.admin.runs import badge, bundle_links
from recommender.admin.steps import APPROVE, PROMOTE, Outcome, Step, require, walk
from recommender.bundles import approvals
from recommender.experiments.rollout import try_out
from recommender.models import Bundle, Run
from recommender.runs.figures import Figures


class ApprovalForm(forms.Form):
    """What the person looked at; it stays with the approval."""

    note = forms.CharField(
        label=_("Note"), max_length=approvals.MAX_NOTE_LENGTH, widget=forms.Textarea(attrs={"rows": 3}),
        help_text=_("What you looked at, and why it is good."),
    )  # fmt: skip


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
            path("<int:pk>/approve/", wrap(self.approve_view), name="recommender_bundle_approve"),
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
        links = bundle_links(bundle, request.user) if bundle else []
        return super().change_view(request, object_id, form_url, {"links": links, **(extra_context or {})})

    def promote_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        require(request, PROMOTE)
        bundle = get_object_or_404(Bundle, pk=pk)
        champion = bundles.champion()
        warning = _why_refused(bundle)
        step = Step(
            title=gettext("Promote bundle %s") % bundle,
            question=gettext("Let this model serve search and every list of the shop?"),
            consequences=(*_in_place_of(champion), *_who_approved(bundle)),
            button=gettext("Promote anyway") if warning else gettext("Promote"),
            back_url=_url(bundle),
            warning=warning,
            insistence=gettext("I have read this. Promote it anyway."),
            beside=beside_promotion(bundle),
        )
        return walk(self, request, step, lambda: _promote(request, bundle, is_against_gate=bool(warning)))

    def approve_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Approve with a note; the last approval that is needed lets the bundle serve."""
        require(request, APPROVE)
        bundle = get_object_or_404(Bundle, pk=pk)
        form = ApprovalForm(request.POST if request.method == "POST" else None)
        warning = _why_refused(bundle)
        step = Step(
            title=gettext("Approve bundle %s") % bundle,
            question=gettext("Do you agree that this model serves search and every list of the shop?"),
            consequences=(*_in_place_of(bundles.champion()), *_who_approved(bundle)),
            button=gettext("Approve"),
            back_url=_url(bundle),
            warning=warning,
            insistence=gettext("I have read this. Approve it anyway."),
            form=form,
            beside=beside_promotion(bundle),
        )
        return walk(self, request, step, lambda: _approve(request, bundle, form.cleaned_data["note"]))

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


def _in_place_of(champion: Bundle | None) -> tuple[str, ...]:
    return (
        gettext("It replaces %s, which you can roll back to.") % champion
        if champion
        else gettext("No model serves yet: lists come from matching words and bestsellers."),
        gettext("Every web process uses it within seconds; nothing is restarted."),
    )


def _who_approved(bundle: Bundle) -> list[str]:
    """Each approval so far, and how many are missing; nothing where one person decides."""
    if bundles.n_people() < 2:
        return []
    approvals = bundles.open_approvals(bundle)
    words = gettext("%(name)s approved it: %(note)s")
    lines = [words % {"name": approval.name, "note": approval.note} for approval in approvals]
    n_missing = bundles.n_people() - len(approvals)
    return [*lines, bundles.missing_in_words(n_missing)] if n_missing > 0 else lines


def _approve(request: Any, bundle: Bundle, note: str) -> Outcome:
    bundles.require_promotable(bundle)
    n_missing = bundles.approve(bundle, user=request.user, note=note)
    log = gettext("Approved: %s") % note
    if n_missing:
        return Outcome(bundle, log, bundles.missing_in_words(n_missing), _url(bundle))
    experiment, remark = try_out(bundle, at=timezone.now())
    if experiment is None:
        bundles.promote(bundle, user=request.user)
        remark = gettext("Bundle %s serves now. If you are not satisfied, roll back.") % bundle
    bundles.use_up(bundle)
    return Outcome(bundle, log, remark, reverse("admin:recommender_run_changelist"))


def _promote(request: HttpRequest, bundle: Bundle, *, is_against_gate: bool) -> Outcome:
    if bundles.n_people() > 1:
        bundles.require_enough(bundle)
    bundles.promote(bundle, user=request.user)
    bundles.use_up(bundle)
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


def _url(bundle: Bundle) -> str:
    return reverse("admin:recommender_bundle_change", args=[bundle.pk])
