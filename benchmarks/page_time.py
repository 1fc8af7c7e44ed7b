"""A foreign shop's pages with this app and without it, turn by turn: milliseconds, their ratio, queries added."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SHOP = ROOT / "tests" / "foreign_shop"
N_ROUNDS = 30
CALLS_PER_ROUND = 10
QUERIES_LIMIT = {"before": 4, "capture": 0}
"""Before the response: at most four for all lists of a page, none for what is only recorded (docs/template-tags.md)."""

RATIO_LIMIT = 1.1
"""Of the median of a page without a list, an empty cart's among them, beside the same page without the app."""

PAGES = (
    ("not tracked, no list", "/de/v/gift/", "capture"),
    ("recorded, no list", "/de/cart/add/?article=mug-1", "capture"),
    ("recorded, one list", "/de/a/mug-1/", "before"),
    ("search page", "/de/find/?words=mug", "before"),
    ("list on the home page", "/de/", "before"),
    ("cart page, empty cart", "/de/cart/", "capture"),
    ("cached, list loads later", "/de/news/mug-1/", "capture"),
)

SERVE = """
import json, sys, time
import django
django.setup()
from django.core.management import call_command
call_command("migrate", verbosity=0)
from django.core.handlers.wsgi import WSGIHandler
from django.db import connection
from django.test import RequestFactory
from django.test.utils import CaptureQueriesContext
from goods.models import Article, Book, Voucher
from django.contrib.sites.models import Site
Voucher.objects.create(slug="gift", name="Gift")
for n in range(200):
    article = Article.objects.create(slug=f"mug-{n}", name_de=f"Becher mug {n}", name_en=f"mug {n}", net=10)
    article.sites.add(Site.objects.get())
factory = RequestFactory(HTTP_USER_AGENT="Mozilla/5.0 (X11; Linux x86_64) Chrome/126.0 Safari/537.36")
factory.cookies["recommender_consent"] = "granted"
from django.apps import apps
if apps.is_installed("recommender"):
    import uuid
    from recommender import identity
    from recommender.catalog import sync
    sync.sync()
    factory.cookies["recommender_visitor"] = identity.cookie_for(uuid.uuid4())
from django.contrib.sessions.backends.db import SessionStore
session = SessionStore()
session["cart"] = []
session.save()
def request_of(path):
    request = factory.get(path)
    if path.endswith("/cart/"):
        request.COOKIES["sessionid"] = session.session_key
    return request
handler = WSGIHandler()
FRAMES = ("BEGIN", "COMMIT", "SAVEPOINT", "RELEASE")
def ask(path):
    request = request_of(path)
    start = time.perf_counter()
    response = handler.get_response(request)
    response.content
    answered = time.perf_counter() - start
    for closer in response._resource_closers:
        closer()
    return answered * 1000
def count(path):
    with CaptureQueriesContext(connection) as before:
        response = handler.get_response(request_of(path))
    with CaptureQueriesContext(connection) as after:
        for closer in response._resource_closers:
            closer()
    return [sum(not q["sql"].startswith(FRAMES) for q in part.captured_queries) for part in (before, after)]
print("ready", flush=True)
for line in sys.stdin:
    measurement, path, n = json.loads(line)
    figures = count(path) if measurement == "count" else [ask(path) for _ in range(n)]
    print(json.dumps(figures), flush=True)
"""


class Shop:
    """A process that serves the foreign shop: a request per line on its input, the answer on its output."""

    def __init__(self, folder: Path, *, without: bool) -> None:
        name = "without" if without else "with"
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join((str(SHOP), str(ROOT))),
            "DJANGO_SETTINGS_MODULE": "kiosk.settings",
            "KIOSK_DATABASE": str(folder / f"{name}.sqlite3"),
            "KIOSK_VAR": str(folder / name),
            "KIOSK_REFRESH": "5",
            "KIOSK_WITHOUT": "1" if without else "",
        }
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVE], cwd=SHOP, env=environment, stdin=pipe, stdout=pipe, text=True
        )
        assert self._line() == "ready"

    def ask(self, path: str, n: int) -> list[float]:
        """Milliseconds of n requests until the response is there."""
        return self._answer("ask", path, n)

    def count(self, path: str) -> list[int]:
        """Statements before the response, and after it."""
        return self._answer("count", path, 1)

    def end(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(timeout=30)

    def _answer(self, measurement: str, path: str, n: int) -> Any:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([measurement, path, n]) + "\n")
        self.process.stdin.flush()
        return json.loads(self._line())

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="shopreco-bench-") as folder:
        shops = [Shop(Path(folder), without=True), Shop(Path(folder), without=False)]
        print(f"{N_ROUNDS} alternating rounds of {CALLS_PER_ROUND} requests, milliseconds until the response\n")
        heads = ("without", "with", "ratio", "p99", "p99 with", "ratio", "queries", "after")
        print(f"{'page':<28}" + "".join(f"{head:>10}" for head in heads))
        for name, path, limit in PAGES:
            ratio_limit = RATIO_LIMIT if limit == "capture" else None
            figures = (*_compare(shops, path), *_added(shops, path))
            _print(name, *figures, limit=QUERIES_LIMIT[limit], ratio_limit=ratio_limit)
        for shop in shops:
            shop.end()
    print("\nqueries: added before the response, at most 4 for all lists of a page and none without a list; after it")
    print(f"ratio of the medians: at most {RATIO_LIMIT} on a page without a list")


def _compare(shops: list[Shop], path: str) -> tuple[list[float], list[float]]:
    times: tuple[list[float], list[float]] = ([], [])
    for shop in shops:
        shop.ask(path, CALLS_PER_ROUND)
    for _ in range(N_ROUNDS):
        for milliseconds, shop in zip(times, shops, strict=True):
            milliseconds += shop.ask(path, CALLS_PER_ROUND)
    return times


def _added(shops: list[Shop], path: str) -> tuple[int, int]:
    before, after = zip(*(shop.count(path) for shop in shops), strict=True)
    return before[1] - before[0], after[1] - after[0]


def _print(
    name: str,
    peer: list[float],
    ours: list[float],
    n_before: int,
    n_after: int,
    *,
    limit: int,
    ratio_limit: float | None,
) -> None:
    middle = [statistics.median(times) for times in (peer, ours)]
    worst = [statistics.quantiles(times, n=100)[98] for times in (peer, ours)]
    cells = "".join(f"{low:>10.2f}{high:>10.2f}{high / low:>10.2f}" for low, high in (middle, worst))
    is_within = n_before <= limit and (ratio_limit is None or round(middle[1] / middle[0], 2) <= ratio_limit)
    print(f"{name:<28}{cells}{n_before:>10}{n_after:>10}  {'ok' if is_within else 'OVER'}", flush=True)


if __name__ == "__main__":
    main()
