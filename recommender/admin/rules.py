"""Rules of merchandisers: write one, look at what it does, hand it over, publish it for a time, see what it costs."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from recommender import serving
from recommender.admin.readonly import StyledAdmin
from recommender.admin.rule_forms import RuleForm
from recommender.admin.rule_previews import preview_of, workbench_url
from recommender.admin.rule_words import (
    condition_of,
    cost_line,
    effect_of,
    measured_rows,
    people_of,
    predicted_rows,
    window_of,
)
from recommender.admin.runs import badge
from recommender.admin.steps import Link, Outcome, Step, require, walk
from recommender.exceptions import StaleRule
from recommender.models import Rule
from recommender.rules import life
from recommender.rules.checking import expired, faults_of
from recommender.rules.conflicts import conflicts_of
from recommender.serving.predicting import predict

EDIT, ADD, VIEW, PUBLISH = (
    "recommender.change_rule", "recommender.add_rule", "recommender.view_rule", "recommender.publish_rule",
)  # fmt: skip
LOOK = "recommender.view_workbench"
STANDINGS = {
    "draft": ("insufficient", _("draft")),
    "review": ("queued", _("in review")),
    "live": ("succeeded", _("live")),
    "scheduled": ("running", _("scheduled")),
    "ended": ("cancelled", _("ended")),
    "withdrawn": ("cancelled", _("withdrawn")),
}
"""The badge and the word of each standing."""

State = Rule.State


@admin.register(Rule)
class RuleAdmin(StyledAdmin):
    form = RuleForm
    list_display = ("rule", "standing", "what", "for_whom", "window", "cost_shown", "problems")
    list_display_links = None
    list_filter = ("state", "action", "slot")
    list_select_related = ("segment", "experiment")
    search_fields = ("name", "query")
    show_full_result_count = False
    actions = None
    fieldsets = (
        (None, {"fields": ("name", "action", "read_version")}),
        (_("On which items: pin, boost, bury, filter, exclude"),
         {"fields": ("item_ids", "attribute", "values", "position", "places")}),
        (_("Redirect and banner"), {"fields": ("url", "text")}),
        (_("For whom"), {"fields": ("match", "query", "slot", "segment", "experiment")}),
        (_("When"), {"fields": ("starts_at", "ends_at")}),
    )  # fmt: skip

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        names = ("look", "submit", "publish", "withdraw", "copy")
        own = [path(f"<int:pk>/{name}/", wrap(getattr(self, f"{name}_view")), name=_url_name(name)) for name in names]
        return [*own, *super().get_urls()]

    @admin.display(description=_("rule"), ordering="name")
    def rule(self, rule: Rule) -> SafeString:
        markup = '<a href="{}">{}</a> <span class="rec-quiet">{}</span>'
        return format_html(markup, _url(rule, "look"), rule, rule.get_action_display().partition(":")[0])

    @admin.display(description=_("state"))
    def standing(self, rule: Rule) -> SafeString:
        css, words = STANDINGS[life.standing(rule, at=timezone.now())]
        return badge(css, str(words))

    @admin.display(description=_("does"))
    def what(self, rule: Rule) -> str:
        return effect_of(rule)

    @admin.display(description=_("for"))
    def for_whom(self, rule: Rule) -> str:
        return condition_of(rule)

    @admin.display(description=_("when"))
    def window(self, rule: Rule) -> str:
        return window_of(rule)

    @admin.display(description=_("cost"))
    def cost_shown(self, rule: Rule) -> str:
        return cost_line(rule)

    @admin.display(description=_("to repair"))
    def problems(self, rule: Rule) -> str:
        """Of rules that serve or wait: an item that is gone since, or a segment that nobody is in any more."""
        is_open = rule.state in (State.LIVE, State.REVIEW) and not rule.has_ended(timezone.now())
        return " ".join(faults_of(rule, host=_host_of(rule)).values()) if is_open else ""

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        form: Any = super().get_form(request, obj, change=change, **kwargs)
        form.host = request.get_host()
        return form

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """What was live is not changed: its figures are about what it was."""
        is_open = obj is None or obj.state in (State.DRAFT, State.REVIEW)
        return is_open and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        was_live = obj is not None and obj.reviewed_at is not None
        return not was_live and super().has_delete_permission(request, obj)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        return super().changelist_view(request, {"title": gettext("Rules"), **(extra_context or {})})

    def changeform_view(
        self, request: HttpRequest, object_id: str | None = None, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """A draft is a form; what is no longer written is a page to look at."""
        rule = self.get_object(request, object_id) if object_id else None
        if rule is not None and not self.has_change_permission(request, rule):
            require(request, VIEW)
            return redirect(_url(rule, "look"))
        context = {"show_save_and_continue": False, "show_save_and_add_another": False, **(extra_context or {})}
        try:
            return super().changeform_view(request, object_id, form_url, context)
        except StaleRule as error:  # somebody was faster by less than the time of this request
            messages.error(request, str(error))
            return redirect(request.path)

    def save_model(self, request: Any, obj: Rule, form: Any, change: bool) -> None:
        if change:
            life.change(obj, user=request.user, host=request.get_host(), version=form.cleaned_data["read_version"])
        else:
            life.create(obj, user=request.user, host=request.get_host())

    def response_add(self, request: HttpRequest, obj: Any, post_url_continue: str | None = None) -> HttpResponse:
        return self._saved(request, obj)

    def response_change(self, request: HttpRequest, obj: Any) -> HttpResponse:
        return self._saved(request, obj)

    def look_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """All about one rule: what it does before and after, what it collides with, what it costs."""
        require(request, VIEW)
        rule = get_object_or_404(
            Rule.objects.select_related("segment", "experiment", "created_by", "edited_by", "reviewed_by"), pk=pk
        )
        now, served = timezone.now(), serving.current()
        preview = preview_of(rule, request, served)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "media": self.media,
            "title": str(rule),
            "original": rule,
            "rule": rule,
            "state_badge": self.standing(rule),
            "effect": effect_of(rule),
            "condition": condition_of(rule),
            "window": window_of(rule),
            "faults": _faults_now(rule, request.get_host(), now),
            "conflicts": conflicts_of(rule, at=now) if rule.state != State.WITHDRAWN else [],
            "preview": preview,
            "workbench_url": workbench_url(rule, preview.form) if preview.title and request.user.has_perm(LOOK) else "",
            "measured": measured_rows(rule),
            "people": people_of(rule) if rule.reviewed_at else "",
            "predicted": predicted_rows(predict(rule, served)),
            "links": self._links(request, rule),
        }
        return TemplateResponse(request, "admin/recommender/rule/look.html", context)

    def submit_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        require(request, EDIT)
        consequences = (
            gettext("Whoever may publish rules sees that it waits for them."),
            gettext("Nothing changes for shoppers before it is published."),
        )
        return self._walk(request, pk, gettext("Submit for review"), consequences, lambda rule, version: life.submit(
            rule, host=request.get_host(), version=version
        ))  # fmt: skip

    def publish_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        require(request, PUBLISH)
        consequences = (
            gettext("Lists obey it within seconds, from its start to its end; withdraw it at any time."),
            _held_out(pk),
        )
        return self._walk(request, pk, gettext("Publish"), consequences, lambda rule, version: life.publish(
            rule, user=request.user, host=request.get_host(), version=version
        ))  # fmt: skip

    def withdraw_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        require(request, PUBLISH)
        consequences = (
            gettext("Lists are as they were without it, within seconds."),
            gettext("Its figures stay. To use it again, copy it."),
        )
        return self._walk(
            request, pk, gettext("Withdraw"), consequences, lambda rule, version: life.withdraw(rule, version=version)
        )

    def copy_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        require(request, ADD)
        consequences = (gettext("A new draft with the same content. This rule stays as it is."),)
        return self._walk(
            request, pk, gettext("Copy"), consequences, lambda rule, _version: life.copy(rule, user=request.user)
        )

    def _walk(
        self, request: HttpRequest, pk: int, label: str, consequences: tuple[str, ...], act: Callable[[Rule, int], Rule]
    ) -> HttpResponse:
        """Ask, then take one step on the version that the question was about."""
        rule = get_object_or_404(Rule.objects.select_related("segment", "experiment"), pk=pk)
        version = request.POST.get("version") or request.GET.get("version") or ""
        step = Step(
            title=f"{label}: {rule}",
            question=gettext("%(step)s “%(rule)s”: %(effect)s, %(condition)s, %(window)s?") % {
                "step": label, "rule": rule, "effect": effect_of(rule), "condition": condition_of(rule),
                "window": window_of(rule),
            },
            consequences=consequences,
            button=label,
            back_url=_url(rule, "look"),
        )  # fmt: skip

        def take() -> Outcome:
            after = act(rule, int(version) if version.isdecimal() else rule.version)
            return Outcome(after, f"{label}.", gettext("%(step)s: done. “%(rule)s” is %(state)s.") % {
                "step": label, "rule": after, "state": after.get_state_display(),
            }, _url(after, "look"))  # fmt: skip

        return walk(self, request, step, take)

    def _saved(self, request: HttpRequest, rule: Rule) -> HttpResponse:
        messages.success(request, gettext("“%s” is a draft. Look at what it does, then submit it for review.") % rule)
        return redirect(_url(rule, "look"))

    def _links(self, request: HttpRequest, rule: Rule) -> list[Link]:
        """The steps that this person may take with the rule as it is now."""
        may = request.user.has_perm
        steps = [
            (gettext("Publish"), "publish", "default", PUBLISH, rule.state == State.REVIEW),
            (gettext("Submit for review"), "submit", "default", EDIT, rule.state == State.DRAFT),
            (gettext("Withdraw"), "withdraw", "danger", PUBLISH, rule.state in (State.REVIEW, State.LIVE)),
            (gettext("Copy"), "copy", "", ADD, True),
        ]
        links = [Link(label, f"{_url(rule, name)}?version={rule.version}", css)
                 for label, name, css, permission, is_possible in steps if is_possible and may(permission)]  # fmt: skip
        if self.has_change_permission(request, rule):
            links.insert(1, Link(gettext("Edit"), reverse("admin:recommender_rule_change", args=[rule.pk])))
        return links


def _faults_now(rule: Rule, host: str, at: dt.datetime) -> list[str]:
    """What is wrong with the rule at this moment, in words; nothing for one that is over."""
    if rule.state == State.WITHDRAWN:
        return []
    late = expired(rule, at=at) if rule.state != State.LIVE else {}
    return [*faults_of(rule, host=host).values(), *late.values()]


def _held_out(pk: int) -> str:
    """Who is not under the rule once it is live. One query."""
    if Rule.objects.filter(pk=pk, experiment__isnull=False).exists():
        return gettext("Only the shoppers who try the variant of its experiment are under it, while that runs.")
    return gettext("A twentieth of the visitors is held out of it, so that its cost can be measured.")


def _host_of(rule: Rule) -> str:
    """The host of an address that was checked when it was written."""
    return rule.url.partition("://")[2].partition("/")[0]


def _url_name(step: str) -> str:
    return f"recommender_rule_{step}"


def _url(rule: Rule, step: str) -> str:
    return reverse(f"admin:{_url_name(step)}", args=[rule.pk])
