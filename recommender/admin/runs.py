"""Model runs: what was trained, how good it is beside its competitors, and the steps to train and to cancel."""

from __future__ import annotations

import datetime as dt
import json
import os
from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext, pgettext
from django.utils.translation import gettext_lazy as _

from recommender import bundles, runs
from recommender.admin import figures, trials
from recommender.admin.exposure_tables import tables_of
from recommender.admin.guardrails import guardrail_table
from recommender.admin.numbers import local
from recommender.admin.provenance import provenance_rows
from recommender.admin.readonly import N_COUNTED, ReadOnlyAdmin
from recommender.admin.steps import APPROVE, PROMOTE, TRAIN, Link, require
from recommender.admin.trainings import TrainingSteps
from recommender.admin.tunings import TuningSteps, tuning_links
from recommender.admin.watched_queries import VIEW as VIEW_WATCHED
from recommender.admin.watched_queries import mean_overlap, rows_of_run
from recommender.capture import retention
from recommender.management import background
from recommender.models import Bundle, Experiment, Run
from recommender.models.words import words_of
from recommender.runs import supervision
from recommender.runs.comparisons import CHAMPION, SCOPES, label_of
from recommender.runs.figures import Figures

REFRESH_SECONDS = 5

SIGNS = {
    Run.State.QUEUED: "…",
    Run.State.RUNNING: "▶",
    Run.State.CANCELLING: "■",
    Run.State.SUCCEEDED: "✓",
    Run.State.FAILED: "✗",
    Run.State.CANCELLED: "■",
    Run.Verdict.PROMOTED: "▲",
    Run.Verdict.REFUSED: "▽",
    Run.Verdict.PROVISIONAL: "△",
    Run.Verdict.INSUFFICIENT: "?",
    Run.Verdict.TOO_SHORT: "⏱",
    Experiment.State.LIVE: "▶",
    Experiment.State.STOPPED: "■",
    Experiment.State.FINISHED: "✓",
    Bundle.State.CHAMPION: "★",
    Bundle.State.QUARANTINED: "✗",
}
LOG_LINES, LOG_BYTES = 40, 16_384
"""The end of a run's log that its page shows."""

TRIGGERS = {
    "admin": _("the admin"),
    "command": _("the command line"),
    "schedule": _("the schedule"),
}


def badge(value: str, label: str) -> SafeString:
    """Return a state as a badge with sign and word, so that it does not depend on colour."""
    if not value:
        return SafeString("—")
    sign = SIGNS.get(value, "●")  # type: ignore[call-overload]
    markup = '<span class="rec-badge rec-{}"><span aria-hidden="true">{}</span> {}</span>'
    return format_html(markup, value, sign, label)


@admin.register(Run)
class RunAdmin(TrainingSteps, TuningSteps, ReadOnlyAdmin):
    list_display = ("run", "state_badge", "verdict_badge", "gain", "took")
    list_display_links = ("run",)
    list_filter = ("kind", "state", "verdict", "created_at")
    list_select_related = ("requested_by", "bundle")
    sortable_by = ("run",)
    actions = ("compare",)

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        return [
            *self.training_urls(wrap),
            *self.tuning_urls(wrap),
            *super().get_urls(),
        ]

    @admin.display(description=_("run"), ordering="created_at")
    def run(self, run: Run) -> SafeString:
        when = date_format(timezone.localtime(run.created_at), pgettext("format of a moment", "j M, H:i"))
        return format_html('{} <span class="rec-quiet">{}</span>', _title(run), when)

    @admin.display(description=_("state"))
    def state_badge(self, run: Run) -> SafeString:
        state = badge(run.state, run.get_state_display())
        if run.state not in runs.ACTIVE:
            return state
        bar = format_html('<progress max="1" value="{}" aria-label="{}"></progress>', run.progress, _("progress"))
        return format_html('{} {} <span class="rec-quiet">{}</span>', state, bar, local(run.progress, ".0%"))

    @admin.display(description=_("verdict"))
    def verdict_badge(self, run: Run) -> SafeString:
        return badge(run.verdict, run.get_verdict_display())

    @admin.display(description=_("gain in NDCG@10"))
    def gain(self, run: Run) -> SafeString | str:
        measured = Figures.of(run.metrics)
        if run.kind == Run.Kind.TUNING:
            table = trials.tuning_table(measured)
            words = gettext("best trial, on the validation window")
            return format_html('{} <span class="rec-quiet">{}</span>', table.gain, words) if table else "—"
        name = measured.best_competitor.get("all")
        gain = figures.gain_of(measured, "all", name) if name else None
        if gain is None:
            return "—"
        markup = '<span class="rec-gain rec-{}">{} {}</span> <span class="rec-quiet">{}</span>'
        return format_html(markup, gain.css, gain.sign, gain.amount, gain.words)

    @admin.display(description=_("took"))
    def took(self, run: Run) -> SafeString:
        duration = figures.duration(_seconds(run, timezone.now()))
        return format_html('{} <span class="rec-quiet">{}</span>', duration, started_by(run))

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        active = Run.objects.filter(state__in=runs.ACTIVE).order_by("pk").first()
        serving = Bundle.objects.filter(state__in=(Bundle.State.CHAMPION, Bundle.State.PREVIOUS))
        by_state = {bundle.state: bundle for bundle in serving.prefetch_related("runs")}
        context = {
            "active": active,
            "refresh_seconds": REFRESH_SECONDS if active else 0,
            "champion": by_state.get(Bundle.State.CHAMPION),
            "previous": by_state.get(Bundle.State.PREVIOUS),
            "arms": arms_in_words(by_state.get(Bundle.State.CHAMPION)),
            "late": retention.n_late(at=timezone.now(), most=N_COUNTED),
            "links": self._list_links(request, active, by_state),
            **(extra_context or {}),
        }
        return super().changelist_view(request, context)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show one run; parts that the run did not write are left out."""
        run = self.get_object(request, object_id)
        if run is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)  # type: ignore[attr-defined]
        if not self.has_view_permission(request, run):
            require(request, "recommender.view_run")
        context = {**self.admin_site.each_context(request), **_page(run), "opts": self.opts, "media": self.media}
        context["links"] = self._run_links(request, run)
        context["log"] = log_tail(run) if request.user.has_perm(TRAIN) else ""
        context["watched"] = rows_of_run(run) if request.user.has_perm(VIEW_WATCHED) else []
        context["watched_overlap"] = mean_overlap(context["watched"])
        return TemplateResponse(request, "admin/recommender/run/detail.html", context | (extra_context or {}))

    def _list_links(self, request: HttpRequest, active: Run | None, serving: dict[str, Bundle]) -> list[Link]:
        links = []
        if active is None and request.user.has_perm(TRAIN):
            links.append(Link(gettext("Train now"), reverse("admin:recommender_run_train"), "default"))
            links.append(Link(gettext("Find better settings"), reverse("admin:recommender_run_tune")))
        if active is not None and request.user.has_perm(TRAIN):
            links += _cancel_links(active)
        if Bundle.State.PREVIOUS in serving and request.user.has_perm(PROMOTE):
            links.append(Link(gettext("Roll back"), reverse("admin:recommender_bundle_roll_back")))
        return links

    def _run_links(self, request: HttpRequest, run: Run) -> list[Link]:
        links = []
        if request.user.has_perm(TRAIN):
            again = Link(gettext("Train again"), reverse("admin:recommender_run_train"))
            repeat = Link(gettext("Repeat"), reverse("admin:recommender_run_repeat", args=[run.pk]))
            ended = tuning_links(run) if run.kind == Run.Kind.TUNING else [again, repeat]
            links += _cancel_links(run) if run.state in runs.ACTIVE else ended
        return links + (bundle_links(run.bundle, request.user) if run.bundle is not None else [])


def bundle_links(bundle: Bundle, user: Any) -> list[Link]:
    """Return what a person may do with a bundle: roll back the champion, promote another, or approve that it is
    promoted where that takes several people; nothing with a broken one."""
    if bundle.state == Bundle.State.CHAMPION:
        can_roll_back = user.has_perm(PROMOTE) and Bundle.objects.filter(state=Bundle.State.PREVIOUS).exists()
        return [Link(gettext("Roll back"), reverse("admin:recommender_bundle_roll_back"))] if can_roll_back else []
    if bundle.state == Bundle.State.QUARANTINED:
        return []
    if bundles.n_people() > 1:
        url = reverse("admin:recommender_bundle_approve", args=[bundle.pk])
        return [Link(gettext("Approve"), url, "default")] if user.has_perm(APPROVE) else []
    url = reverse("admin:recommender_bundle_promote", args=[bundle.pk])
    return [Link(gettext("Promote"), url, "default")] if user.has_perm(PROMOTE) else []


def arms_in_words(bundle: Bundle | None) -> list[str]:
    """Which simple ranker serves which list of a bundle, one sentence each."""
    arms = bundle.manifest.get("arms", {}) if bundle else {}
    words = gettext("%(name)s serves %(scope)s")
    return [words % {"name": label_of(name), "scope": SCOPES[scope]} for scope, name in arms.items() if scope in SCOPES]


def is_silent(run: Run, now: dt.datetime) -> bool:
    """Is it said to run, and has it not been heard of for longer than a run may be silent?"""
    heard_at = run.heartbeat_at or run.started_at
    is_running = run.state in (Run.State.RUNNING, Run.State.CANCELLING)
    return is_running and heard_at is not None and (now - heard_at).total_seconds() > runs.STALE_SECONDS


def log_tail(run: Run) -> str:
    """The last lines that the training wrote; "" where they are on another host, or gone."""
    try:
        with supervision.log_path(run.pk).open("rb") as log:
            log.seek(0, os.SEEK_END)
            log.seek(max(0, log.tell() - LOG_BYTES))
            lines = log.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    return "\n".join(lines[-LOG_LINES:])


def started_by(run: Run) -> str:
    """Return who started a run, or else what."""
    if run.requested_by is not None:
        return run.requested_by.get_username()
    return str(TRIGGERS.get(run.trigger, run.trigger))


def _page(run: Run) -> dict[str, Any]:
    """Return all that the page of one run shows, in words."""
    now, measured = timezone.now(), Figures.of(run.metrics)
    is_active = run.state in runs.ACTIVE
    return {
        "title": _title(run),
        "run": run,
        "original": run,
        "is_active": is_active,
        "is_silent": is_silent(run, now),
        "is_warning": run.verdict == Run.Verdict.TOO_SHORT,
        "refresh_seconds": REFRESH_SECONDS if is_active else 0,
        "state_badge": badge(run.state, run.get_state_display()),
        "verdict_badge": badge(run.verdict, run.get_verdict_display()) if run.verdict else "",
        "bundle_badge": badge(run.bundle.state, run.bundle.get_state_display()) if run.bundle else "",
        "percent": round(run.progress * 100),
        "stage": words_of(run.stage),
        "took": figures.duration(_seconds(run, now)),
        "started_by": started_by(run),
        "next": _next(run),
        "list_tables": figures.list_tables(measured),
        "level": figures.level_in_words(measured.level),
        "served": _served(run, measured),
        "head_tables": figures.head_tables(measured),
        "search_table": figures.search_table(measured),
        "labels": figures.labels_in_words(measured),
        "guardrail_table": guardrail_table(measured),
        "exposure_tables": tables_of(measured),
        "loss_charts": figures.loss_charts(run.losses),
        "stage_chart": figures.stage_chart(run.seconds),
        "data_rows": figures.data_rows(run.report),
        "removed_rows": figures.removed_rows(run.report),
        "tuning": trials.tuning_table(measured),
        "provenance_rows": provenance_rows(run, measured),
        "settings": json.dumps(run.settings, indent=2, ensure_ascii=False) if run.settings else "",
    }


def _next(run: Run) -> str:
    """Say what happens next, so that no state is a dead end."""
    if run.state == Run.State.SUCCEEDED:
        return _next_after_success(run)
    return {
        Run.State.QUEUED: gettext(
            "It waits for a training worker. If it does not start within two minutes, none is running: start one with "
            "“%s”."
        )
        % background.training_command(),
        Run.State.RUNNING: gettext("This page refreshes itself. Meanwhile the shop keeps the present model."),
        Run.State.CANCELLING: gettext("It stops at the next step. The shop keeps the present model."),
        Run.State.FAILED: gettext("The shop keeps working as before. Fix what the reason names, then train again."),
        Run.State.CANCELLED: gettext("The shop keeps the present model. You can train again at any time."),
    }.get(Run.State(run.state), "")


def _title(run: Run) -> str:
    return (gettext("Tuning %d") if run.kind == Run.Kind.TUNING else gettext("Run %d")) % run.pk


def _next_after_success(run: Run) -> str:
    if run.kind == Run.Kind.TUNING:
        if run.accepted_at is not None:
            return gettext("Later runs use the settings that it found.")
        return gettext("Nothing has changed yet: use these settings, continue the search, or leave it.")
    if run.bundle is not None and run.bundle.state == Bundle.State.CHAMPION and run.bundle.is_provisional:
        return gettext(
            "This model serves the shop provisionally: the next run judges it again on what came since, and takes it "
            "back if it was worse."
        )
    if run.bundle is not None and run.bundle.state == Bundle.State.CHAMPION:
        return gettext("This model serves the shop now. If you are not satisfied, roll back to the previous one.")
    if run.verdict == Run.Verdict.REFUSED and Figures.of(run.metrics).arms:
        return gettext(
            "A simple ranker serves a list in the place of the previous model. To undo this, roll back in Bundles."
        )
    if _waits_for_people(run):
        return gettext("It waits for people to approve it. The shop keeps the present model until then.")
    return {
        Run.Verdict.PROMOTED: gettext("This model served the shop until another one took its place."),
        Run.Verdict.REFUSED: gettext("The shop keeps working as before. You may still promote this model yourself."),
        Run.Verdict.PROVISIONAL: gettext("This model served provisionally until another one took its place."),
        Run.Verdict.INSUFFICIENT: gettext(
            "There are too few events to evaluate a model. Train again when the shop has more."
        ),
        Run.Verdict.TOO_SHORT: gettext("Train again with the minutes that the reason names."),
    }.get(Run.Verdict(run.verdict) if run.verdict else Run.Verdict.INSUFFICIENT, "")


def _waits_for_people(run: Run) -> bool:
    is_new = run.bundle is not None and run.bundle.state == Bundle.State.CANDIDATE and run.bundle.promoted_at is None
    return is_new and run.verdict in (Run.Verdict.PROMOTED, Run.Verdict.PROVISIONAL) and bundles.n_people() > 1


def _served(run: Run, measured: Figures) -> tuple[str, str] | None:
    """Return a label and what serves since this run; the label says "now" while nothing was promoted since."""
    if not measured.served:
        return None
    champion = bundles.champion()
    is_now = champion and run.finished_at and champion.promoted_at and champion.promoted_at <= run.finished_at
    served = label_of(measured.served)
    if is_now and champion and measured.served == CHAMPION and not champion.is_trained:
        served = gettext("%s (untrained)") % served
    arms = [f"{SCOPES[scope]}: {label_of(name)}" for scope, name in measured.arms.items() if scope in SCOPES]
    served = "; ".join([served, *arms])
    return (gettext("Now serving") if is_now else gettext("Served after this run")), served


def _cancel_links(run: Run) -> list[Link]:
    if run.state == Run.State.CANCELLING:
        return []
    return [Link(gettext("Cancel run %d") % run.pk, reverse("admin:recommender_run_cancel", args=[run.pk]), "danger")]


def _seconds(run: Run, now: dt.datetime) -> float | None:
    """Return how long a run took, or has taken so far; None before it starts."""
    if run.started_at is None:
        return None
    end = run.finished_at or (now if run.state in runs.ACTIVE else run.heartbeat_at)
    return (end - run.started_at).total_seconds() if end else None


def _url(run: Run) -> str:
    return reverse("admin:recommender_run_change", args=[run.pk])
