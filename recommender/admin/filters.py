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


class _FieldFilter(SimpleListFilter):
    """Compares one field with one of `choices_of_field`."""

    field = ""
    choices_of_field: tuple[tuple[str, Any], ...] = ()

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> tuple[tuple[str, Any], ...]:
        return self.choices_of_field

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        return queryset.filter(**{self.field: value}) if value else queryset


class DeviceFilter(_FieldFilter):
    title = _("device")
    parameter_name = field = "device"
    choices_of_field = (("mobile", _("mobile")), ("tablet", _("tablet")), ("desktop", _("desktop")))


class SourceFilter(_FieldFilter):
    title = _("source")
    parameter_name = field = "source"
    choices_of_field = (("page", _("page")), ("api", _("API")), ("order", _("order")), ("signal", _("signal")))


class LabelFilter(_FieldFilter):
    """The shop's models that have a Catalog."""

    title = _("model")
    parameter_name = field = "label"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> tuple[tuple[str, Any], ...]:
        return tuple((catalog.label, catalog.label) for catalog in catalogs())


class PersonalisedFilter(SimpleListFilter):
    title = _("personalised")
    parameter_name = "personalised"
    conditions: Mapping[str, Mapping[str, bool]] = {
        "yes": {"has_consented": True, "is_profiled": True, "is_bot": False},
        "no_consent": {"has_consented": False},
        "off": {"is_profiled": False},
        "bot": {"is_bot": True},
    }

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> tuple[tuple[str, Any], ...]:
        return (("yes", _("yes")), ("no_consent", _("no consent")), ("off", _("switched off")), ("bot", _("bot")))

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(**self.conditions.get(self.value() or "", {}))


class SignedInFilter(SimpleListFilter):
    title = _("account")
    parameter_name = "account"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> tuple[tuple[str, Any], ...]:
        return (("yes", _("signed in")), ("no", _("anonymous")))

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() not in ("yes", "no"):
            return queryset
        return queryset.filter(user_key__isnull=self.value() == "no")


class SegmentFilter(_FieldFilter):
    """The present segments; one query."""

    title = _("segment")
    parameter_name = "segment"
    field = "segment__number"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> tuple[tuple[str, Any], ...]:
        return tuple((str(segment.number), str(segment)) for segment in Segment.objects.filter(retired_at=None))

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value() or ""
        return queryset.filter(segment__number=int(value)) if value.isdecimal() else queryset


class DecisionFilter(SimpleListFilter):
    """Whether a synonym was decided on, and how."""

    title = _("state")
    parameter_name = "state"
    conditions: Mapping[str, Mapping[str, bool]] = {
        "proposed": {"is_active": False, "reviewed_at__isnull": True},
        "in_use": {"is_active": True},
        "rejected": {"is_active": False, "reviewed_at__isnull": False},
    }

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> tuple[tuple[str, Any], ...]:
        return (("proposed", _("proposed")), ("in_use", _("in use")), ("rejected", _("rejected")))

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        condition = self.conditions.get(self.value() or "")
        return queryset.filter(**condition) if condition else queryset
