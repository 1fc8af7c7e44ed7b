"""An hour of mixed traffic on a shop in production mode: what fails, and whether memory grows.

    python -m benchmarks.soak [--minutes 60] [--rate 8] [--clients 4]

It starts PostgreSQL, Redis, gunicorn with two workers and `recommender_worker` of its own, in a temporary folder and on
free ports, with the small demo. Shoppers with a cookie and a token open pages, search, read lists, send events, and now
and then export their data; an administrator opens pages of the admin. The resident memory of each process is fitted by
a line after the first sixth of the time, in which caches fill. Exit code 1 where something failed or grew.
"""

from __future__ import annotations

import argparse
import http.client
import http.cookiejar
import itertools
import json
import logging
import random
import signal
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles

import numpy as np

from benchmarks.faults.bench import Bench
from benchmarks.faults.load import API, Clients, event_of, new_visitor
from benchmarks.faults.servers import Server
from benchmarks.figures import Figure, show
from benchmarks.web import resident_megabytes
from shopreco.shop.processes import Children

LIMIT_MEGABYTES_PER_HOUR = 10.0
"""A process of 250 MB then grows by less than a tenth in a working day of two hours of such traffic, or in a day of
ordinary one."""

CACHES_FILL = 1 / 6
"""The share of the time after which memory is fitted."""

SAMPLE_SECONDS = 5.0
REPORT_SECONDS = 300.0
STEPS_OF_A_SHOPPER = 40
TIMEOUT_SECONDS = 60.0
ADMIN_PAGES = ("", "recommender/overview/", "recommender/event/", "recommender/visitor/", "recommender/item/")


class Worker(Server):
    """`recommender_worker`, which does the recurring jobs."""

    name = "worker"

    def command(self) -> Sequence[str]:
        return [sys.executable, "manage.py", "recommender_worker"]

    def is_ready(self) -> bool:
        return self.child is not None and "Working as" in self.child.log.read_text(errors="replace")


@dataclass(slots=True)
class Answers:
    """How often each kind of request got which status (0: no answer), and after how many seconds."""

    statuses: Counter[tuple[str, int]] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def enter(self, kind: str, status: int, seconds: float) -> None:
        with self.lock:
            self.statuses[kind, status] += 1
            self.seconds.append(seconds)

    def count(self, is_counted: Callable[[int], bool]) -> int:
        with self.lock:
            return sum(n for (_, status), n in self.statuses.items() if is_counted(status))


@dataclass(frozen=True, slots=True)
class Shop:
    """What clients know of the shop: its address, its items and their words, and an administrator's cookie."""

    address: str
    items: Sequence[str]
    words: Sequence[str]
    session: str

    @classmethod
    def of(cls, address: str) -> Shop:
        from django.contrib.auth import get_user_model
        from django.test import Client

        from shopreco.shop.models import Product

        titles = dict(Product.objects.values_list("stock_code", "title"))
        words = sorted({word.lower() for title in titles.values() for word in title.split() if word.isalpha()})
        client = Client()
        client.force_login(get_user_model().objects.create_superuser("soak", "", uuid.uuid4().hex))
        return cls(address, list(titles), words, client.cookies["sessionid"].value)


class Shopper:
    """A browser with an app beside it: cookies of its own, who has consented."""

    def __init__(self, shop: Shop) -> None:
        self.shop, self.token = shop, new_visitor(shop.address)
        jar = http.cookiejar.CookieJar()
        self.opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar))
        self.opener.addheaders = [("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101")]
        self.open("/", headers={"Cookie": "recommender_consent=granted"})

    def open(self, path: str, *, body: object = None, headers: dict[str, str] | None = None) -> int:
        """The status of an answer, read to its end; 0 where none came, 401 where it led to the admin's login."""
        content = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.shop.address}{path}", data=content, headers=headers or {})  # noqa: S310
        try:
            with self.opener.open(request, timeout=TIMEOUT_SECONDS) as answer:
                answer.read()
                return 401 if "/login/" in answer.url else int(answer.status)
        except urllib.error.HTTPError as error:
            error.read()
            return error.code
        except (OSError, http.client.HTTPException):
            return 0

    def step(self) -> tuple[str, int]:
        """One request, drawn by how often its kind comes; the kind and the status."""
        (kind,) = random.choices(list(KINDS), weights=[weight for weight, _ in KINDS.values()])
        return kind, KINDS[kind][1](self)

    def call(self, path: str, body: object = None) -> int:
        """A request of the app."""
        headers = {"Authorization": f"Visitor {self.token}", "Content-Type": "application/json"}
        return self.open(f"{API}/{path}", body=body, headers=headers)

    def item(self) -> str:
        return random.choice(self.shop.items)

    def query(self) -> str:
        return "+".join(random.sample(self.shop.words, k=random.choice((1, 1, 2, 3))))

    def events(self) -> list[dict[str, str]]:
        return [event_of(f"soak-{uuid.uuid4().hex}", item_id=self.item()) for _ in range(random.randint(1, 8))]

    def administer(self) -> int:
        page = random.choice(ADMIN_PAGES)
        return self.open(f"/admin/{page}", headers={"Cookie": f"sessionid={self.shop.session}"})


KINDS: dict[str, tuple[float, Callable[[Shopper], int]]] = {
    "home": (2, lambda shopper: shopper.open("/")),
    "product": (3, lambda shopper: shopper.open(f"/item/{shopper.item()}/")),
    "all products": (1, lambda shopper: shopper.open("/products/")),
    "search page": (2, lambda shopper: shopper.open(f"/search/?q={shopper.query()}")),
    "search": (2, lambda shopper: shopper.call(f"search?q={shopper.query()}")),
    "suggest": (1, lambda shopper: shopper.call(f"suggest?q={shopper.query()[:3]}")),
    "list": (2, lambda shopper: shopper.call(f"recommendations/{random.choice(('home', 'trending', 'cart'))}")),
    "events": (4, lambda shopper: shopper.call("events", shopper.events())),
    "export": (0.1, lambda shopper: shopper.call("me/export")),
    "admin": (0.1, Shopper.administer),
}
"""Every kind of request with how often it comes among the others."""


class Traffic(Clients):
    """Shoppers who come and go, with a bounded number of requests a second."""

    def __init__(self, shop: Shop, *, n_clients: int, per_second: float) -> None:
        super().__init__(n_clients)
        self.shop, self.seconds_each, self.answers = shop, n_clients / per_second, Answers()

    def work(self, number: int) -> None:
        try:
            shopper = Shopper(self.shop)
        except RuntimeError:  # no token came
            self.answers.enter("visitor", 0, 0.0)
            return
        for _ in range(STEPS_OF_A_SHOPPER):
            if self.stopping.is_set():
                return
            started = time.monotonic()
            kind, status = shopper.step()
            seconds = time.monotonic() - started
            self.answers.enter(kind, status, seconds)
            self.stopping.wait(self.seconds_each * random.uniform(0.5, 1.5) - seconds)


@dataclass(slots=True)
class Memory:
    """Resident megabytes of processes at the seconds since the start."""

    pids: dict[str, int]
    at: list[float] = field(default_factory=list)
    megabytes: dict[str, list[float]] = field(default_factory=dict)

    def sample(self, seconds: float) -> None:
        """Raises RuntimeError or FileNotFoundError where a process has ended."""
        self.at.append(seconds)
        for name, pid in self.pids.items():
            self.megabytes.setdefault(name, []).append(resident_megabytes(pid))

    def slope(self, name: str, *, since: float) -> tuple[float, float]:
        """Megabytes an hour by least squares from a moment on, and their standard error as if samples were independent.

        With fewer than three samples there is no line: nan.
        """
        at = np.array(self.at)
        hours, megabytes = at[at >= since] / 3600, np.array(self.megabytes[name])[at >= since]
        if len(hours) < 3:
            return float("nan"), float("nan")
        (slope, _), covariance = np.polyfit(hours, megabytes, 1, cov="unscaled")
        residuals = megabytes - np.polyval(np.polyfit(hours, megabytes, 1), hours)
        return float(slope), float(np.sqrt(covariance[0, 0] * (residuals**2).sum() / (len(hours) - 2)))

    def line(self) -> str:
        return ", ".join(f"{name} {values[-1]:.0f}" for name, values in self.megabytes.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--rate", type=float, default=8.0, help="requests a second, at most")
    parser.add_argument("--clients", type=int, default=4)
    options = parser.parse_args()
    for interruption in (signal.SIGINT, signal.SIGTERM):
        signal.signal(interruption, lambda number, frame: sys.exit(128 + number))
    with _shop() as (bench, worker):
        logging.disable()
        shop = Shop.of(bench.web.address)
        pids = {f"web {number}": pid for number, pid in enumerate(bench.web.workers(), start=1)}
        memory = Memory({**pids, "worker": worker.pid, "gunicorn": bench.web.pid, "redis": bench.redis.pid})
        with Traffic(shop, n_clients=options.clients, per_second=options.rate) as traffic:
            ended = _watch(memory, traffic, seconds=60 * options.minutes)
    sys.exit(0 if _report(memory, traffic.answers, ended, seconds=60 * options.minutes) else 1)


@contextmanager
def _shop() -> Iterator[tuple[Bench, Worker]]:
    """The servers with the small demo, which end with the block."""
    with (
        tempfile.TemporaryDirectory(prefix="soak-", ignore_cleanup_errors=True) as folder,
        Children(Path(folder) / "logs") as children,
    ):
        bench = Bench.start(Path(folder), children, is_quick=False)
        worker = Worker(children, Path(folder) / "worker", bench.environment)
        worker.start()
        try:
            yield bench, worker
        finally:
            from django.db import connections

            connections.close_all()


def _watch(memory: Memory, traffic: Traffic, *, seconds: float) -> str:
    """Sample memory until the time is over; the process or client that has ended before, or nothing."""
    answers = traffic.answers
    started, reported = time.monotonic(), 0.0
    for number in itertools.count(1):
        elapsed = time.monotonic() - started
        try:
            memory.sample(elapsed)
        except (OSError, RuntimeError) as error:
            return str(error)
        if not all(thread.is_alive() for thread in traffic.threads):
            return "a client"
        if elapsed - reported >= REPORT_SECONDS or number == 1:
            reported = elapsed
            n, failed = answers.count(lambda status: True), answers.count(_is_fault)
            print(f"{elapsed / 60:5.1f} min  {n:>7,} answers, {failed} failed; MB: {memory.line()}", flush=True)
        if elapsed >= seconds:
            return ""
        time.sleep(max(0.0, min(started + number * SAMPLE_SECONDS, started + seconds) - time.monotonic()))
    return ""


def _is_fault(status: int) -> bool:
    """No answer, or one that is neither a page nor a redirection to one."""
    return not 200 <= status < 400


def _report(memory: Memory, answers: Answers, ended: str, *, seconds: float) -> bool:
    """Print what came of it; return whether it is as it should be."""
    n = answers.count(lambda status: True)
    print(f"\n{n:,} requests, {n / max(memory.at[-1], 1.0):.1f} a second over {memory.at[-1] / 60:.1f} minutes")
    for (kind, status), n_of_kind in sorted(answers.statuses.items()):
        print(f"  {kind:<12} {status:>3} × {n_of_kind:,}")
    if len(answers.seconds) > 1:
        median, p99 = (quantiles(answers.seconds, n=100)[index] for index in (49, 98))
        print(f"seconds: median {median:.3f}, p99 {p99:.3f}, longest {max(answers.seconds):.3f}")
    n_server_errors = answers.count(lambda status: status >= 500)
    n_others = answers.count(_is_fault) - n_server_errors
    slopes = {name: memory.slope(name, since=CACHES_FILL * seconds) for name in memory.pids}
    figures = [
        Figure(f"memory of {name}, ± {error:.1f}", slope, LIMIT_MEGABYTES_PER_HOUR, "MB/hour")
        for name, (slope, error) in slopes.items()
    ]
    show("slope of resident memory", figures)
    print(f"\n{n_server_errors} server errors and {n_others} other failures of 0 allowed")
    if ended:
        print(f"Ended before its time: {ended}")
    return n > 0 and not (ended or n_server_errors or n_others) and all(figure.ratio <= 1 for figure in figures)


if __name__ == "__main__":
    main()
