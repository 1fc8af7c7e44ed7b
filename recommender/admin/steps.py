"""Steps that change something: a page with a question, then a POST that acts, logs and says what happens next."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.utils.translation import gettext

from recommender.exceptions import RecommenderError

TRAIN = "recommender.train_model"
PROMOTE = "recommender.promote_bundle"
APPROVE = "recommender.approve_bundle"


@dataclass(frozen=True, slots=True)
class Link:
    """A button to a step; `css` is "default", "" or "danger"."""

    label: str
    url: str
    css: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """One question. Where there is a `warning`, the box beside `insistence` must be ticked first; a `form`, made of the
    request, must be valid. beside: what to look at before, below the button."""

    title: str
    question: str
    consequences: tuple[str, ...]
    button: str
    back_url: str
    warning: str = ""
    insistence: str = ""
    form: forms.Form | None = None
    beside: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a step did: the object whose history gets `log`, a message for the person, and the next page."""

    obj: Model
    log: str
    message: str
    url: str


def require(request: HttpRequest, permission: str) -> None:
    """Raises `PermissionDenied` for a user without the permission."""
    if not request.user.has_perm(permission):
        raise PermissionDenied(gettext("This step needs the permission %s.") % permission)


def walk(
    model_admin: admin.ModelAdmin,
    request: HttpRequest,
    step: Step,
    act: Callable[[], Outcome],
) -> HttpResponse:
    """Ask on GET; on POST act, unless a warning was not confirmed. A refusal is shown with its reason."""
    if request.method != "POST":
        return ask(model_admin, request, step)
    if step.warning and request.POST.get("insist") != "yes":
        messages.error(request, gettext("Nothing was changed: tick the box to confirm, or go back."))
        return ask(model_admin, request, step)
    if step.form is not None and not step.form.is_valid():
        return ask(model_admin, request, step)
    try:
        outcome = act()
    except RecommenderError as error:
        messages.error(request, str(error))
        return redirect(step.back_url)
    model_admin.log_change(request, outcome.obj, outcome.log)
    messages.success(request, outcome.message)
    return redirect(outcome.url)


def ask(model_admin: admin.ModelAdmin, request: HttpRequest, step: Step) -> HttpResponse:
    """The page with the question of a step."""
    context = {
        **model_admin.admin_site.each_context(request),
        "opts": model_admin.opts,
        "media": model_admin.media,
        "title": step.title,
        "step": step,
    }
    return TemplateResponse(request, "admin/recommender/step.html", context)
