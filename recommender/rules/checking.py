"""Checks a rule before it is stored or published: every fault is named by its field, with the repair."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _

from recommender import conf
from recommender.catalog import attribute_names
from recommender.models import Experiment, Item, Rule
from recommender.types import Slot

MAX_ITEMS = 500
MAX_PINS = 20
MAX_POSITION = 100
OWN_COLUMNS = ("category", "brand")
MOVING = (Rule.Action.BOOST, Rule.Action.BURY)
ON_ITEMS = (*MOVING, Rule.Action.FILTER, Rule.Action.EXCLUDE)
"""Actions on items that may be named by an attribute."""

Fault = tuple[str, str]
"""The field at fault, and what to do about it."""


def faults_of(rule: Rule, *, host: str) -> dict[str, str]:
    """What is wrong with a rule, by field; empty where nothing is. Three queries at most. host: that of this shop, to
    which alone a redirect may lead."""
    faults: dict[str, str] = {}
    for check in (_identity, _target, _condition, _window):
        for name, message in check(rule):
            faults.setdefault(name, message)
    if rule.action == Rule.Action.REDIRECT and (message := _fault_of_url(rule.url, host)):
        faults.setdefault("url", message)
    return faults


def expired(rule: Rule, *, at: dt.datetime) -> dict[str, str]:
    """Why a rule must not go live now although it is valid: its window is over."""
    return {"ends_at": _("It ends in the past. Choose a later end, or leave it empty.")} if rule.has_ended(at) else {}


def attributes() -> tuple[str, ...]:
    """The attributes by which rules may name items."""
    return (*OWN_COLUMNS, *(name for name in attribute_names() if name not in OWN_COLUMNS))


def item_ids_of(rule: Rule) -> set[str]:
    """The ids of the items that a rule acts on, active or not. At most one query."""
    if rule.item_ids or not rule.attribute:
        return set(rule.item_ids)
    name = rule.attribute if rule.attribute in OWN_COLUMNS else f"attributes__{rule.attribute}"
    return set(Item.objects.filter(**{f"{name}__in": rule.values}).values_list("item_id", flat=True))


def _identity(rule: Rule) -> Iterator[Fault]:
    if not rule.name.strip():
        yield "name", _("Give it a name, so that others know what it is for.")
    if rule.action not in Rule.Action.values:
        yield "action", _("Choose one of: %s.") % ", ".join(Rule.Action.values)


def _target(rule: Rule) -> Iterator[Fault]:
    if rule.action == Rule.Action.BANNER:
        if not rule.text.strip():
            yield "text", _("Write the text of the banner.")
    elif rule.action == Rule.Action.PIN:
        yield from _pins(rule)
    elif rule.action in ON_ITEMS:
        if rule.item_ids and rule.attribute:
            yield "attribute", _("Name items or an attribute, not both.")
        elif rule.attribute:
            yield from _attribute(rule)
        elif not rule.item_ids:
            yield "item_ids", _("Name the items, or an attribute and its values.")
    yield from _items(rule)


def _pins(rule: Rule) -> Iterator[Fault]:
    if not rule.item_ids or rule.attribute:
        yield "item_ids", _("Name the items to pin, one id a line; an attribute cannot be pinned.")
    if len(rule.item_ids) > MAX_PINS:
        yield "item_ids", _("Pin at most %d items by one rule.") % MAX_PINS
    if not rule.position or rule.position > MAX_POSITION:
        yield "position", _("Give the first of them a position from 1 to %d.") % MAX_POSITION
    if rule.match == Rule.Match.ANY and not rule.slot:
        yield "slot", _("A pin in every list would stand everywhere: choose a slot or a query.")


def _attribute(rule: Rule) -> Iterator[Fault]:
    if rule.attribute not in attributes():
        nearest = conf.closest(rule.attribute, attributes())
        yield "attribute", _("There is no such attribute. %(nearest)s There are: %(names)s.") % {
            "nearest": nearest, "names": ", ".join(attributes()),
        }  # fmt: skip
    elif not rule.values:
        yield "values", _("Name at least one value of the attribute.")
    else:
        name = rule.attribute if rule.attribute in OWN_COLUMNS else f"attributes__{rule.attribute}"
        for value in rule.values:
            if not Item.objects.filter(is_active=True, **{name: value}).exists():
                yield "values", _("No item has the value “%s”. Write it as the items have it.") % value
                return


def _items(rule: Rule) -> Iterator[Fault]:
    """Items that are named must be there; one query."""
    if not rule.item_ids:
        return
    if len(rule.item_ids) > MAX_ITEMS:
        yield "item_ids", _("Name at most %d items, or an attribute.") % MAX_ITEMS
        return
    states = dict(Item.objects.filter(item_id__in=rule.item_ids).values_list("item_id", "is_active"))
    gone = [item_id for item_id in rule.item_ids if item_id not in states]
    hidden = [item_id for item_id, is_active in states.items() if not is_active]
    if gone:
        yield "item_ids", _("There is no item “%s” any more. Copy ids from the list of items.") % "”, “".join(gone[:3])
    elif hidden:
        yield "item_ids", _("The shop hides “%s”. Take it out, or show it in the shop again.") % "”, “".join(hidden[:3])
    elif len(states) < len(rule.item_ids):
        yield "item_ids", _("An item is named twice.")


def _condition(rule: Rule) -> Iterator[Fault]:
    has_query = rule.match != Rule.Match.ANY
    if has_query and not rule.query.strip():
        yield "query", _("Write the query or the category that it is for.")
    if not has_query and rule.query:
        yield "match", _("Choose how the query must match, or leave the query empty.")
    if rule.match in (Rule.Match.EXACT, Rule.Match.CONTAINS) and rule.slot not in ("", Slot.SEARCH):
        yield "slot", _("A rule for a query is for the search: leave the slot empty.")
    if rule.slot and rule.slot not in list(Slot):
        yield "slot", _("Choose one of: %s.") % ", ".join(slot.value for slot in Slot)
    if rule.action == Rule.Action.REDIRECT and not has_query:
        yield "match", _("A redirect needs the query that it leads away.")
    experiment = rule.experiment
    if experiment is not None and experiment.state not in (Experiment.State.DRAFT, Experiment.State.LIVE):
        yield "experiment", _("This experiment is over, so that nobody is under the rule. Choose another, or none.")
    segment = rule.segment
    if segment is not None and segment.merged_into is not None:
        yield "segment", _("This segment is part of “%s” now. Choose that one.") % segment.merged_into
    elif segment is not None and (segment.retired_at is not None or not segment.n_people):
        yield "segment", _("Nobody is in this segment any more. Choose another, or all shoppers.")


def _window(rule: Rule) -> Iterator[Fault]:
    if rule.starts_at and rule.ends_at and rule.ends_at <= rule.starts_at:
        yield "ends_at", _("It ends before it starts. Choose an end after the start.")


def _fault_of_url(url: str, host: str) -> str:
    if not url.startswith(("/", "http://", "https://")):
        return _("Write a path that begins with /, or an address that begins with https://.")
    if not url_has_allowed_host_and_scheme(url, allowed_hosts={host}):
        return _("It leads to another host. A redirect may only lead to %s.") % host
    return ""
