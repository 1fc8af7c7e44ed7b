"""Filters with fixed choices, so that no page has to read the distinct values of a large table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.contrib.admin import ModelAdmin, SimpleListFilter
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from recommender.catalog import catalogs
from recommender.models import Segment
from recommender.models.segments import in_segment
from recommender.models.words import WORDS


class _FieldFilter(SimpleListFilter):
    """Compares one field with one of `choices_of_field`."""

    field = ""
    choices_of_field: tuple[tuple[str, Any], ...] = ()

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> tuple[tuple[str, Any], ...]:
        return self.choices_of_field

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        return queryset.filter(**{self.field: value}) if value else queryset


class _ConditionFilter(SimpleListFilter):
    """Offers conditions on several fields; a row of `conditions` is the label and the condition of one choice."""

    conditions: Mapping[str, tuple[Any, Mapping[str, bool]]] = {}

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> tuple[tuple[str, Any], ...]:
        return tuple((name, label) for name, (label, _condition) in self.conditions.items())

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        choice = self.conditions.get(self.value() or "")
        return queryset.filter(**choice[1]) if choice else queryset


class DeviceFilter(_FieldFilter):
    title = _("device")
    parameter_name = field = "device"
    choices_of_field = tuple((name, WORDS[name]) for name in ("mobile", "tablet", "desktop"))


class SourceFilter(_FieldFilter):
    title = _("source")
    parameter_name = field = "source"
    choices_of_field = tuple((name, WORDS[name]) for name in ("page", "api", "order", "signal"))


class LabelFilter(_FieldFilter):
    """The shop's models that have a Catalog."""

    title = _("model")
    parameter_name = field = "label"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> tuple[tuple[str, Any], ...]:
        return tuple((catalog.label, catalog.label) for catalog in catalogs())


class PersonalisedFilter(_ConditionFilter):
    title = _("personalised")
    parameter_name = "personalised"
    conditions = {
        "yes": (_("yes"), {"has_consented": True, "is_profiled": True, "is_bot": False}),
        "no_consent": (_("no consent"), {"has_consented": False}),
        "off": (_("switched off"), {"is_profiled": False}),
        "bot": (_("bot"), {"is_bot": True}),
    }


class SignedInFilter(_ConditionFilter):
    title = _("account")
    parameter_name = "account"
    conditions = {
        "yes": (_("signed in"), {"user_key__isnull": False}),
        "no": (_("anonymous"), {"user_key__isnull": True}),
    }


class SegmentFilter(_FieldFilter):
    """The present segments; two queries."""

    title = _("segment")
    parameter_name = "segment"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> tuple[tuple[str, Any], ...]:
        return tuple((str(segment.number), str(segment)) for segment in Segment.objects.in_use())

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value() or ""
        segment = Segment.objects.filter(number=int(value)).first() if value.isdecimal() else None
        return queryset if segment is None else queryset.filter(in_segment(segment))


class DecisionFilter(_ConditionFilter):
    """Whether a synonym was decided on, and how."""

    title = _("state")
    parameter_name = "state"
    conditions = {
        "proposed": (_("proposed"), {"is_active": False, "reviewed_at__isnull": True}),
        "in_use": (_("in use"), {"is_active": True}),
        "rejected": (_("rejected"), {"is_active": False, "reviewed_at__isnull": False}),
    }


class SeenFilter(_ConditionFilter):
    """Whether somebody has seen an alarm."""

    title = _("state")
    parameter_name = "state"
    conditions = {
        "new": (_("new"), {"seen_at__isnull": True}),
        "seen": (_("seen"), {"seen_at__isnull": False}),
    }
