"""The preview of a rule: one list without it and with it, as nobody, a segment or any shopper sees it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext

from recommender import conf
from recommender.admin.people import SeenAs, seen_as, visitors_matching
from recommender.admin.rule_forms import PreviewForm
from recommender.catalog.limits import limits_for
from recommender.models import Rule, Visitor
from recommender.models.words import words_of
from recommender.serving import Served
from recommender.serving.predicting import requests_of
from recommender.serving.previews import before_and_after
from recommender.serving.rule_book import compiled
from recommender.text.query import normal_query
from recommender.types import Context, Entry, Request, Slot, WhySkipped

N_SHOWN = 10
SEE_PEOPLE = "recommender.view_persona"


@dataclass(frozen=True, slots=True)
class PreviewedItem:
    """One item of a column; change: how it moved, in words, "" where it did not."""

    entry: Entry
    change: str = ""
    is_ruled: bool = False


@dataclass(frozen=True, slots=True)
class Preview:
    """Both columns, and what is to be said of them."""

    form: PreviewForm
    title: str = ""
    before: tuple[PreviewedItem, ...] = ()
    after: tuple[PreviewedItem, ...] = ()
    banners: tuple[str, ...] = ()
    redirect: str = ""
    notes: tuple[str, ...] = field(default_factory=tuple)


def preview_of(rule: Rule, request: HttpRequest, served: Served) -> Preview:
    """The list that the page's address names, else one that the rule is for. Nothing is recorded."""
    form = PreviewForm(request.GET if "slot" in request.GET else None)
    if form.is_bound:
        wanted, notes = _wanted(form, rule, request) if form.is_valid() else (None, [])
    else:
        under = served.ruled_by(compiled([rule], served.shelf))
        wanted, notes = next(iter(requests_of(rule, under)), None), []
        if wanted is None:
            return Preview(form, notes=(gettext("Choose a list that the rule is for."),))
        form = PreviewForm(initial={"slot": wanted.slot.value, "query": wanted.query, "item_id": wanted.item_id,
                                    "segment": wanted.segment_id})  # fmt: skip
    if wanted is None:
        return Preview(form)
    wanted = replace(wanted, limit=N_SHOWN, is_composed=wanted.slot != Slot.SEARCH)
    before, after = before_and_after(rule, wanted, served)
    if rule.pk not in after.rules:
        notes.append(gettext("The rule is not for this list: look at its query, slot, segment and time."))
    notes += [_skipped(skipped.item_id, skipped.why) for skipped in after.skipped if skipped.rule == rule.pk]
    positions = {entry.item_id: entry.position for entry in before}
    return Preview(
        form, _title(wanted), tuple(map(PreviewedItem, before.entries)),
        tuple(_moved(entry, positions, rule) for entry in after), after.banners, after.redirect, tuple(notes),
    )  # fmt: skip


def workbench_url(rule: Rule, form: PreviewForm) -> str:
    """The address of the workbench with the list of a preview, without the rule and with it."""
    values = {name: form[name].value() for name in ("slot", "query", "item_id", "segment", "person")}
    chosen = {name: value for name, value in values.items() if value}
    return f"{reverse('admin:recommender_workbench_changelist')}?{urlencode(chosen | {'rule': rule.pk})}"


def _wanted(form: PreviewForm, rule: Rule, request: HttpRequest) -> tuple[Request, list[str]]:
    values: dict[str, Any] = form.cleaned_data
    slot = Slot(values["slot"])
    seen, notes = _person(values["person"], request)
    segment = values["segment"]
    at = max(timezone.now(), rule.starts_at) if rule.starts_at else timezone.now()
    return Request(
        slot,
        seen.context(at) if seen is not None else Context(at),
        history=seen.events if seen is not None else (),
        query=normal_query(values["query"]) if slot == Slot.SEARCH else "",
        item_id=values["item_id"],
        at_most=limits_for(slot, None),
        personal_weight=float(conf.get("PERSONAL_SEARCH")),
        segment_id=segment.pk if segment is not None else seen.segment_id if seen is not None else None,
    ), notes


def _person(words: str, request: HttpRequest) -> tuple[SeenAs | None, list[str]]:
    """The shopper that was named, for who may see personas."""
    if not words:
        return None, []
    if not request.user.has_perm(SEE_PEOPLE):
        return None, [gettext("To preview as a shopper you need the permission %s. This is as nobody.") % SEE_PEOPLE]
    visitor = Visitor.objects.filter(visitors_matching(words)).order_by("-last_seen_at").first()
    if visitor is None:
        return None, [gettext("There is no such shopper. This is as nobody.")]
    return seen_as(visitor), []


def _moved(entry: Entry, positions: dict[str, int], rule: Rule) -> PreviewedItem:
    before, is_ruled = positions.get(entry.item_id), rule.pk in entry.rules
    if before is None:
        change = gettext("new here")
    elif before == entry.position:
        change = ""
    else:
        arrow = "↑" if before > entry.position else "↓"
        change = f"{arrow} {abs(before - entry.position)}"
    return PreviewedItem(entry, change, is_ruled)


def _title(wanted: Request) -> str:
    name = words_of(wanted.slot.value)
    if wanted.query:
        return f"{name}: “{wanted.query}”"
    return f"{name}: {wanted.item_id}" if wanted.item_id else name


def _skipped(item_id: str, why: WhySkipped) -> str:
    reasons = {
        WhySkipped.GONE: gettext("is no longer in the catalogue"),
        WhySkipped.HIDDEN: gettext("is hidden by the shop"),
        WhySkipped.SOLD_OUT: gettext("is sold out"),
        WhySkipped.EXCLUDED: gettext("is excluded, dismissed, in the cart or the current item"),
    }
    return gettext("“%(item)s” is not pinned: it %(why)s.") % {"item": item_id, "why": reasons[why]}
