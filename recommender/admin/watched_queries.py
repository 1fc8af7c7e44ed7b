"""Watched queries: saved from the workbench, judged again by every run, and shown with what changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.contrib import admin
from django.db.models import OuterRef, Prefetch, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from recommender import pipeline, serving
from recommender.admin.numbers import local
from recommender.admin.readonly import StyledAdmin
from recommender.admin.steps import Link, Outcome, Step, require, walk
from recommender.exceptions import ConfigurationError
from recommender.models import Run, Segment, WatchedQuery, WatchedResult
from recommender.models.workbench import MOST_WATCHED
from recommender.serving import Served
from recommender.serving.answers import answer
from recommender.serving.live_entries import ReadsOfOneList
from recommender.text.masking import masked
from recommender.text.query import MAX_QUERY_LENGTH, normal_query

ADD, VIEW, DELETE = (
    "recommender.add_watchedquery", "recommender.view_watchedquery", "recommender.delete_watchedquery",
)  # fmt: skip
N_SAVED = 10
NONE = "–"


@dataclass(frozen=True, slots=True)
class WatchedRow:
    """A watched query with one result, as text; `css`, `sign` and `change` say the same three times."""

    watched: WatchedQuery
    url: str
    run_id: int | None = None
    run_url: str = ""
    overlap: str = NONE
    overlap_saved: str = NONE
    ndcg: str = NONE
    css: str = "even"
    sign: str = ""
    change: str = ""


class WatchForm(forms.Form):
    """Why the query is watched."""

    note = forms.CharField(
        required=False, max_length=200, label=_("Note"), help_text=_("What to look at when it changes.")
    )


class WatchingSteps(admin.ModelAdmin):
    """Adds the step that saves a query to the admin of the workbench."""

    def watching_urls(self, wrap: Callable[..., Any]) -> list[URLPattern]:
        return [path("watch/", wrap(self.watch_view), name="recommender_workbench_watch")]

    def watch_view(self, request: HttpRequest) -> HttpResponse:
        """Ask, then save the query with its first ten items as they are now."""
        require(request, ADD)
        query = masked(normal_query(request.GET.get("query", "")[: 8 * MAX_QUERY_LENGTH]))[:MAX_QUERY_LENGTH]
        number = request.GET.get("segment", "")
        segment = Segment.objects.filter(pk=number).first() if number.isdecimal() else None
        form = WatchForm(request.POST if request.method == "POST" else None)
        consequences = (
            gettext("Its first ten items of now are saved beside it."),
            gettext("Every run ranks it by its new model, and shows what differs from the model that serves."),
            gettext("Colleagues who may look at watched queries can read it."),
        )
        step = Step(
            title=gettext("Watch a query"),
            question=gettext("Watch “%s”?") % query,
            consequences=consequences,
            button=gettext("Watch it"),
            back_url=workbench_url(query, segment),
            form=form,
        )

        def act() -> Outcome:
            row = watch(query, segment=segment, note=form.cleaned_data["note"], user=request.user)
            return Outcome(
                row, gettext("Watched."), gettext("“%s” is watched: every run judges it.") % row, _list_url()
            )

        return walk(self, request, step, act)


@admin.register(WatchedQuery)
class WatchedQueryAdmin(StyledAdmin):
    """The list, and one query with what each run made of it. A query is saved from the workbench."""

    list_display = ("looked_at", "segment", "note", "newest_overlap", "newest_ndcg", "created_by", "created_at")
    list_display_links = ("created_at",)
    list_select_related = ("segment", "created_by")
    search_fields = ("query__startswith", "note__icontains")
    search_help_text = _("The beginning of a query, or a word of a note")
    ordering = ("query", "pk")
    fields = ("looked_at", "segment", "note", "bundle", "saved_items", "created_by", "created_at", "history")
    readonly_fields = fields

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return with_newest(super().get_queryset(request))

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        return super().changelist_view(request, {"title": gettext("Watched queries"), **(extra_context or {})})

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @admin.display(description=_("query"), ordering="query")
    def looked_at(self, watched: WatchedQuery) -> SafeString:
        return format_html('<a href="{}">{}</a>', workbench_url(watched.query, watched.segment), watched.query)

    @admin.display(description=_("shared with what served"))
    def newest_overlap(self, watched: WatchedQuery) -> str:
        return row_of(watched, _newest(watched)).overlap

    @admin.display(description=_("NDCG@10"))
    def newest_ndcg(self, watched: WatchedQuery) -> SafeString:
        return _ndcg_markup(row_of(watched, _newest(watched)))

    @admin.display(description=_("items when it was saved"))
    def saved_items(self, watched: WatchedQuery) -> str:
        return ", ".join(watched.item_ids) or NONE

    @admin.display(description=_("what runs made of it"))
    def history(self, watched: WatchedQuery) -> SafeString | str:
        rows = [row_of(watched, result) for result in watched.results.order_by("-judged_at", "-pk")]
        if not rows:
            return gettext("No run has judged it yet.")
        shared, with_saved = gettext("shared with what served"), gettext("with what was saved")
        lines = (
            (row.run_url, gettext("Run %d") % row.run_id, row.overlap, shared, row.overlap_saved, with_saved,
             _ndcg_markup(row))
            for row in rows
        )  # fmt: skip
        return format_html(
            "<ul>{}</ul>", format_html_join("", '<li><a href="{}">{}</a>: {} {}, {} {}, NDCG@10 {}</li>', lines)
        )


def watch(query: str, *, segment: Segment | None, note: str, user: Any) -> WatchedQuery:
    """Save a query with its first items as they are served now. Raises ConfigurationError for an empty one, one that
    is watched already, and beyond `MOST_WATCHED`."""
    if not query:
        raise ConfigurationError(gettext("Nothing is watched: the query is empty. Type one in the workbench."))
    if WatchedQuery.objects.filter(query=query, segment=segment).exists():
        raise ConfigurationError(gettext("“%s” is watched already.") % query)
    if WatchedQuery.objects.count() >= MOST_WATCHED:
        text = gettext("%d queries are watched already, which is the most. Delete one that is no longer needed first.")
        raise ConfigurationError(text % MOST_WATCHED)
    served = serving.current()
    item_ids, bundle = served_now(query, segment, served)
    return WatchedQuery.objects.create(
        query=query, segment=segment, note=note, created_by=user, item_ids=item_ids, bundle=bundle
    )


def served_now(query: str, segment: Segment | None, served: Served) -> tuple[list[str], str]:
    """The first items that nobody, in a segment, gets for a query, and the bundle that answers."""
    request = pipeline.search_request(query, limit=N_SAVED)
    if segment is not None:
        request = replace(request, segment_id=segment.pk)
    ranking = answer(request, ReadsOfOneList(), served=replace(served, experiments=(), explorations={}))
    return [entry.item_id for entry in ranking.entries], ranking.bundle


def with_newest(watched: QuerySet[WatchedQuery]) -> QuerySet[WatchedQuery]:
    """The queries, each with its newest result alone in `newest_results`. One query more."""
    newest = WatchedResult.objects.filter(watched=OuterRef("watched")).order_by("-judged_at", "-pk").values("pk")[:1]
    results = WatchedResult.objects.filter(pk=Subquery(newest))
    return watched.prefetch_related(Prefetch("results", results, to_attr="newest_results"))


def watched_rows() -> list[WatchedRow]:
    """Every watched query with its newest result. Two queries."""
    watched = with_newest(WatchedQuery.objects.select_related("segment").order_by("query", "pk"))
    return [row_of(one, _newest(one)) for one in watched[:MOST_WATCHED]]


def rows_of_run(run: Run) -> list[WatchedRow]:
    """What a run made of each watched query, those that changed most first. One query."""
    results = (
        WatchedResult.objects.filter(run=run).select_related("watched__segment").order_by("overlap", "watched__query")
    )
    return [row_of(result.watched, result) for result in results]


def row_of(watched: WatchedQuery, result: WatchedResult | None) -> WatchedRow:
    """A query with a result, in words; only the query where no run has judged it."""
    row = WatchedRow(watched, workbench_url(watched.query, watched.segment))
    if result is None:
        return row
    row = replace(
        row,
        run_id=result.run_id,
        run_url=reverse("admin:recommender_run_change", args=[result.run_id]),
        overlap=f"{result.overlap:.0%}",
        overlap_saved=f"{result.overlap_saved:.0%}",
    )
    if result.ndcg is None or result.ndcg_serving is None:
        return row
    gained = round(result.ndcg - result.ndcg_serving, 3)
    css, sign, words = ("even", "=", gettext("as good"))
    if gained:
        css, sign, words = ("better", "▲", gettext("better")) if gained > 0 else ("worse", "▼", gettext("worse"))
    return replace(
        row,
        ndcg=local(result.ndcg, ".3f"),
        css=css,
        sign=sign,
        change=f"{words} ({local(gained, '+.3f')})".replace("-", "\u2212"),
    )


def mean_overlap(rows: Iterable[WatchedRow]) -> str:
    """The mean share that both models have among the first ten, as text."""
    shares = [float(row.overlap.rstrip("%")) for row in rows if row.overlap != NONE]
    return f"{sum(shares) / len(shares):.0f}%" if shares else NONE


def workbench_url(query: str, segment: Segment | None = None) -> str:
    """The address of a search in the workbench."""
    values = {"slot": "search", "query": query} | ({"segment": segment.pk} if segment is not None else {})
    return f"{reverse('admin:recommender_workbench_changelist')}?{urlencode(values)}"


def watch_link(query: str, segment: Segment | None, user: Any) -> Link | None:
    """The step that saves the query of a list, for who may; None where it is watched already."""
    if not query or not user.has_perm(ADD):
        return None
    stored = masked(query)[:MAX_QUERY_LENGTH]
    if WatchedQuery.objects.filter(query=stored, segment=segment).exists():
        return None
    values = {"query": query} | ({"segment": segment.pk} if segment is not None else {})
    return Link(gettext("Watch this query"), f"{reverse('admin:recommender_workbench_watch')}?{urlencode(values)}")


def _newest(watched: WatchedQuery) -> WatchedResult | None:
    return next(iter(getattr(watched, "newest_results", ())), None)


def _ndcg_markup(row: WatchedRow) -> SafeString:
    if not row.change:
        return SafeString(NONE)
    return format_html(
        '{} <span class="rec-gain rec-{}"><span aria-hidden="true">{}</span> {}</span>',
        row.ndcg, row.css, row.sign, row.change,
    )  # fmt: skip


def _list_url() -> str:
    return reverse("admin:recommender_watchedquery_changelist")
