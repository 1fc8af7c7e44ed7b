"""The steps of a training in the admin: train with chosen minutes and methods, cancel, repeat, compare runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from recommender import conf, runs
from recommender.admin.numbers import local
from recommender.admin.run_comparison import MOST_RUNS, compared
from recommender.admin.steps import TRAIN, Outcome, Step, require, walk
from recommender.models import Run

ENCODERS = (("", _("as the settings say")), ("auto", _("packaged MiniLM")), ("scratch", _("trained from nothing")))
LEAST_MINUTES, MOST_MINUTES = 0.5, 24 * 60.0


class TrainingForm(forms.Form):
    """What one training does differently; what is left empty is as the settings say."""

    minutes = forms.FloatField(
        required=False, min_value=LEAST_MINUTES, max_value=MOST_MINUTES, label=_("Minutes"), widget=forms.NumberInput
    )
    encoder = forms.ChoiceField(required=False, choices=ENCODERS, label=_("Encoder"))
    fine_tuning = forms.ChoiceField(required=False, label=_("Fine-tuning"))

    def __init__(self, *positional: Any, **named: Any) -> None:
        super().__init__(*positional, **named)
        methods = [(name, name) for name in conf.CHOICES["FINE_TUNING"]]
        self.fields["fine_tuning"].choices = [("", gettext("as the settings say")), *methods]  # type: ignore[attr-defined]
        default = gettext("Empty: %(minutes)s, as the settings say.") % {
            "minutes": local(conf.get("TRAINING_MINUTES"), "g")
        }
        self.fields["minutes"].help_text = default

    def chosen(self) -> dict[str, Any]:
        """The settings that were chosen, for `runs.request_run`."""
        return {name: value for name, value in self.cleaned_data.items() if value}


class TrainingSteps(admin.ModelAdmin):
    """Adds the steps to the admin of runs."""

    def training_urls(self, wrap: Callable[..., Any]) -> list[URLPattern]:
        return [
            path("train/", wrap(self.train_view), name="recommender_run_train"),
            path("compare/", wrap(self.compare_view), name="recommender_run_compare"),
            path("<int:pk>/cancel/", wrap(self.cancel_view), name="recommender_run_cancel"),
            path("<int:pk>/repeat/", wrap(self.repeat_view), name="recommender_run_repeat"),
        ]

    @admin.action(description=_("Compare the selected runs"), permissions=["view"])
    def compare(self, request: HttpRequest, queryset: QuerySet[Run]) -> HttpResponse:
        """Show up to `MOST_RUNS` runs beside each other."""
        numbers = list(queryset.order_by("pk").values_list("pk", flat=True))
        if not 2 <= len(numbers) <= MOST_RUNS:
            messages.error(request, gettext("Select 2 to %d runs to compare.") % MOST_RUNS)
            return redirect(request.get_full_path())
        query = "&".join(f"run={number}" for number in numbers)
        return redirect(f"{reverse('admin:recommender_run_compare')}?{query}")

    def compare_view(self, request: HttpRequest) -> HttpResponse:
        if not self.has_view_permission(request):
            require(request, "recommender.view_run")
        numbers = [
            int(text) for text in request.GET.getlist("run") if text.isascii() and text.isdigit() and len(text) < 10
        ]
        chosen = list(Run.objects.filter(pk__in=numbers).order_by("pk")[:MOST_RUNS])
        if len(chosen) < 2:
            messages.error(request, gettext("Select 2 to %d runs to compare.") % MOST_RUNS)
            return redirect(reverse("admin:recommender_run_changelist"))
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "media": self.media,
            "title": gettext("Runs beside each other"),
            "table": compared(chosen),
        }
        return TemplateResponse(request, "admin/recommender/run/compare.html", context)

    def train_view(self, request: HttpRequest) -> HttpResponse:
        require(request, TRAIN)
        form = TrainingForm(request.POST if request.method == "POST" else None)
        step = Step(
            title=gettext("Train now"),
            question=gettext("Start a training run on all events and items that the shop has recorded?"),
            consequences=(
                gettext("A worker trains in the background; the shop keeps working as it is."),
                gettext("The new model serves only if it is better than what serves now, and nowhere worse."),
            ),
            button=gettext("Train now"),
            back_url=reverse("admin:recommender_run_changelist"),
            form=form,
        )
        return walk(self, request, step, lambda: _train(request, form.chosen()))

    def cancel_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        require(request, TRAIN)
        run = get_object_or_404(Run, pk=pk)
        step = Step(
            title=gettext("Cancel run %d") % pk,
            question=gettext("Stop this run? It is %(state)s, %(share)d %% done.")
            % {"state": run.get_state_display(), "share": run.progress * 100},
            consequences=(
                gettext("What it has learned is discarded; the shop keeps the present model."),
                gettext("You can train again at any time."),
            ),
            button=gettext("Cancel the run"),
            back_url=_url(run),
        )
        return walk(self, request, step, lambda: _cancel(request, run))

    def repeat_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        require(request, TRAIN)
        run = get_object_or_404(Run, pk=pk)
        step = Step(
            title=gettext("Repeat run %d") % pk,
            question=gettext("Train once more with its settings, its seed and the data of its time?"),
            consequences=(
                gettext("It shows whether the result can be reproduced, and what differs if not."),
                gettext("A repetition is never promoted."),
            ),
            button=gettext("Repeat"),
            back_url=_url(run),
        )
        return walk(self, request, step, lambda: _repeat(request, run))


def _train(request: HttpRequest, settings: dict[str, Any]) -> Outcome:
    run = runs.request_run(trigger="admin", user=request.user, settings=settings)
    message = gettext("Run %d waits for a training worker. This page shows its progress.") % run.pk
    return Outcome(run, gettext("Requested from the admin."), message, _url(run))


def _repeat(request: HttpRequest, run: Run) -> Outcome:
    again = runs.repeat(run, trigger="admin", user=request.user)
    message = gettext("Run %d waits for a training worker. This page shows its progress.") % again.pk
    return Outcome(again, gettext("Requested from the admin, as a repetition."), message, _url(again))


def _cancel(request: HttpRequest, run: Run) -> Outcome:
    runs.cancel(run, user=request.user)
    message = gettext("Run %d is being cancelled. The shop keeps the present model.") % run.pk
    return Outcome(run, gettext("Cancelled from the admin."), message, _url(run))


def _url(run: Run) -> str:
    return reverse("admin:recommender_run_change", args=[run.pk])
