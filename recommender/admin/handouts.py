"""Files about people that leave the admin: a question first, two permissions, and an entry of who took what."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from django.contrib import admin
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db.models import Model
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.translation import gettext

from recommender.admin.steps import Step, ask, require

SEE_PEOPLE = "recommender.view_persona"
"""Who may not look at persons in the admin takes no file about them either."""


def hand_out(
    model_admin: admin.ModelAdmin,
    request: HttpRequest,
    step: Step,
    *,
    what: str,
    file: Callable[[], HttpResponseBase],
    obj: Model | None = None,
) -> Any:
    """Ask on GET; on POST write down who takes the file, then give it. Raises PermissionDenied for who may not see
    people."""
    require(request, SEE_PEOPLE)
    if request.method != "POST":
        return ask(model_admin, request, step)
    write_down(model_admin, request, what=what, message=gettext("Exported as CSV."), obj=obj)
    return file()


def write_down(
    model_admin: admin.ModelAdmin, request: HttpRequest, *, what: str, message: str, obj: Model | None = None
) -> None:
    """Add an entry to the actions of staff, also of what has no row of its own."""
    LogEntry.objects.create(
        user_id=cast("int", request.user.pk),
        content_type_id=ContentType.objects.get_for_model(model_admin.model, for_concrete_model=False).pk,
        object_id=None if obj is None else str(obj.pk),
        object_repr=what[:200],
        action_flag=CHANGE,
        change_message=message,
    )
