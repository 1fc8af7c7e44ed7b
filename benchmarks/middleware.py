"""What the middleware adds to a request: microseconds beside the same stack without it, queries before and after."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

N_ROUNDS = 400
CALLS_PER_ROUND = 5
QUERIES_BEFORE_LIMIT, QUERIES_AFTER_LIMIT = 0, 2
MIDDLEWARE = "recommender.middleware.RecommenderMiddleware"
FRAMES = ("BEGIN", "COMMIT", "SAVEPOINT", "RELEASE")

urlpatterns: list[Any] = []
"""This module is the URLconf of its own pages: views that cost nothing, so that what is added shows."""


@dataclass(frozen=True, slots=True)
class Case:
    """One kind of request."""

    name: str
    path: str
    has_consent: bool = False


CASES = (
    Case("page that is not tracked, stranger", "/plain/"),
    Case("tracked page, no consent", "/item/mug/"),
    Case("tracked page, consent", "/item/mug/", has_consent=True),
    Case("tracked page with two lists, consent", "/lists/mug/", has_consent=True),
)


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="shopreco-bench-") as folder:
        os.environ.update(SHOPRECO_VAR=folder, DJANGO_DEBUG="0", DJANGO_SECRET_KEY="only-for-this-run")  # noqa: S106
        os.environ["SHOPRECO_TLS"] = "0"
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shopreco.settings")
        import django

        django.setup()
        from django.core.management import call_command

        call_command("migrate", verbosity=0)
        Path(folder, "static").mkdir()
        _declare_pages()
        _measure()


def _declare_pages() -> None:
    from django.conf import settings
    from django.http import HttpResponse
    from django.urls import path

    from recommender import capture
    from recommender.tracking import page, track_pages
    from recommender.types import Entry, Ranking, Rung, Slot

    def plain(request: Any, name: str = "") -> HttpResponse:
        return HttpResponse(b"hello")

    def lists(request: Any, name: str) -> HttpResponse:
        for slot in (Slot.SIMILAR, Slot.BOUGHT_TOGETHER):
            entries = tuple(Entry(f"item{position}", position, 1.0) for position in range(1, 9))
            capture.record_impression(request, Ranking(uuid.uuid4(), slot, entries, Rung.CHAMPION))
        return HttpResponse(b"hello")

    urlpatterns[:] = [
        path("plain/", plain, name="plain"),
        path("item/<name>/", plain, name="item"),
        path("lists/<name>/", lists, name="lists"),
    ]
    settings.ROOT_URLCONF = __name__
    settings.ALLOWED_HOSTS = ["testserver"]
    track_pages(*(page(name, "view_item", item_id="kwargs.name") for name in ("item", "lists")))


def _measure() -> None:
    from django.conf import settings

    with_it, without = _handler(settings.MIDDLEWARE), _handler([m for m in settings.MIDDLEWARE if m != MIDDLEWARE])
    print(f"Median of {N_ROUNDS} alternating rounds, microseconds a request; storing happens after the response\n")
    heads = ("without", "with", "added", "ratio", "storing", "before", "after")
    print(f"{'request':<38}" + "".join(f"{head:>9}" for head in heads))
    for case in CASES:
        peer, (answered, stored) = _compare(without, with_it, case)
        n_before, n_after = _queries(with_it, case)
        is_kept = n_before <= QUERIES_BEFORE_LIMIT and n_after <= QUERIES_AFTER_LIMIT
        times = f"{peer:>9.0f}{answered:>9.0f}{answered - peer:>9.0f}{answered / peer:>9.2f}{stored:>9.0f}"
        print(f"{case.name:<38}{times}{n_before:>9}{n_after:>9}  {'ok' if is_kept else 'OVER'}", flush=True)
    print(f"\nqueries: at most {QUERIES_BEFORE_LIMIT} before the response and {QUERIES_AFTER_LIMIT} after it; one more")
    print("after it for a visitor not seen in this process for ten minutes, which makes or touches the visitor")


def _compare(without: Any, with_it: Any, case: Case) -> tuple[float, tuple[float, float]]:
    """Medians: the peer's answer; ours and its storing. The two take turns, so that both see the same machine."""
    request = _requests(case)
    for handler in (without, with_it):
        _round(handler, request)
    peers, answers, stores = [], [], []
    for _ in range(N_ROUNDS):
        peers.append(_round(without, request)[0])
        answered, stored = _round(with_it, request)
        answers.append(answered)
        stores.append(stored)
    return statistics.median(peers), (statistics.median(answers), statistics.median(stores))


def _round(handler: Any, request: Callable[[], Any]) -> tuple[float, float]:
    """Microseconds a call: until the response is there, and for its closers."""
    answered = stored = 0.0
    for _ in range(CALLS_PER_ROUND):
        next_request = request()
        start = time.perf_counter()
        response = handler.get_response(next_request)
        middle = time.perf_counter()
        for closer in response._resource_closers:
            closer()
        stored += time.perf_counter() - middle
        answered += middle - start
    return answered / CALLS_PER_ROUND * 1e6, stored / CALLS_PER_ROUND * 1e6


def _queries(handler: Any, case: Case) -> tuple[int, int]:
    request = _requests(case)
    _round(handler, request)
    with _counting() as before:
        response = handler.get_response(request())
    with _counting() as after:
        for closer in response._resource_closers:
            closer()
    return before[0], after[0]


@contextmanager
def _counting() -> Iterator[list[int]]:
    """Statements that read or write; the frame of the transaction is not counted."""
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    counted: list[int] = []
    with CaptureQueriesContext(connection) as captured:
        yield counted
    counted.append(sum(not query["sql"].startswith(FRAMES) for query in captured.captured_queries))


def _requests(case: Case) -> Callable[[], Any]:
    """A maker of requests of one visitor."""
    from django.test import RequestFactory

    from recommender.identity import cookie_for

    factory = RequestFactory(HTTP_USER_AGENT="Mozilla/5.0 (X11; Linux x86_64) Chrome/126.0 Safari/537.36")
    if case.has_consent:
        factory.cookies["recommender_consent"] = "granted"
        factory.cookies["recommender_visitor"] = cookie_for(uuid.uuid4())
    return lambda: factory.get(case.path)


def _handler(middleware: list[str]) -> Any:
    from django.core.handlers.wsgi import WSGIHandler
    from django.test import override_settings

    with override_settings(MIDDLEWARE=middleware):
        return WSGIHandler()


if __name__ == "__main__":
    main()
