"""Erasures with their receipts, to read; a person is erased from the page of the persona."""

from __future__ import annotations

import json

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from recommender.admin.readonly import ReadOnlyAdmin
from recommender.admin.runs import badge
from recommender.admin.steps import Link, Outcome, Step, require, walk
from recommender.capture import erasure
from recommender.jobs import erasing
from recommender.models import Erasure, Visitor

ERASE = "recommender.erase_person"


@admin.register(Erasure)
class ErasureAdmin(ReadOnlyAdmin):
    list_display = ("number", "state_badge", "trigger", "requested_at", "rows_erased_at", "finished_at", "waits_for")
    list_filter = ("state", "trigger", "requested_at")
    ordering = ("-requested_at",)
    sortable_by = ("requested_at",)
    fields = (
        "key", "subject", "trigger", "state_badge", "waits_for", "requested_at", "rows_erased_at", "finished_at",
        "whole_receipt",
    )  # fmt: skip
    readonly_fields = fields

    @admin.display(description=_("erasure"))
    def number(self, row: Erasure) -> str:
        return str(row)

    @admin.display(description=_("state"))
    def state_badge(self, row: Erasure) -> SafeString:
        if erasing.is_overdue(row, timezone.now()):
            return badge("failed", gettext("overdue: is a worker running?"))
        return badge("succeeded" if row.state == Erasure.State.FINISHED else "running", row.get_state_display())

    @admin.display(description=_("receipt"))
    def whole_receipt(self, row: Erasure) -> SafeString:
        return format_html('<pre class="rec-pre">{}</pre>', json.dumps(row.receipt, indent=2, ensure_ascii=False))


def erase_link(request: HttpRequest, visitor: Visitor) -> list[Link]:
    """The button on the page of a persona, for who may press it."""
    if not request.user.has_perm(ERASE):
        return []
    return [Link(gettext("Erase this person"), reverse("admin:recommender_persona_erase", args=[visitor.pk]), "danger")]


def erase_view(model_admin: admin.ModelAdmin, request: HttpRequest, visitor: Visitor) -> HttpResponse:
    """Ask, then erase everything about the person behind a visitor."""
    require(request, ERASE)
    step = Step(
        title=gettext("Erase this person"),
        question=gettext("Erase everything that is stored about this person, on all their devices?"),
        consequences=(
            gettext("Events, lists, consent and the persona are deleted at once and cannot be restored."),
            gettext("What was computed from them is computed again, and you get a receipt."),
            gettext("Nothing is recorded of this person until they consent again."),
        ),
        button=gettext("Erase"),
        back_url=reverse("admin:recommender_persona_change", args=[visitor.pk]),
        warning=gettext("This cannot be undone."),
        insistence=gettext("The person has asked for it, or I have another reason that I can name."),
    )
    return walk(model_admin, request, step, lambda: _erase(visitor))


def _erase(visitor: Visitor) -> Outcome:
    done = erasure.erase(visitor_key=visitor.key, user_key=visitor.user_key, trigger=Erasure.Trigger.ADMIN)
    message = gettext("The person is erased. The receipt is complete within minutes.")
    return Outcome(done, gettext("Erased."), message, reverse("admin:recommender_erasure_change", args=[done.pk]))
