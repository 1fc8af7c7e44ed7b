"""The profit dial: how much the margin weighs in the lists of a slot, what that earns and costs, who approves it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from recommender.admin.charts import frontier_chart
from recommender.admin.numbers import interval, local
from recommender.admin.readonly import StyledAdmin
from recommender.admin.rule_forms import ProfitDialForm
from recommender.admin.runs import badge
from recommender.admin.steps import Link, Outcome, Step, require, walk
from recommender.models import Item, ProfitDial, Run
from recommender.rules import dials
from recommender.runs.figures import Figures, ProfitPoint

CHANGE, VIEW, PUBLISH = (
    "recommender.change_profitdial", "recommender.view_profitdial", "recommender.publish_profitdial",
)  # fmt: skip
BADGES = {"draft": "insufficient", "review": "queued", "live": "succeeded", "withdrawn": "cancelled"}

State = ProfitDial.State


@admin.register(ProfitDial)
class ProfitDialAdmin(StyledAdmin):
    form = ProfitDialForm
    list_display = ("slot", "weight", "state_badge", "note", "edited_by", "reviewed_by", "updated_at")
    list_select_related = ("edited_by", "reviewed_by")
    list_filter = ("state", "slot")
    actions = None
    change_list_template = "admin/recommender/profit/change_list.html"
    change_form_template = "admin/recommender/profit/change_form.html"

    def get_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """The version is that of a form: who only looks at a dial has none."""
        fields = ("slot", "weight", "note")
        may_write = self.has_change_permission(request, obj) if obj is not None else self.has_add_permission(request)
        return (*fields, "read_version") if may_write else fields

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        names = ("submit", "publish", "withdraw")
        own = [
            path(f"<int:pk>/{name}/", wrap(getattr(self, f"{name}_view")), name=f"recommender_profitdial_{name}")
            for name in names
        ]
        margins = path("frontier/", wrap(self.frontier_view), name="recommender_profitdial_frontier")
        return [*own, margins, *super().get_urls()]

    @admin.display(description=_("state"))
    def state_badge(self, dial: ProfitDial) -> SafeString:
        return badge(BADGES[dial.state], dial.get_state_display())

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        is_open = obj is None or obj.state in (State.DRAFT, State.REVIEW)
        return is_open and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        was_live = obj is not None and obj.reviewed_at is not None
        return not was_live and super().has_delete_permission(request, obj)

    def save_model(self, request: Any, obj: ProfitDial, form: Any, change: bool) -> None:
        if change:
            dials.change(obj, user=request.user, version=form.cleaned_data["read_version"])
        else:
            dials.create(obj, user=request.user)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        links = [Link(gettext("What it earns and costs"), reverse("admin:recommender_profitdial_frontier"))]
        return super().changelist_view(request, {"links": links, **(extra_context or {})})

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        dial = self.get_object(request, object_id)
        links = _links(request, dial) if dial is not None else []
        return super().change_view(request, object_id, form_url, {"links": links, **(extra_context or {})})

    def frontier_view(self, request: HttpRequest) -> HttpResponse:
        """Expected profit against relevance lost, by the newest run that measured it."""
        require(request, VIEW)
        run, points = _measured()
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "media": self.media,
            "title": gettext("Profit and relevance"),
            "run": run,
            "rows": [_row(point, points[0]) for point in points],
            "chart": _chart(points),
            "n": points[0].n if points else 0,
            "n_items": Item.objects.filter(is_active=True).count(),
            "n_priced": Item.objects.filter(is_active=True, margin__isnull=False).count(),
        }
        return TemplateResponse(request, "admin/recommender/profit/frontier.html", context)

    def submit_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        require(request, CHANGE)
        consequences = (gettext("Nothing changes for shoppers before another person lets it live."),)
        return self._walk(request, pk, gettext("Submit for review"), consequences, lambda dial, version: dials.submit(
            dial, version=version
        ))  # fmt: skip

    def publish_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        require(request, PUBLISH)
        consequences = (
            gettext("Lists of the slot obey it within seconds; the slot's former dial ends."),
            gettext("Among items of like relevance those that earn more come first."),
        )
        return self._walk(request, pk, gettext("Let it live"), consequences, lambda dial, version: dials.publish(
            dial, user=request.user, version=version
        ))  # fmt: skip

    def withdraw_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        require(request, PUBLISH)
        consequences = (gettext("Lists of the slot are ordered by relevance alone again, within seconds."),)
        return self._walk(request, pk, gettext("Withdraw"), consequences, lambda dial, version: dials.withdraw(
            dial, version=version
        ))  # fmt: skip

    def _walk(
        self,
        request: HttpRequest,
        pk: int,
        label: str,
        consequences: tuple[str, ...],
        act: Callable[[ProfitDial, int], ProfitDial],
    ) -> HttpResponse:
        """Ask, then take one step on the version that the question was about."""
        dial = get_object_or_404(ProfitDial, pk=pk)
        version = request.POST.get("version") or request.GET.get("version") or ""
        words = {"step": label, "slot": dial.get_slot_display(), "weight": dial.weight, "note": dial.note}
        step = Step(
            title=f"{label}: {dial}",
            question=gettext("%(step)s: the margin weighs %(weight)g in %(slot)s? Note: %(note)s") % words,
            consequences=(*consequences, *_expectation(dial.weight)),
            button=label,
            back_url=_url(dial),
        )

        def take() -> Outcome:
            after = act(dial, int(version) if version.isdecimal() else dial.version)
            message = gettext("The dial is %s now.") % after.get_state_display()
            return Outcome(after, f"{label}: {after}.", message, _url(after))

        return walk(self, request, step, take)


def _measured() -> tuple[Run | None, tuple[ProfitPoint, ...]]:
    """The newest run that measured the frontier, and its points. One query."""
    run = Run.objects.filter(metrics__has_key="profit").order_by("-pk").first()
    return run, Figures.of(run.metrics).profit if run is not None else ()


def _expectation(weight: float) -> tuple[str, ...]:
    """What the newest frontier says of the measured weight that is nearest."""
    _run, points = _measured()
    if not points:
        return (gettext("Nobody has measured what it earns and costs: train once with margins."),)
    point = min(points, key=lambda one: abs(one.weight - weight))
    row = _row(point, points[0])
    return (
        gettext("In the evaluation weight %(weight)s earned %(profit)s of what 0 earns, at NDCG@10 %(gain)s.") % row,
    )


def _row(point: ProfitPoint, base: ProfitPoint) -> dict[str, str]:
    gained = point.gained
    return {
        "weight": local(point.weight, "g"),
        "amount": local(point.profit, ",.4f"),
        "profit": local(point.profit / base.profit, ".1%") if base.profit else "–",
        "ndcg": local(point.ndcg, ".4f"),
        "gain": f"{local(gained.mean, '+.4f')} {interval(gained.low, gained.high, '+.4f')}" if gained else "–",
    }


def _chart(points: tuple[ProfitPoint, ...]) -> SafeString:
    if not points:
        return SafeString("")
    best = points[0].ndcg
    drawn = [(best - point.ndcg, point.profit, f"{point.weight:g}") for point in points]
    return frontier_chart(
        drawn,
        title=gettext("Expected profit of a list against relevance lost, by the weight of the margin"),
        x_label=gettext("NDCG@10 lost"),
        y_label=gettext("expected profit of a list"),
    )


def _links(request: HttpRequest, dial: ProfitDial) -> list[Link]:
    may = request.user.has_perm
    steps = [
        (gettext("Let it live"), "publish", "default", PUBLISH, dial.state == State.REVIEW),
        (gettext("Submit for review"), "submit", "default", CHANGE, dial.state == State.DRAFT),
        (gettext("Withdraw"), "withdraw", "danger", PUBLISH, dial.state in (State.REVIEW, State.LIVE)),
    ]
    return [
        Link(label, f"{reverse(f'admin:recommender_profitdial_{name}', args=[dial.pk])}?version={dial.version}", css)
        for label, name, css, permission, is_possible in steps
        if is_possible and may(permission)
    ]


def _url(dial: ProfitDial) -> str:
    return reverse("admin:recommender_profitdial_change", args=[dial.pk])
