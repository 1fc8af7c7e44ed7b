"""Search and lists on the loaded demo: milliseconds, queries a page and the memory of a web process."""

from __future__ import annotations

import os
import random
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import django

from benchmarks.figures import Figure, show
from benchmarks.web import gunicorn, resident_megabytes

N_CALLS = 400
P50_LIMIT_MS, P99_LIMIT_MS = 15, 40
QUERIES_LIMIT, MEMORY_LIMIT_MB = 4, 400
PAGE = """{% load recommender %}
{% recommendations "home" limit=8 %}{% recommendations "trending" limit=8 %}
{% recommendations "recently_viewed" limit=8 %}{% recommendations "buy_again" limit=8 %}
{% recommendations "similar" item=item_id limit=8 %}{% recommendations "bought_together" item=item_id limit=8 %}"""


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shopreco.settings")
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
