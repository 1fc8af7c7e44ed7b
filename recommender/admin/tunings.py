"""The steps of a tuning in the admin: search better settings, use those that were found, go back to the defaults."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext

from recommender import conf, runs
from recommender.admin.steps import TRAIN, Link, Outcome, Step, require, walk
from recommender.models import Run
from recommender.runs import tunings


class TuningSteps(admin.ModelAdmin):
    """Adds the steps to the admin of runs."""

    def tuning_urls(self, wrap: Callable[..., Any]) -> list[URLPattern]:
        return [
            path("tune/", wrap(self.tune_view), name="recommender_run_tune"),
            path("<int:pk>/tune-on/", wrap(self.tune_on_view), name="recommender_run_tune_on"),
            path("<int:pk>/use/", wrap(self.use_view), name="recommender_run_use"),
            path("defaults/", wrap(self.defaults_view), name="recommender_run_defaults"),
        ]

    def tune_view(self, request: HttpRequest) -> HttpResponse:
        require(request, TRAIN)
        step = _tune_step(gettext("Search better settings?"), reverse("admin:recommender_run_changelist"))
        return walk(self, request, step, lambda: _tune(request, {}))

    def tune_on_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        require(request, TRAIN)
        run = get_object_or_404(Run, pk=pk)
        question = gettext("Go on with the trials of run %d? Where data or code have changed, new ones begin.") % pk
        step = _tune_step(question, _url(run))
        return walk(self, request, step, lambda: _tune(request, tunings.going_on_from(run)))

    def use_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        require(request, TRAIN)
        run = get_object_or_404(Run, pk=pk)
        step = Step(
            title=gettext("Use the settings of run %d") % pk,
            question=gettext("Train with these settings from now on?"),
            consequences=(
                gettext("Later runs use them; the model that serves stays as it is."),
                gettext("A model trained with them is judged like any other before it serves."),
            ),
            button=gettext("Use these settings"),
            back_url=_url(run),
            warning="" if tunings.is_better(run) else gettext("No trial was better than the present settings."),
            insistence=gettext("I have read this. Use them anyway."),
        )
        return walk(self, request, step, lambda: _use(run))

    def defaults_view(self, request: HttpRequest) -> HttpResponse:
        require(request, TRAIN)
        run = tunings.accepted()
        step = Step(
            title=gettext("Go back to the default settings"),
            question=gettext("Train with the default settings from now on?")
            if run
            else gettext("Trainings use the default settings already."),
            consequences=(gettext("The settings that were found stay on the page of their run."),),
            button=gettext("Use the defaults"),
            back_url=reverse("admin:recommender_run_changelist"),
        )
        return walk(self, request, step, _go_back)


def tuning_links(run: Run) -> list[Link]:
    """What can be done with a tuning that has ended."""
    links = []
    if run.accepted_at is not None:
        links.append(Link(gettext("Back to the defaults"), reverse("admin:recommender_run_defaults")))
    elif isinstance(run.metrics, dict) and (run.metrics.get("tuning") or {}).get("best", {}).get("values"):
        css = "default" if tunings.is_better(run) else ""
        links.append(Link(gettext("Use these settings"), reverse("admin:recommender_run_use", args=[run.pk]), css))
    return [*links, Link(gettext("Search on"), reverse("admin:recommender_run_tune_on", args=[run.pk]))]


def _tune_step(question: str, back_url: str) -> Step:
    minutes = conf.get("TUNING_MINUTES")
    return Step(
        title=gettext("Search better settings"),
        question=question,
        consequences=(
            gettext("A worker tries settings for about %(minutes)g minutes, on days that judge no model.")
            % {"minutes": minutes},
            gettext("No training can run meanwhile; the shop goes on as it is."),
            gettext("Nothing changes until somebody uses what was found."),
        ),
        button=gettext("Search"),
        back_url=back_url,
    )


def _tune(request: HttpRequest, settings: dict[str, Any]) -> Outcome:
    run = runs.request_run(trigger="admin", user=request.user, kind=Run.Kind.TUNING, settings=settings)
    message = gettext("Run %d waits for a training worker. This page shows its trials.") % run.pk
    return Outcome(run, "Requested from the admin, a tuning.", message, _url(run))


def _use(run: Run) -> Outcome:
    tunings.accept(run)
    return Outcome(run, "Its settings are used.", gettext("Later runs use the settings of run %d.") % run.pk, _url(run))


def _go_back() -> Outcome:
    run = tunings.withdraw()
    home = reverse("admin:recommender_run_changelist")
    return Outcome(run, "Its settings are used no more.", gettext("Later runs use the default settings."), home)


def _url(run: Run) -> str:
    return reverse("admin:recommender_run_change", args=[run.pk])
