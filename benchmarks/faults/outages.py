"""Faults of the servers behind the web processes, and of the web processes themselves, under a load of events."""

from __future__ import annotations

import signal
import time

from benchmarks.faults.bench import Bench, environment_of, load_shop, stored_in, summary
from benchmarks.faults.load import Load, Readers
from benchmarks.faults.registry import Outcome, fault
from benchmarks.faults.servers import Web, kill

LONGEST_RECOVERY_SECONDS = 10.0
LONGEST_PAGE_SECONDS = 5.0
"""A page may wait once for the cache (1 s), and once for another request that does, in each of its two uses of it."""


@fault(1, "PostgreSQL is restarted 5 times under load")
def postgres_restarts(bench: Bench) -> Outcome:
    return _interrupted_postgres(bench, n_times=5, is_crash=False)


@fault(2, "PostgreSQL is killed -9 under load")
def postgres_crashes(bench: Bench) -> Outcome:
    return _interrupted_postgres(bench, n_times=3, is_crash=True)


def _interrupted_postgres(bench: Bench, *, n_times: int, is_crash: bool) -> Outcome:
    recoveries = []
    with Load(bench.web.address) as load:
        for _ in range(n_times):
            bench.rest(1)
            if is_crash:
                bench.postgres.crash()
            else:
                bench.postgres.end(signal.SIGINT)
            bench.postgres.start()
            recoveries.append(load.recovered_in(since=time.monotonic()))
        bench.rest(1)
    n_missing, n_twice = bench.settle(load)
    passed = not n_missing and not n_twice and max(recoveries) < LONGEST_RECOVERY_SECONDS
    return Outcome(passed, summary(load.ledger, n_missing, n_twice), max(recoveries))


@fault(3, "Redis is down and up 10 times under load")
def redis_restarts(bench: Bench) -> Outcome:
    with Load(bench.web.address) as load, Readers(bench.web.address) as readers:
        for _ in range(10):
            bench.rest(0.5)
            bench.redis.end(signal.SIGKILL)
            bench.rest(0.5)
            bench.redis.start()
        bench.rest(0.5)
    return _without_cache(bench, load, readers)


@fault(4, "Redis accepts and never answers")
def silent_redis(bench: Bench) -> Outcome:
    kill(bench.redis.pid, signal.SIGSTOP)
    try:
        with Load(bench.web.address) as load, Readers(bench.web.address) as readers:
            bench.rest(8)
    finally:
        kill(bench.redis.pid, signal.SIGCONT)
    return _without_cache(bench, load, readers)


def _without_cache(bench: Bench, load: Load, readers: Readers) -> Outcome:
    """Every page and every event was answered, within a bounded time, and no acknowledged event is missing."""
    n_missing, n_twice = bench.settle(load)
    n_failed = load.ledger.n_failed() + readers.ledger.n_failed()
    seconds = max(load.ledger.longest_wait(), readers.ledger.longest_wait())
    passed = not n_missing and not n_twice and not n_failed and seconds < LONGEST_PAGE_SECONDS
    n_pages = len(readers.ledger.answered)
    return Outcome(passed, f"{n_pages:,} pages, {n_failed} failed; {summary(load.ledger, n_missing, n_twice)}", seconds)


@fault(5, "SQLite has 8 writers")
def sqlite_writers(bench: Bench) -> Outcome:
    var = bench.folder / "embedded"
    environment = environment_of(var)
    load_shop(environment)
    web = Web(bench.children, var / "web", environment, options=("--workers", "8"))
    web.start()
    try:
        with Load(web.address, n_clients=8) as load:
            bench.rest(8)
    finally:
        web.end()
    n_missing, n_twice = bench.settle(load, stored=stored_in(environment, load.prefix))
    passed = not n_missing and not n_twice and not load.ledger.n_failed()
    return Outcome(passed, summary(load.ledger, n_missing, n_twice), load.ledger.longest_wait())


@fault(6, "web workers are killed -9 under load")
def killed_workers(bench: Bench) -> Outcome:
    n_killed, recoveries = 0, []
    with Load(bench.web.address) as load:
        for _ in range(5):
            bench.rest(1)
            for pid in bench.web.workers():
                kill(pid)
                n_killed += 1
            recoveries.append(load.recovered_in(since=time.monotonic()))
        bench.rest(1)
    n_missing, n_twice = bench.settle(load)
    passed = not n_missing and not n_twice and max(recoveries) < LONGEST_RECOVERY_SECONDS
    return Outcome(passed, f"{n_killed} killed; {summary(load.ledger, n_missing, n_twice)}", max(recoveries))
