"""The workbench: a list as it is served, why each item stands where it does, and what a bundle or a rule changes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern
from django.utils.formats import date_format
from django.utils.timezone import localtime
from django.utils.translation import gettext, ngettext

from recommender import pipeline, serving
from recommender.admin.people import SeenAs, seen_as
from recommender.admin.readonly import ReadOnlyAdmin
from recommender.admin.steps import require
from recommender.admin.watched_queries import VIEW as VIEW_WATCHED
from recommender.admin.watched_queries import WatchingSteps, watch_link, watched_rows
from recommender.admin.workbench_columns import ListColumn, WhyAbove, column_of, side_by_side, why_above
from recommender.admin.workbench_forms import SEE_PEOPLE, WorkbenchForm
from recommender.admin.workbench_words import EXPLANATIONS, rule_names
from recommender.exceptions import RecommenderError
from recommender.models import Bundle, Rule, Workbench
from recommender.serving import Served
from recommender.serving.inspection import apart
from recommender.serving.other_bundles import with_bundle
from recommender.serving.rule_book import compiled
from recommender.types import Request, Slot

VIEW = "recommender.view_workbench"


@dataclass(slots=True)
class Looked:
    """What the page shows: one column or two, what is to be said above them, and two items compared."""

    columns: tuple[ListColumn, ...] = ()
    notes: list[str] = field(default_factory=list)
    why: WhyAbove | None = None
    error: str = ""


@admin.register(Workbench)
class WorkbenchAdmin(WatchingSteps, ReadOnlyAdmin):
    def get_urls(self) -> list[URLPattern]:
        return [*self.watching_urls(self.admin_site.admin_view), *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Show the list that the address names. Nothing is recorded, and nothing is changed."""
        require(request, VIEW)
        may_see_people = request.user.has_perm(SEE_PEOPLE)
        form = WorkbenchForm(request.GET if "slot" in request.GET else None, may_see_people=may_see_people)
        looked, link = Looked(), None
        if form.is_bound and form.is_valid():
            looked, values = _looked(form, request), form.cleaned_data
            query = values["query"] if values["slot"] is Slot.SEARCH else ""
            link = watch_link(query, values["segment"], request.user)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "media": self.media,
            "title": gettext("Workbench"),
            "form": form,
            "looked": looked,
            "first": request.GET.get("first", ""),
            "second": request.GET.get("second", ""),
            "parameters": [(name, value) for name, value in request.GET.items() if name in form.fields and value],
            "explanations": EXPLANATIONS,
            "links": [link] if link is not None else [],
            "watched": watched_rows() if not form.is_bound and request.user.has_perm(VIEW_WATCHED) else [],
            **(extra_context or {}),
        }
        return TemplateResponse(request, "admin/recommender/workbench/page.html", context)


def _looked(form: WorkbenchForm, request: HttpRequest) -> Looked:
    """The lists that a valid form asks for; a bundle that cannot be loaded is said, with what repairs it."""
    values = form.cleaned_data
    visitor = values["person"]
    seen = seen_as(visitor, at=values["at"]) if visitor is not None else None
    try:
        wanted, served = _request(values, seen), serving.current()
        looked = Looked(_columns(values, wanted, served), _notes(wanted, seen, served))
    except RecommenderError as error:
        return Looked(error=str(error))
    looked.notes += _notes_of_rule(values["rule"], looked.columns)
    first, second = request.GET.get("first", ""), request.GET.get("second", "")
    if first and second:
        looked.why = why_above(looked.columns[0], first, second)
        if looked.why is None:
            looked.notes.append(gettext("Choose two different items of the list to compare them."))
    return looked


def _request(values: dict[str, Any], seen: SeenAs | None) -> Request:
    """The request as a page would make it; the segment replaces the shopper's own."""
    slot: Slot = values["slot"]
    common: dict[str, Any] = {
        "shopper": seen, "limit": values["k"], "at": values["at"], "cart_item_ids": values["cart"],
    }  # fmt: skip
    if slot is Slot.SEARCH:
        request = pipeline.search_request(values["query"], **common)
    else:
        request = pipeline.slot_request(slot, item_id=values["item_id"], **common)
    request = pipeline.of_shopper(request, seen)
    return request if values["segment"] is None else replace(request, segment_id=values["segment"].pk)


def _columns(values: dict[str, Any], wanted: Request, served: Served) -> tuple[ListColumn, ...]:
    """One column, or two side by side. Raises RecommenderError for a bundle that cannot be loaded."""
    bundle, against, rule = values["bundle"], values["against"], values["rule"]
    base = served if bundle is None else with_bundle(bundle.name, served)
    if rule is not None:
        without, under = _without_and_with(rule, base)
        pairs = [(gettext("Without “%s”") % rule, without), (gettext("With “%s”") % rule, under)]
    else:
        pairs = [(_bundle_title(bundle), base)]
        if against is not None:
            pairs.append((_bundle_title(against), with_bundle(against.name, served)))
    columns = tuple(column_of(title, wanted, pair) for title, pair in pairs)
    return columns if len(columns) < 2 else side_by_side(*columns)


def _without_and_with(rule: Rule, served: Served) -> tuple[Served, Served]:
    """The pair under the other live rules, and under this one too, whatever its state is."""
    others = [source for source in served.rules.sources if source.pk != rule.pk]
    return tuple(served.ruled_by(compiled(rules, served.shelf)) for rules in (others, [*others, rule]))  # type: ignore[return-value]


def _bundle_title(bundle: Bundle | None) -> str:
    return gettext("As served now") if bundle is None else gettext("Bundle %s") % bundle


def _notes(wanted: Request, seen: SeenAs | None, served: Served) -> list[str]:
    """What is known of the shopper, and what this shopper sees otherwise."""
    if seen is None:
        return []
    n, at = len(wanted.history), date_format(localtime(wanted.context.at), "DATETIME_FORMAT")
    notes = [
        ngettext("Known of the shopper at %(at)s: %(n)d event.", "Known of the shopper at %(at)s: %(n)d events.", n)
        % {"n": n, "at": at}
    ]
    otherwise = apart(wanted, served)
    if otherwise.experiments:
        arms = ", ".join(f"{experiment.number} ({arm})" for experiment, arm in otherwise.experiments)
        notes.append(gettext("This shopper is in the experiments %s, and may see another list.") % arms)
    if otherwise.held_out:
        names = rule_names(otherwise.held_out, served.rules.sources)
        named = ", ".join(f"“{name}”" for pk, name in names.items() if pk in otherwise.held_out)
        notes.append(gettext("This shopper is held out of %s, so that its effect can be measured.") % named)
    return notes


def _notes_of_rule(rule: Rule | None, columns: tuple[ListColumn, ...]) -> list[str]:
    if rule is None or rule.pk in columns[1].inspection.ranking.rules:
        return []
    return [gettext("The rule is not for this list: look at its query, slot, segment and time.")]
