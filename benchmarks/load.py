"""How many requests a second the shop answers on this machine, how fast, and where it breaks.

    python -m benchmarks.load [--seconds 300] [--rate 100] [--clients 16] [--items N] [--json FILE]

gunicorn with two workers of four threads serves the demo, or a made shop of N items, on a PostgreSQL database and a
Redis database of its own where `DATABASE_URL` and `REDIS_URL` name servers, otherwise on SQLite. Clients on the same
machine open pages, search, read lists and send events: first a page that does nothing, the floor; then the mixture at a
steady rate; then more and more clients at once, until p95 or an error says that it breaks. The database is dropped
afterwards.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from benchmarks.faults.bench import environment_of, load_shop
from benchmarks.faults.load import call
from benchmarks.faults.servers import Web, python, wait_for
from benchmarks.load_clients import API, Answers, Clients, Traffic
from shopreco.shop.processes import Children

LIMIT_P95_MS = 60.0
STEPS = (1, 2, 4, 8, 16, 32, 64)
FLOOR_SECONDS = 10.0
OPTIONS = ("--workers", "2", "--threads", "4")
"""As docs/deployment.md recommends for two cores."""

HEADER = f"{'phase':<24} {'rps':>7} {'p50 ms':>8} {'p95 ms':>8} {'p99 ms':>8} {'failed':>7}"


def main() -> None:
    options = _options()
    for interruption in (signal.SIGINT, signal.SIGTERM):
        signal.signal(interruption, lambda number, frame: sys.exit(128 + number))
    with (
        tempfile.TemporaryDirectory(prefix="load-", ignore_cleanup_errors=True) as folder,
        Children(Path(folder) / "logs") as children,
        own_database() as database,
    ):
        environment = environment_of(Path(folder) / "var") | database
        environment |= {"DJANGO_SETTINGS_MODULE": "benchmarks.load_settings"}
        _fill(environment, options.items)
        web = Web(children, Path(folder) / "web", environment, options=OPTIONS)
        web.start()
        wait_for(lambda: _is_loaded(web.address), what="a loaded ranker", seconds=300)
        item_ids, words = _known(environment)
        report = asyncio.run(_measure(web.port, Traffic(item_ids, words, random.Random(0)), options))
        web.end()
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    sys.exit(0 if report["passed"] else 1)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=300.0, help="of the steady rate")
    parser.add_argument("--rate", type=float, default=100.0, help="requests a second")
    parser.add_argument("--clients", type=int, default=16, help="connections of the steady rate")
    parser.add_argument("--step-seconds", type=float, default=15.0, help="of each step; 0: no steps")
    parser.add_argument("--items", type=int, help="a made shop of so many items in place of the demo")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the results are written")
    return parser.parse_args()


@contextmanager
def own_database() -> Iterator[dict[str, str]]:
    """A database on the server of `DATABASE_URL` that is dropped afterwards, and Redis as `REDIS_URL` names it."""
    own = {"REDIS_URL": os.environ.get("REDIS_URL", "")}
    url = os.environ.get("DATABASE_URL", "")
    if not url.startswith("postgres"):
        yield own
        return
    name = f"shopreco_load_{uuid.uuid4().hex[:8]}"
    _execute(url, f'CREATE DATABASE "{name}"')
    try:
        yield own | {"DATABASE_URL": urlunsplit(urlsplit(url)._replace(path=f"/{name}"))}
    finally:
        _execute(url, f'DROP DATABASE "{name}" WITH (FORCE)')


def _execute(url: str, statement: str) -> None:
    import psycopg

    with psycopg.connect(urlunsplit(urlsplit(url)._replace(path="/postgres")), autocommit=True) as connection:
        connection.execute(statement.encode())


def _fill(environment: dict[str, str], n_items: int | None) -> None:
    if n_items is None:
        load_shop(environment)
        return
    python("manage.py", "migrate", "--verbosity", "0", environment=environment)
    code = "import django; django.setup(); from benchmarks import large_shop; large_shop.make({})"
    python("-c", code.format(n_items), environment=environment)


def _is_loaded(address: str) -> bool:
    return all(call(address, f"{API}/search?q=a").body.get("bundle") for _ in range(12))


def _known(environment: dict[str, str]) -> tuple[list[str], list[str]]:
    """Ids of items, and words of their titles."""
    code = (
        "import django, json; django.setup(); from recommender.models import Item;"
        "print(json.dumps(list(Item.objects.filter(is_active=True).values_list('item_id', 'title')[:5000])))"
    )
    rows = json.loads(python("-c", code, environment=environment).splitlines()[-1])
    words = sorted({word.lower() for _, title in rows for word in title.split() if word.isascii() and word.isalpha()})
    return [item_id for item_id, _ in rows], words


async def _measure(port: int, traffic: Traffic, options: argparse.Namespace) -> dict[str, Any]:
    print(HEADER)
    steady = Clients("127.0.0.1", port, traffic.draw, options.clients, options.rate)
    floor = Clients(
        "127.0.0.1", port, lambda: ("floor", "/floor/", None), options.clients, options.rate, steady.shoppers
    )
    at_floor = await floor.drive(min(FLOOR_SECONDS, options.seconds))
    show("floor", at_floor)
    mixed = await steady.drive(options.seconds)
    show(f"mixed, {options.rate:.0f} a second", mixed)
    for kind in sorted(mixed.milliseconds):
        print(f"  {kind:<22} {'':>7} {mixed.percentile(0.5, kind):>8.1f} {mixed.percentile(0.95, kind):>8.1f}")
    steps = await _until_it_breaks(port, traffic, options.step_seconds)
    steady.close()
    ratio = mixed.percentile(0.95) / at_floor.percentile(0.95)
    passed = not mixed.n_failed and mixed.percentile(0.95) <= LIMIT_P95_MS and mixed.per_second >= 0.98 * options.rate
    print(f"p95 {mixed.percentile(0.95):.1f} ms, limit {LIMIT_P95_MS:.0f}, {ratio:.1f} of the floor's in the same run")
    print("rungs: " + ", ".join(f"{rung} {n}" for rung, n in mixed.rungs.most_common()))
    print("held" if passed else f"not held: {dict(mixed.failures)}")
    return {
        "floor": _as_json(at_floor), "mixed": _as_json(mixed), "ratio_to_floor": ratio, "passed": passed,
        "steps": steps, "rungs": dict(mixed.rungs),
    }  # fmt: skip


async def _until_it_breaks(port: int, traffic: Traffic, seconds: float) -> list[dict[str, Any]]:
    """Closed loops of more and more clients, each of which asks again at once."""
    rows: list[dict[str, Any]] = []
    for n_clients in STEPS if seconds else ():
        clients = Clients("127.0.0.1", port, traffic.draw, n_clients)
        answers = await clients.drive(seconds)
        clients.close()
        show(f"{n_clients} clients", answers)
        rows.append({"n_clients": n_clients, **_as_json(answers)})
        if answers.n_failed or answers.percentile(0.95) > LIMIT_P95_MS:
            print(f"breaks at {n_clients} clients, {answers.per_second:.0f} requests a second")
            break
    return rows


def show(phase: str, answers: Answers) -> None:
    """Print a phase as a line."""
    times = " ".join(f"{answers.percentile(share):>8.1f}" for share in (0.5, 0.95, 0.99))
    print(f"{phase:<24} {answers.per_second:>7.1f} {times} {answers.n_failed:>7}", flush=True)


def _as_json(answers: Answers) -> dict[str, Any]:
    percentiles = {f"p{round(share * 100)}_ms": answers.percentile(share) for share in (0.5, 0.95, 0.99)}
    return {"per_second": answers.per_second, "n_failed": answers.n_failed, **percentiles} | {
        "failures": dict(answers.failures)
    }


if __name__ == "__main__":
    main()
