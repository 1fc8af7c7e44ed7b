"""The steps of a tuning in the admin: find better settings, use them, go back to the defaults."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext

from recommender import conf, runs
from recommender.admin.numbers import local
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
        step = _tune_step(gettext("Find better settings?"), reverse("admin:recommender_run_changelist"))
        return walk(self, request, step, lambda: _tune(request, {}))

    def tune_on_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        require(request, TRAIN)
        run = get_object_or_404(Run, pk=pk)
        question = gettext("Continue the trials of run %d? If data or code have changed, a new series begins.") % pk
        step = _tune_step(question, _url(run))
        return walk(self, request, step, lambda: _tune(request, tunings.continued(run)))

    def use_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        require(request, TRAIN)
        run = get_object_or_404(Run, pk=pk)
        step = Step(
            title=gettext("Use the settings of run %d") % pk,
            question=gettext("Train with these settings from now on?"),
            consequences=(
                gettext("Later runs use them; the model that serves stays as it is."),
                gettext("A model trained with them is evaluated like any other before it serves."),
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
            title=gettext("Back to the default settings"),
            question=gettext("Train with the default settings from now on?")
            if run
            else gettext("Trainings use the default settings already."),
            consequences=(gettext("The settings that were found remain on the page of their run."),),
            button=gettext("Use the defaults"),
            back_url=reverse("admin:recommender_run_changelist"),
        )
        return walk(self, request, step, _go_back)


def tuning_links(run: Run) -> list[Link]:
    """What can be done with a tuning that has ended."""
    links = []
    if run.accepted_at is not None:
        links.append(Link(gettext("Back to the defaults"), reverse("admin:recommender_run_defaults")))
    elif tunings.trials_of(run).best.values:
        css = "default" if tunings.is_better(run) else ""
        links.append(Link(gettext("Use these settings"), reverse("admin:recommender_run_use", args=[run.pk]), css))
    return [*links, Link(gettext("Continue"), reverse("admin:recommender_run_tune_on", args=[run.pk]))]


def _tune_step(question: str, back_url: str) -> Step:
    minutes = conf.get("TUNING_MINUTES")
    return Step(
        title=gettext("Find better settings"),
        question=question,
        consequences=(
            gettext(
                "A worker tries settings for about %(minutes)s minutes, on days that are not used to evaluate models."
            )
            % {"minutes": local(minutes, "g")},
            gettext("No training can run meanwhile; the shop keeps working as it is."),
            gettext("Nothing changes until somebody uses what was found."),
        ),
        button=gettext("Start"),
        back_url=back_url,
    )


def _tune(request: HttpRequest, settings: dict[str, Any]) -> Outcome:
    run = runs.request_run(trigger="admin", user=request.user, kind=Run.Kind.TUNING, settings=settings)
    message = gettext("Run %d waits for a training worker. This page shows its trials.") % run.pk
    return Outcome(run, gettext("Tuning requested from the admin."), message, _url(run))


def _use(run: Run) -> Outcome:
    tunings.accept(run)
    message = gettext("Later runs use the settings of run %d.") % run.pk
    return Outcome(run, gettext("Its settings are in use."), message, _url(run))


def _go_back() -> Outcome:
    run = tunings.withdraw()
    home = reverse("admin:recommender_run_changelist")
    return Outcome(
        run, gettext("Its settings are no longer in use."), gettext("Later runs use the default settings."), home
    )


def _url(run: Run) -> str:
    return reverse("admin:recommender_run_change", args=[run.pk])
