"""Search and lists on the loaded demo: milliseconds, queries a page and the memory of a web process.

    python -m benchmarks.serving [--items N [--folder F] [--json FILE]]

With --items the shop is a made one of N items, in a database of its own: SQLite in the folder F, which is filled if it
is empty (a temporary one by default), or what `DATABASE_URL` names. Then it prints, beside the limits of 100,000 items
on two cores, what four web processes need to start, to answer, to take up a changed item, and of memory.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import django

from benchmarks.figures import Figure, show
from benchmarks.web import ROOT, gunicorn, resident_megabytes

N_CALLS = 400
P50_LIMIT_MS, P99_LIMIT_MS = 15, 40
QUERIES_LIMIT, MEMORY_LIMIT_MB = 4, 400
PAGE = """{% load recommender %}
{% recommendations "home" limit=8 %}{% recommendations "trending" limit=8 %}
{% recommendations "recently_viewed" limit=8 %}{% recommendations "buy_again" limit=8 %}
{% recommendations "similar" item=item_id limit=8 %}{% recommendations "bought_together" item=item_id limit=8 %}"""


N_PROCESSES, N_REFRESHES = 4, 8
LIMITS = {
    "load_s": (2, "s"),
    "refresh_one_ms": (20, "ms"),
    "shared_mb": (1000, "MB"),
    "search_p50_ms": (15, "ms"),
    "search_p99_ms": (40, "ms"),
    "list_p50_ms": (15, "ms"),
    "list_p99_ms": (40, "ms"),
    "rerank100_p50_ms": (15, "ms"),
    "rerank100_p99_ms": (40, "ms"),
}
"""For 100,000 items on two cores. `refresh_one_ms` is processor time; `shared_mb` what four processes hold together."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure search and lists.")
    parser.add_argument("--items", type=int, help="make a shop of so many items instead of reading the loaded demo")
    parser.add_argument("--folder", type=Path, help="keep the made shop here")
    parser.add_argument("--json", type=Path, help="write the figures of the made shop to this file")
    options = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shopreco.settings")
    if options.items is None:
        _measure_demo()
        return
    if options.items < 1:
        raise SystemExit("--items needs at least 1 item.")
    with tempfile.TemporaryDirectory() as temporary:
        figures = _of_made_shop(options.items, options.folder or Path(temporary))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


def _of_made_shop(n_items: int, folder: Path) -> dict[str, float]:
    os.environ["SHOPRECO_VAR"] = str(folder.absolute())
    folder.mkdir(parents=True, exist_ok=True)
    django.setup()
    _fill(n_items)
    figures = {"items": float(n_items), **_measure_made_shop()}
    show(f"{n_items:,} items", (Figure(name, figures[name], *limit) for name, limit in LIMITS.items()))
    print(" ".join(f"{name}={value:.1f}" for name, value in figures.items() if name not in LIMITS))
    return figures


def _fill(n_items: int) -> None:
    from django.core.management import call_command

    from benchmarks import large_shop
    from recommender.models import Item

    call_command("migrate", verbosity=0)
    n_present = Item.objects.count()
    if n_present and n_present != n_items:
        raise SystemExit(f"The folder holds {n_present:,} items: give another --folder, or --items {n_present}.")
    if not n_present:
        large_shop.make(n_items)


def _measure_made_shop() -> dict[str, float]:
    with ExitStack() as stack:
        worker = stack.enter_context(_web_process())
        figures = _told(worker, "write")
        first = stack.enter_context(_web_process())
        figures |= _told(first, "load") | _told(first, "measure")
        figures["refresh_one_ms"] = _refreshed(first)
        others = [stack.enter_context(_web_process()) for _ in range(N_PROCESSES - 1)]
        for process in others:
            _told(process, "load")
            _told(process, "measure")
            _refreshed(process)
        memory = [_told(process, "memory") for process in (first, *others)]
    figures["web_rss_mb"] = max(one["rss"] for one in memory)
    figures["shared_mb"] = sum(one["pss"] for one in memory)
    return figures


def _refreshed(process: subprocess.Popen[str]) -> float:
    """The median processor time in which a process takes up one item with another title, in milliseconds."""
    every = []
    for number in range(N_REFRESHES):
        _retitle(number)
        answer = _told(process, "refresh")
        if not answer["is_fresh"]:
            raise SystemExit("A changed title was not taken up: the figures would be worth nothing.")
        every.append(answer["refresh_ms"])
    return sorted(every)[N_REFRESHES // 2]


def _retitle(number: int) -> None:
    from django.utils import timezone

    from recommender.models import Item

    item = Item.objects.order_by("pk")[number]
    first, _, rest = item.title.partition(" ")
    item.title = f"{first} new{time.monotonic_ns() % 10**6} {rest}"
    item.text, item.updated_at = f"{item.title} . {item.brand} . {item.category}", timezone.now()
    item.save()


def _web_process() -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "benchmarks.serving_process"]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _told(process: subprocess.Popen[str], command: str) -> dict[str, float]:
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("the web process has no pipes")
    print(command, file=process.stdin, flush=True)
    answer = process.stdout.readline()
    if not answer:
        raise SystemExit(f"The web process ended at {command!r}; what it wrote stands above.")
    figures: dict[str, float] = json.loads(answer)
    return figures


def _measure_demo() -> None:
    django.setup()
    from recommender import serving

    served = serving.reload()
    if not len(served.shelf.items):
        raise SystemExit("There is no item. Run `make demo` first, or point SHOPRECO_VAR at a loaded demo.")
    show(f"Served by {served.rung}, {len(served.shelf.items):,} items", _figures())


def _figures() -> Iterator[Figure]:
    from recommender import pipeline

    users, queries = _users(), _queries()
    yield from _latencies("search", lambda n: pipeline.search(queries[n % len(queries)], shopper=_shopper(users, n)))
    yield from _latencies("home list", lambda n: pipeline.recommend("home", shopper=_shopper(users, n)))
    yield Figure("queries of a page with six blocks", _queries_of_a_page(users[0]), QUERIES_LIMIT, "queries")
    with gunicorn() as (address, worker):
        for query in queries[:50]:
            _get(f"{address}/search/?q={urllib.parse.quote(query)}")
            _get(f"{address}/")
        yield Figure("resident memory of a web process", resident_megabytes(worker), MEMORY_LIMIT_MB, "MB")


def _latencies(name: str, ask: Callable[[int], object]) -> Iterator[Figure]:
    for n in range(20):
        ask(n)
    milliseconds = []
    for n in range(N_CALLS):
        started = time.perf_counter()
        ask(n)
        milliseconds.append((time.perf_counter() - started) * 1000)
    milliseconds.sort()
    yield Figure(f"{name}, p50 of {N_CALLS}", milliseconds[N_CALLS // 2], P50_LIMIT_MS, "ms")
    yield Figure(f"{name}, p99 of {N_CALLS}", milliseconds[int(N_CALLS * 0.99)], P99_LIMIT_MS, "ms")


def _users() -> list[Any]:
    """The customers with the longest histories: the dearest to serve."""
    from django.db.models import Count

    from shopreco.shop.models import Customer

    ranked = Customer.objects.annotate(n=Count("orders__lines")).order_by("-n", "pk").select_related("user")
    return [customer.user for customer in ranked[:100]]


def _queries() -> list[str]:
    """Two words of real titles; every third with two letters swapped."""
    from recommender.models import Item

    chance = random.Random(0)
    titles = Item.objects.filter(is_active=True).order_by("item_id").values_list("title", flat=True)
    texts = [" ".join(chance.sample(words, min(2, len(words)))) for words in map(str.split, titles[:600]) if words]
    return [_misspelt(text) if n % 3 == 0 else text for n, text in enumerate(texts)]


def _misspelt(text: str) -> str:
    middle = len(text) // 2
    return text[: middle - 1] + text[middle] + text[middle - 1] + text[middle + 1 :] if len(text) > 4 else text


def _shopper(users: Sequence[Any], n: int) -> Any:
    from recommender.identity import shopper_of

    return shopper_of(_request(users[n % len(users)]))


def _request(user: Any) -> Any:
    from django.test import RequestFactory

    request: Any = RequestFactory().get("/", headers={"host": "127.0.0.1"})
    request.COOKIES["recommender_consent"] = "granted"
    request.user = user
    return request


def _queries_of_a_page(user: Any) -> int:
    from django.db import connection
    from django.template import engines
    from django.test.utils import CaptureQueriesContext

    from recommender.models import Item

    item_id = Item.objects.filter(is_active=True).values_list("item_id", flat=True)[0]
    template = engines["django"].from_string(PAGE)
    with CaptureQueriesContext(connection) as captured:
        template.render({"item_id": item_id}, _request(user))
    return len(captured)


def _get(url: str) -> None:
    with urllib.request.urlopen(url, timeout=20) as answer:  # noqa: S310  a loopback address made here
        answer.read()


if __name__ == "__main__":
    main()
