"""The queue of answers to grade: one pair of a query and an item at a time, one key per grade, and undo."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from recommender import serving
from recommender.admin.figures import labels_in_words
from recommender.admin.steps import require
from recommender.models import Judgement, QueryStatistics, Run
from recommender.runs.figures import Figures
from recommender.serving.labelling import Contested, contested
from recommender.text.query import encoder_text, normal_query

ADD = "recommender.add_judgement"

GRADES = (("0", 0.0, _("not at all")), ("1", 1 / 3, _("a little")), ("2", 2 / 3, _("well")), ("3", 1.0, _("exactly")))
"""Key, grade and words."""

N_PER_QUERY = 6
"""Most graded answers of a query before another one teaches more."""

N_QUERIES = 200
LEAST_DISAGREEMENT = 0.1
SKIPPED, LAST = "recommender_skipped", "recommender_last_judgement"
MOST_SKIPPED = 500


@dataclass(frozen=True, slots=True)
class Pair:
    """What is to be graded: an answer to a query, and how often it is searched."""

    query: str
    n_searches: int
    has_clicks: bool
    answer: Contested


class LabellingSteps(admin.ModelAdmin):
    """Adds the queue to the admin of judgements."""

    def labelling_urls(self, wrap: Callable[..., Any]) -> list[URLPattern]:
        return [path("queue/", wrap(self.queue_view), name="recommender_judgement_queue")]

    def queue_view(self, request: HttpRequest) -> HttpResponse:
        """Show the next pair on GET; on POST grade it, skip it or take the last grade back."""
        require(request, ADD)
        if request.method == "POST":
            self._act(request)
            return redirect("admin:recommender_judgement_queue")
        source = source_of(request.user)
        pair = next(pairs(source, skipped=set(request.session.get(SKIPPED, []))), None)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "media": self.media,
            "title": gettext("Answers to grade"),
            "pair": pair,
            "grades": GRADES,
            "last": _last(request),
            "gain": _gain_in_words(),
            "n_graded": Judgement.objects.filter(source=source).count(),
        }
        return TemplateResponse(request, "admin/recommender/judgement/queue.html", context)

    def _act(self, request: HttpRequest) -> None:
        query, item_id = request.POST.get("query", ""), request.POST.get("item_id", "")
        grades = {key: grade for key, grade, _words in GRADES}
        answer = request.POST.get("grade", "")
        if answer == "undo":
            self._undo(request)
        elif answer == "skip":
            request.session[SKIPPED] = [*request.session.get(SKIPPED, []), key_of(query, item_id)][-MOST_SKIPPED:]
        elif answer in grades and query and item_id:
            row = grade(query, item_id, grades[answer], source=source_of(request.user))
            request.session[LAST] = row.pk
            self.log_addition(request, row, gettext("Graded in the queue."))
        else:
            messages.error(request, gettext("Nothing was graded: press one of the keys 0 to 3, or s to skip."))

    def _undo(self, request: HttpRequest) -> None:
        last = _last(request)
        request.session.pop(LAST, None)
        if last is None:
            messages.error(request, gettext("There is no grade to take back."))
            return
        self.log_deletions(request, Judgement.objects.filter(pk=last.pk))
        last.delete()
        messages.success(request, gettext("The last grade was taken back."))


def _gain_in_words() -> str:
    """What grades brought in the newest run that learned from some. One query."""
    runs = Run.objects.filter(state=Run.State.SUCCEEDED, metrics__labels__isnull=False).order_by("-pk")
    metrics = runs.values_list("metrics", flat=True).first()
    return labels_in_words(Figures.of(metrics)) if metrics else ""


def _last(request: HttpRequest) -> Judgement | None:
    """The grade that can be taken back: the person's last one of this session."""
    pk = int(request.session.get(LAST) or 0)
    return Judgement.objects.filter(pk=pk, source=source_of(request.user)).first()


def source_of(user: Any) -> str:
    """Under which name a person's grades are stored."""
    return f"user {user.pk}"


def stored_query(text: str) -> str:
    """A query as judgements store it: its case and its spaces make no second row."""
    return encoder_text(normal_query(text))[:255]


def key_of(query: str, item_id: str) -> str:
    """What a skipped pair is remembered by."""
    return f"{stored_query(query)}\n{item_id}"


def grade(query: str, item_id: str, value: float, *, source: str) -> Judgement:
    """Store a person's grade of a pair; the newest one counts."""
    row, _is_new = Judgement.objects.update_or_create(
        query=stored_query(query),
        item_id=item_id,
        source=source,
        defaults={"grade": value, "judged_at": timezone.now()},
    )
    return row


def pairs(source: str, *, skipped: set[str]) -> Iterator[Pair]:
    """The pairs that teach most: queries without clicks first, then by traffic; in each the most contested answers.

    What somebody has graded comes no more. Three queries, and the answers of a query when its turn comes.
    """
    graded = {key_of(*row) for row in Judgement.objects.values_list("query", "item_id")}
    n_graded = Counter(key.partition("\n")[0] for key in graded)
    served = serving.current()
    for row in _queries():
        if n_graded[stored_query(row.query)] >= N_PER_QUERY or not served.shelf.index:
            continue
        for answer in contested(row.query, served)[:N_PER_QUERY]:
            key = key_of(row.query, answer.entry.item_id)
            if answer.disagreement >= LEAST_DISAGREEMENT and key not in graded and key not in skipped:
                yield Pair(row.query, row.n_searches, bool(row.items), answer)


def _queries() -> list[QueryStatistics]:
    rows = list(QueryStatistics.objects.order_by("-n_searches", "query")[:N_QUERIES])
    return sorted(rows, key=lambda row: bool(row.items))
