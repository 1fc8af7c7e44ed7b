"""Personas: a visitor described in words, with the evidence, and the list that this shopper sees."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.dates import WEEKDAYS_ABBR
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from recommender import pipeline, serving
from recommender.admin.charts import Bar, bar_chart, column_chart
from recommender.admin.corrections import correct_view, interest_rows
from recommender.admin.erasures import erase_link, erase_view
from recommender.admin.filters import DeviceFilter, PersonalisedFilter, SegmentFilter, SignedInFilter
from recommender.admin.numbers import local
from recommender.admin.people import n_events_of, names_of, seen_as, visitors_matching, visitors_of
from recommender.admin.readonly import BoundedChangeList, ReadOnlyAdmin
from recommender.admin.steps import require
from recommender.models import Event, Persona, Visitor
from recommender.personas import Interest, PersonaDescription, ago, describe
from recommender.serving.shelf import Shelf
from recommender.types import EventType, PastEvent, Ranking, Rung

N_SHOWN = 8
N_NEWEST = 25

RUNGS: Mapping[Rung, Any] = {
    Rung.CHAMPION: _("the trained model"),
    Rung.UNTRAINED: _("the untrained model"),
    Rung.REDUCED: _("the model without a part that failed or was late"),
    Rung.LEXICAL: _("matching words and bestsellers"),
    Rung.POPULARITY: _("bestsellers"),
    Rung.WORDS: _("matching words, while the catalogue is loading"),
    Rung.SHOP_ORDER: _("the shop's own order"),
    Rung.EMPTY: _("nothing: there are no items yet"),
}
VERBS: Mapping[EventType, Any] = {
    EventType.VIEW_ITEM_LIST: _("saw a list"),
    EventType.SELECT_ITEM: _("clicked"),
    EventType.VIEW_ITEM: _("viewed"),
    EventType.SEARCH: _("searched"),
    EventType.ADD_TO_CART: _("added to the cart"),
    EventType.REMOVE_FROM_CART: _("removed from the cart"),
    EventType.PURCHASE: _("bought"),
    EventType.REFUND: _("returned"),
    EventType.DISMISS_ITEM: _("dismissed"),
}


@dataclass(frozen=True, slots=True)
class Moment:
    """One event of the timeline."""

    verb: str
    what: str
    at: dt.datetime
    ago: str


class PersonaChangeList(BoundedChangeList):
    """Adds the names and the numbers of events of one page: three queries, whatever the size of the tables."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        visitors: list[Visitor] = list(self.result_list)
        names, counts = names_of(visitor.user_key for visitor in visitors), n_events_of(visitors)
        for visitor in visitors:
            visitor.person = names.get(visitor.user_key or "") or str(visitor)  # type: ignore[attr-defined]
            visitor.n_events = counts[visitor.pk]  # type: ignore[attr-defined]
        self.result_list = visitors


@admin.register(Persona)
class PersonaAdmin(ReadOnlyAdmin):
    """One row per person: the visitor seen last, where several have the same user key."""

    list_display = ("who", "n_events", "segment_in_use", "last_seen_at", "device", "is_personalised")
    list_filter = (SignedInFilter, PersonalisedFilter, SegmentFilter, DeviceFilter, "last_seen_at")
    list_select_related = ("segment__merged_into",)
    search_fields = ("key",)
    search_help_text = _("Name of a user, or the key of a user or a visitor")
    ordering = ("-last_seen_at",)
    sortable_by = ("last_seen_at",)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return PersonaChangeList

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        seen_at = OuterRef("last_seen_at")
        later = Q(last_seen_at__gt=seen_at) | Q(last_seen_at=seen_at, pk__gt=OuterRef("pk"))
        same_person = Visitor.objects.filter(later, user_key=OuterRef("user_key"))
        return super().get_queryset(request).filter(~Exists(same_person))

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        """Return any visitor, so that links from events stay valid after a later visit on another device."""
        return Persona.objects.filter(pk=object_id).first() if object_id.isdecimal() else None

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        return (queryset.filter(visitors_matching(search_term)) if search_term.strip() else queryset), False

    def get_urls(self) -> list[URLPattern]:
        erase = self.admin_site.admin_view(self.erase_view)
        correct = self.admin_site.admin_view(self.correct_view)
        return [
            path("<int:pk>/erase/", erase, name="recommender_persona_erase"),
            path("<int:pk>/correct/", correct, name="recommender_persona_correct"),
            *super().get_urls(),
        ]

    def correct_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        return correct_view(self, request, pk)

    def erase_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        return erase_view(self, request, get_object_or_404(Visitor, pk=pk))

    @admin.display(description=_("visitor"))
    def who(self, visitor: Visitor) -> str:
        return str(getattr(visitor, "person", visitor))

    @admin.display(description=_("segment"))
    def segment_in_use(self, visitor: Visitor) -> str:
        return str(visitor.segment.whole) if visitor.segment else "-"

    @admin.display(description=_("events"))
    def n_events(self, visitor: Visitor) -> str:
        return local(getattr(visitor, "n_events", 0), ",")

    @admin.display(description=_("personalised"))
    def is_personalised(self, visitor: Visitor) -> SafeString:
        """Say why, where it is not."""
        why = why_not_personalised(visitor)
        if not why:
            return format_html('<span aria-hidden="true">✓</span> {}', gettext("yes"))
        return format_html('<span aria-hidden="true">—</span> {}', why)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show one persona; nothing of it is recorded as an event or an impression."""
        visitor = self.get_object(request, object_id)
        if visitor is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)  # type: ignore[attr-defined]
        if not self.has_view_permission(request, visitor):
            require(request, "recommender.view_persona")
        context = {**self.admin_site.each_context(request), **_page(visitor), "opts": self.opts, "media": self.media}
        context["links"] = erase_link(request, visitor)
        if "persona" in context:
            context["interest_rows"] = interest_rows(request, visitor, context["persona"])
        return TemplateResponse(request, "admin/recommender/persona/detail.html", context | (extra_context or {}))


def why_not_personalised(visitor: Visitor) -> str:
    """Return why nothing is personalised for this visitor; "" where it is."""
    if visitor.is_bot:
        return gettext("no: a bot")
    if not visitor.has_consented:
        return gettext("no: has not consented")
    return "" if visitor.is_profiled else gettext("no: switched off")


def _page(visitor: Visitor) -> dict[str, Any]:
    """Return all that the page of one persona shows."""
    name = names_of([visitor.user_key]).get(visitor.user_key or "") or str(visitor)
    why_not = why_not_personalised(visitor)
    page = {
        "title": gettext("Persona of %s") % name,
        "name": name,
        "visitor": visitor,
        "original": visitor,
        "n_devices": visitors_of(visitor).count(),
        "why_not": why_not,
    }
    return page if why_not else {**page, **_portrait(visitor)}


def _portrait(visitor: Visitor) -> dict[str, Any]:
    now = timezone.now()
    seen, shelf = seen_as(visitor), serving.current().shelf
    zone = timezone.get_current_timezone()
    description = describe(
        seen.events, shelf, now=now, device=seen.device, currency=_currency(shelf), timezone=zone,
        corrections=seen.corrections,
    )  # fmt: skip
    home = pipeline.recommend("home", shopper=seen, limit=N_SHOWN, at=now)
    trending = pipeline.recommend("trending", limit=N_SHOWN, at=now)
    return {
        "persona": description,
        "n_events": Event.objects.filter(visitor__in=visitors_of(visitor)).count(),
        "interest_chart": _interest_chart(description.interests, gettext("Interests"), now),
        "word_chart": _word_chart(description, now),
        "weekday_chart": _weekday_chart(description),
        "hour_chart": _hour_chart(description),
        "repeated": [(_title(shelf, item_id), n) for item_id, n in description.repeated],
        "home": _list(home, beside=trending),
        "trending": _list(trending, beside=home),
        "moments": [_moment(event, shelf, now) for event in reversed(seen.events[-N_NEWEST:])],
    }


def _interest_chart(interests: tuple[Interest, ...], title: str, now: dt.datetime) -> SafeString:
    bars = [
        Bar(interest.name, interest.share, f"{interest.evidence.in_words()} · {ago(interest.last_at, now)}")
        for interest in interests
    ]
    return bar_chart(bars, title=title)


def _word_chart(description: PersonaDescription, now: dt.datetime) -> SafeString:
    """Draw the words only where the interests above are categories."""
    if description.interests == description.words:
        return SafeString("")
    return _interest_chart(description.words, gettext("Words that its items share"), now)


def _weekday_chart(description: PersonaDescription) -> SafeString:
    if description.rhythm is None:
        return SafeString("")
    bars = [Bar(str(WEEKDAYS_ABBR[day]), n) for day, n in enumerate(description.rhythm.weekdays)]
    return column_chart(bars, title=gettext("Hours with activity by weekday"))


def _hour_chart(description: PersonaDescription) -> SafeString:
    if description.rhythm is None:
        return SafeString("")
    bars = [Bar(str(hour), n) for hour, n in enumerate(description.rhythm.hours)]
    return column_chart(bars, title=gettext("Hours with activity by time of day"), label_every=3)


def _list(ranking: Ranking, *, beside: Ranking) -> dict[str, Any]:
    """Return a list for the template, with the items that the other list does not have."""
    own = {entry.item_id for entry in ranking.entries} - {entry.item_id for entry in beside.entries}
    return {"entries": ranking.entries, "only_here": own, "served_by": RUNGS[ranking.rung]}


def _moment(event: PastEvent, shelf: Shelf, now: dt.datetime) -> Moment:
    what = _title(shelf, event.item_id) if event.item_id else f"“{event.query}”"
    return Moment(str(VERBS[event.type]), what, event.at, ago(event.at, now))


def _title(shelf: Shelf, item_id: str) -> str:
    row = shelf.index.get(item_id)
    return item_id if row is None else shelf.titles[row]


def _currency(shelf: Shelf) -> str:
    """Return the shop's currency where it has only one."""
    currencies = {currency for currency in shelf.currency if currency}
    return currencies.pop() if len(currencies) == 1 else ""
