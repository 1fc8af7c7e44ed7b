"""Experiments in the admin: plan one, start it, read it any day, and stop it."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from recommender.admin.experiment_results import results_of
from recommender.admin.numbers import local
from recommender.admin.readonly import StyledAdmin
from recommender.admin.runs import badge
from recommender.admin.steps import Link, Outcome, Step, require, walk
from recommender.experiments import conduct, measuring
from recommender.models import Bundle, Experiment, Segment
from recommender.models.experiments import new_salt
from recommender.models.words import WORDS, words_of
from recommender.types import Slot

RUN = "recommender.run_experiment"

PLANNED_FIELDS = (
    "name", "hypothesis", "kind", "bundle", "diversity", "personal_search", "new_share", "profit", "slots", "segment",
    "share", "variant_share", "group", "metric", "lift", "outcome_days", "days", "promotes",
)  # fmt: skip


class ExperimentForm(forms.ModelForm):
    """What is tried on whom; the settings of the variant are fields of their own, empty for what it leaves as it is."""

    slots = forms.MultipleChoiceField(
        choices=[(slot.value, WORDS[slot.value]) for slot in Slot],
        required=False,
        widget=forms.CheckboxSelectMultiple,
        label=_("Slots"),
        help_text=_("None: all of them."),
    )
    diversity = forms.FloatField(
        required=False, label=_("Diversity"), help_text=_("0 to 1; 1 orders by the model's score alone.")
    )
    personal_search = forms.FloatField(
        required=False,
        label=_("Personal search"),
        help_text=_("0 to 4; how much a shopper's likings count in a search."),
    )
    new_share = forms.FloatField(
        required=False,
        label=_("Share of new items"),
        help_text=_("0 to 1; in “for you”, beside what is due again."),
    )
    profit = forms.FloatField(
        required=False,
        label=_("Weight of the margin"),
        help_text=_("0 to 2; 1 orders items of like relevance by expected profit."),
    )

    class Meta:
        model = Experiment
        fields = tuple(name for name in PLANNED_FIELDS if name not in conduct.CHANGES)

    def __init__(self, *positional: Any, **named: Any) -> None:
        super().__init__(*positional, **named)
        for name, value in (self.instance.changes or {}).items():
            if name in self.fields:
                self.fields[name].initial = value
        if "bundle" in self.fields:
            usable = Bundle.objects.exclude(state=Bundle.State.QUARANTINED).order_by("-created_at")
            self.fields["bundle"].queryset = usable  # type: ignore[attr-defined]

        if "segment" in self.fields:
            offered = Segment.objects.in_use() | Segment.objects.filter(pk=self.instance.segment_id)
            self.fields["segment"].queryset = offered  # type: ignore[attr-defined]

    def clean(self) -> dict[str, Any]:
        """Refuse what could not be started, each beside its field."""
        values: dict[str, Any] = super().clean() or {}
        if fault := conduct.fault_of_segment(values.get("segment")):
            self.add_error("segment", fault)
        for name, (low, high) in conduct.CHANGES.items():
            value = values.get(name)
            if value is not None and not low <= value <= high:
                message = gettext("Write a number from %(low)g to %(high)g, or leave it empty.")
                self.add_error(name, message % {"low": low, "high": high})
        changes = {name: values[name] for name in conduct.CHANGES if values.get(name) is not None}
        if values.get("promotes") and values.get("bundle") is None:
            self.add_error("promotes", gettext("Only a bundle can be promoted: choose one for the variant."))
        self.instance.changes = changes
        self.instance.needs_bundle = values.get("bundle") is not None
        return values


@admin.register(Experiment)
class ExperimentAdmin(StyledAdmin):
    form = ExperimentForm
    list_display = ("name", "state_badge", "kind", "share_tried", "decided_by", "started_at", "result")
    list_filter = ("state", "kind")
    list_select_related = ("bundle", "segment__merged_into")
    search_fields = ("name",)
    fieldsets = (
        (None, {"fields": ("name", "hypothesis", "kind")}),
        (
            _("What the variant does differently"),
            {"fields": ("bundle", "diversity", "personal_search", "new_share", "profit")},
        ),
        (_("Where and for whom"), {"fields": ("slots", "segment", "share", "variant_share", "group")}),
        (_("How it is decided"), {"fields": ("metric", "lift", "outcome_days", "days", "promotes")}),
    )

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        return [
            path("<int:pk>/start/", wrap(self.start_view), name="recommender_experiment_start"),
            path("<int:pk>/stop/", wrap(self.stop_view), name="recommender_experiment_stop"),
            path("<int:pk>/copy/", wrap(self.copy_view), name="recommender_experiment_copy"),
            *super().get_urls(),
        ]

    @admin.display(description=_("state"))
    def state_badge(self, experiment: Experiment) -> SafeString:
        state = badge(experiment.state, experiment.get_state_display())
        if not conduct.closed_to_newcomers(experiment):
            return state
        return format_html('{} <span class="rec-tag">{}</span>', state, gettext("no new shoppers"))

    @admin.display(description=_("who tries it"))
    def share_tried(self, experiment: Experiment) -> str:
        if experiment.kind == Experiment.Kind.INTERLEAVED:
            tried = gettext("%(share).0f %% see both") % {"share": 100 * experiment.share}
        else:
            share = 100 * experiment.share * experiment.variant_share
            tried = gettext("%(share).0f %% of shoppers") % {"share": share}
        return tried if experiment.segment is None else f"{tried} · {experiment.segment.whole}"

    @admin.display(description=_("decided by"))
    def decided_by(self, experiment: Experiment) -> str:
        return conduct.metric_name(conduct.deciding_metric(experiment))

    @admin.display(description=_("so far"))
    def result(self, experiment: Experiment) -> str:
        rows = results_of(experiment).rows
        return next((f"{row.sign} {row.amount} {row.words}" for row in rows if row.decides), "–")

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        is_open = obj is None or obj.state == Experiment.State.DRAFT
        return is_open and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        is_over = obj is None or obj.state != Experiment.State.LIVE
        return is_over and super().has_delete_permission(request, obj)

    def save_model(self, request: Any, obj: Experiment, form: Any, change: bool) -> None:
        obj.created_by = obj.created_by or request.user
        super().save_model(request, obj, form, change)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """A draft is a form; what has started shows its figures."""
        experiment = self.get_object(request, object_id)
        links = self._links(request, experiment) if experiment is not None else []
        if experiment is None or self.has_change_permission(request, experiment):
            return super().change_view(request, object_id, form_url, {"links": links, **(extra_context or {})})
        if not self.has_view_permission(request, experiment):
            require(request, "recommender.view_experiment")
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "media": self.media,
            "title": str(experiment),
            "experiment": experiment,
            "state_badge": self.state_badge(experiment),
            "metric": self.decided_by(experiment),
            "slots": ", ".join(words_of(name) for name in experiment.slots),
            "changes": experiment.changes,
            "rules": experiment.rules.all(),
            "results": results_of(experiment),
            "closed": conduct.closed_to_newcomers(experiment),
            "ends_at": conduct.ends_at(experiment) if experiment.state == Experiment.State.LIVE else None,
            "links": links,
        }
        return TemplateResponse(request, "admin/recommender/experiment/detail.html", context)

    def start_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        require(request, RUN)
        experiment = get_object_or_404(Experiment, pk=pk)
        step = Step(
            title=gettext("Start %s") % experiment,
            question=gettext("Try this on shoppers from now on?"),
            consequences=_what_starting_means(experiment),
            button=gettext("Start"),
            back_url=_url(experiment),
        )
        return walk(self, request, step, lambda: _start(experiment))

    def stop_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        require(request, RUN)
        experiment = get_object_or_404(Experiment, pk=pk)
        step = Step(
            title=gettext("Stop %s") % experiment,
            question=gettext("Stop this experiment for good?"),
            consequences=(
                gettext("Everybody gets what the control gets, within seconds."),
                gettext("Its figures stay. To try it again, copy it into a new experiment."),
            ),
            button=gettext("Stop"),
            back_url=_url(experiment),
        )
        return walk(self, request, step, lambda: _stop(request, experiment))

    def copy_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        require(request, "recommender.add_experiment")
        experiment = get_object_or_404(Experiment, pk=pk)
        step = Step(
            title=gettext("Copy %s") % experiment,
            question=gettext("Make a new draft with the same plan?"),
            consequences=(gettext("Other shoppers are drawn for it, and its figures begin anew."),),
            button=gettext("Copy"),
            back_url=_url(experiment),
        )
        return walk(self, request, step, lambda: _copy(request, experiment))

    def _links(self, request: HttpRequest, experiment: Experiment) -> list[Link]:
        links = []
        is_draft = experiment.state == Experiment.State.DRAFT
        if is_draft and request.user.has_perm("recommender.add_rule"):
            url = f"{reverse('admin:recommender_rule_add')}?experiment={experiment.pk}"
            links.append(Link(gettext("Write a rule for the variant"), url))
        if request.user.has_perm(RUN) and experiment.state in (Experiment.State.DRAFT, Experiment.State.LIVE):
            label, name = (gettext("Start"), "start") if is_draft else (gettext("Stop"), "stop")
            url = reverse(f"admin:recommender_experiment_{name}", args=[experiment.pk])
            links.append(Link(label, url, "default" if is_draft else "danger"))
        if self.has_add_permission(request) and experiment.state != Experiment.State.DRAFT:
            links.append(Link(gettext("Copy"), reverse("admin:recommender_experiment_copy", args=[experiment.pk])))
        return links


def _what_starting_means(experiment: Experiment) -> tuple[str, ...]:
    plan = measuring.forecast(experiment, at=timezone.now())
    needed = gettext("To be sure of a lift of %(lift)s %% it needs about %(n)s people.")
    lines = [needed % {"lift": local(100 * experiment.lift, ".1f"), "n": local(plan.planned, ",")}]
    if experiment.kind == Experiment.Kind.INTERLEAVED:
        lines = [gettext("Each list takes items of both rankers in turns; clicks say which chose better.")]
    if experiment.segment is not None:
        sentence = gettext("Only shoppers of “%s” come in; they stay in their arm when they leave the segment.")
        lines.append(sentence % experiment.segment)
    if plan.days is not None:
        sentence = ngettext(
            "At the present traffic these come within %(days)s day; it ends after %(longest)d at the latest.",
            "At the present traffic these come within %(days)s days; it ends after %(longest)d at the latest.",
            plan.days,
        )
        lines.append(sentence % {"days": local(plan.days, ","), "longest": experiment.days})
    return (
        *lines,
        gettext("You may look every day: its intervals hold at every look."),
        gettext("It stops by itself where the variant surely loses clicks, orders, revenue or margin."),
    )


def _start(experiment: Experiment) -> Outcome:
    conduct.start(experiment, at=timezone.now())
    message = gettext("%s runs now. Its figures are renewed every hour.") % experiment
    return Outcome(experiment, gettext("Started."), message, _url(experiment))


def _stop(request: HttpRequest, experiment: Experiment) -> Outcome:
    reason = gettext("Stopped by %s.") % request.user
    conduct.stop(experiment, at=timezone.now(), reason=reason)
    return Outcome(experiment, gettext("Stopped."), gettext("%s has stopped.") % experiment, _url(experiment))


def _copy(request: Any, experiment: Experiment) -> Outcome:
    fields = ("hypothesis", "kind", "bundle", "needs_bundle", "changes", "slots", "segment", "share", "variant_share",
              "group", "metric", "lift", "outcome_days", "days", "promotes")  # fmt: skip
    values = {name: getattr(experiment, name) for name in fields}
    name = gettext("%s, again") % experiment.name[:100]
    copy = Experiment.objects.create(name=name, salt=new_salt(), created_by=request.user, **values)
    return Outcome(copy, gettext("Copied from %s.") % experiment, gettext("This is the new draft."), _url(copy))


def _url(experiment: Experiment) -> str:
    return reverse("admin:recommender_experiment_change", args=[experiment.pk])
