"""Correcting a person's interests: each is pinned, muted or left to the events, in one step that can be taken back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from urllib.parse import urlencode

from django.contrib import admin
from django.contrib.auth import get_user_model
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from recommender.admin.people import visitors_of
from recommender.admin.steps import Link, Outcome, Step, require, walk
from recommender.models import Persona, Visitor
from recommender.models.corrections import MUTED, PINNED, Correction, merged
from recommender.personas import PersonaDescription
from recommender.personas.corrections import correct, take_back

CORRECT = "recommender.correct_persona"
UNDONE = "undone"

QUESTIONS = {
    PINNED: _("Let this interest come first from now on?"),
    MUTED: _("Let this interest count for nothing from now on?"),
    UNDONE: _("Let this interest count as the events say again?"),
}
CONSEQUENCES = {
    PINNED: (
        _("In “for you” every other place, from the first on, has one of its items."),
        _("In an open search its items count at least as much as what the shopper likes most."),
    ),
    MUTED: (
        _("“For you” shows none of its items, and what was done with them no longer orders lists and searches."),
        _("A search still finds them; “recently viewed” and “buy again” stay as they are."),
    ),
    UNDONE: (_("The next list is as if it had never been corrected."),),
}
LABELS = {PINNED: _("Pin"), MUTED: _("Mute"), UNDONE: _("Take back")}
STATES = {PINNED: ("▲", _("pinned")), MUTED: ("✗", _("muted"))}


@dataclass(frozen=True, slots=True)
class InterestRow:
    """One interest on the page of a persona: what was corrected, when and by whom, and the steps that are left."""

    name: str
    sign: str = ""
    state: str = ""
    by: str = ""
    at: object = None
    links: tuple[Link, ...] = ()


def interest_rows(request: HttpRequest, visitor: Visitor, description: PersonaDescription) -> list[InterestRow]:
    """The interests of a person, corrected ones with who corrected them; two queries."""
    entries = {entry.interest: entry for entry in merged(visitors_of(visitor).values_list("corrections", flat=True))}
    pks = {entry.by for entry in entries.values() if entry.by}
    staff = {str(user.pk): user.get_username() for user in get_user_model()._default_manager.filter(pk__in=pks)}
    names = [interest.name for interest in description.interests]
    may_correct = request.user.has_perm(CORRECT)
    rows = []
    for name in (*names, *(name for name in entries if name not in names)):
        entry = entries.get(name)
        choices = [UNDONE] if entry is not None else [PINNED, MUTED]
        links = tuple(Link(str(LABELS[what]), _url(visitor, name, what)) for what in choices) if may_correct else ()
        if entry is None:
            rows.append(InterestRow(name, links=links))
        else:
            sign, state = STATES[entry.what]
            rows.append(InterestRow(name, sign, str(state), staff.get(entry.by, gettext("somebody")), entry.at, links))
    return rows


def correct_view(model_admin: admin.ModelAdmin, request: HttpRequest, pk: int) -> HttpResponse:
    """Ask whether one interest is to be pinned, muted or taken back; on POST do it."""
    require(request, CORRECT)
    persona = get_object_or_404(Persona, pk=pk)
    require(request, "recommender.view_persona")
    interest, what = request.GET.get("interest", ""), request.GET.get("what", "")
    what = what if what in QUESTIONS else PINNED
    step = Step(
        title=f"{LABELS[what]}: {interest}",
        question=str(QUESTIONS[what]),
        consequences=tuple(map(str, CONSEQUENCES[what])),
        button=str(LABELS[what]),
        back_url=reverse("admin:recommender_persona_change", args=[pk]),
    )
    return walk(model_admin, request, step, partial(_act, request, persona, interest, what))


def _act(request: HttpRequest, persona: Persona, interest: str, what: str) -> Outcome:
    """Nothing of the interest goes into the log of staff, which outlives the person's erasure."""
    visitors = list(visitors_of(persona).values_list("pk", flat=True))
    if what == UNDONE:
        take_back(visitors, interest)
    else:
        correct(visitors, Correction(interest, what, timezone.now(), str(request.user.pk)))
    logs: dict[str, Callable[[], str]] = {
        PINNED: lambda: gettext("Pinned an interest."),
        MUTED: lambda: gettext("Muted an interest."),
        UNDONE: lambda: gettext("Took back the correction of an interest."),
    }
    url = reverse("admin:recommender_persona_change", args=[persona.pk])
    return Outcome(persona, logs[what](), gettext("It holds from the next list on."), url)


def _url(visitor: Visitor, interest: str, what: str) -> str:
    address = reverse("admin:recommender_persona_correct", args=[visitor.pk])
    return f"{address}?{urlencode({'interest': interest, 'what': what})}"
