"""The shop that faults are injected into: its servers, its database as this process sees it, and the sums over all
loads."""

from __future__ import annotations

import os
import sqlite3
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import django
import psycopg

from benchmarks.faults.load import Ledger, Load
from benchmarks.faults.servers import Celery, Postgres, Redis, Web, python
from benchmarks.web import ROOT
from shopreco.shop.processes import Children

if TYPE_CHECKING:
    from collections.abc import Iterator

SETTINGS = "benchmarks.faults.settings"
N_CUSTOMERS = 40


@dataclass(slots=True)
class Bench:
    """What a fault gets: the servers, and how long a phase of it lasts.

    previous: the commit of the version that an upgrade begins with, empty for the one that `upgrades` finds.
    """

    folder: Path
    children: Children
    is_quick: bool
    environment: dict[str, str]
    postgres: Postgres
    redis: Redis
    web: Web
    previous: str = ""
    n_missing: int = 0
    balance: int = 0

    @classmethod
    def start(cls, folder: Path, children: Children, *, is_quick: bool) -> Bench:
        """Start PostgreSQL, Redis and gunicorn with a small loaded shop; this process then sees its database."""
        folder.chmod(0o711)  # the user postgres passes through it
        postgres, redis = Postgres(children, folder / "postgres"), Redis(children, folder / "redis")
        postgres.start()
        redis.start()
        environment = environment_of(folder / "var") | {"DATABASE_URL": postgres.url, "REDIS_URL": redis.url}
        load_shop(environment)
        web = Web(children, folder / "web", environment)
        web.start()
        os.environ |= environment
        django.setup()
        return cls(folder, children, is_quick, environment, postgres, redis, web)

    def ensure(self) -> None:
        """Let every server run, whatever the last fault has left behind."""
        for server in (self.postgres, self.redis, self.web):
            server.ensure()

    def rest(self, seconds: float) -> None:
        """Let the load go on for a while, five times as long where it is not to be quick."""
        time.sleep(seconds if self.is_quick else 5 * seconds)

    @contextmanager
    def serving(self, options: Sequence[str], **more: str) -> Iterator[Web]:
        """Another gunicorn beside the first, with other options, another application or further environment."""
        application = more.pop("application", "shopreco.wsgi:application")
        web = Web(self.children, self.folder / "web", self.environment | more, options=options, application=application)
        web.start()
        try:
            yield web
        finally:
            web.end()

    @contextmanager
    def celery(self, *options: str, **environment: str) -> Iterator[Celery]:
        """A worker of Celery, or beat, until the block ends."""
        server = Celery(self.children, self.folder / "celery", self.environment | environment, *options)
        server.start()
        try:
            yield server
        finally:
            server.end()

    def settle(self, load: Load, *, stored: Iterable[str] | None = None) -> tuple[int, int]:
        """Compare what was acknowledged with what is stored and add it to the sums.

        Returns how many acknowledged events are missing, and how many are stored twice or were never sent off.
        """
        counted = Counter(self.stored_ids(load.prefix) if stored is None else stored)
        n_missing = len(load.ledger.acknowledged - set(counted))
        self.n_missing += n_missing
        self.balance += load.ledger.balance
        return n_missing, sum(n - 1 for n in counted.values())

    def stored_ids(self, prefix: str) -> list[str]:
        """The message ids of a load as its clients sent them, one for each row."""
        from django.db import connection

        from recommender.models import Event
        from recommender.models.claims import message_id_as_sent

        connection.close()  # the server may have been another one
        rows = Event.objects.filter(message_id__contains=prefix).values_list("message_id", flat=True)
        return [message_id_as_sent(message_id) for message_id in rows]


def environment_of(var: Path) -> dict[str, str]:
    """The environment of a process of the shop in production, without a database and without Redis."""
    (var / "static").mkdir(parents=True, exist_ok=True)
    (var / "broker" / "control").mkdir(parents=True, exist_ok=True)
    return {
        "DJANGO_SETTINGS_MODULE": SETTINGS,
        "DJANGO_DEBUG": "0",
        "DJANGO_SECRET_KEY": "of-this-benchmark-only-it-is-never-used-elsewhere",
        "SHOPRECO_TLS": "0",
        "SHOPRECO_VAR": str(var),
        "DATABASE_URL": "",
        "REDIS_URL": "",
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
    }


def load_shop(environment: Mapping[str, str], *, folder: Path = ROOT) -> None:
    """Create the tables and fill them with some customers, their orders and an untrained bundle.

    folder: of the code of the shop.
    """
    for command in (
        ("migrate", "--verbosity", "0"),
        ("demo_load", "--sample", str(N_CUSTOMERS)),
        ("recommender_reconcile",),
        ("recommender_sync",),
    ):
        python("manage.py", *command, environment=environment, folder=folder)


def stored_in(environment: Mapping[str, str], prefix: str) -> list[str]:
    """The message ids of a load in the database of another shop, one for each row."""
    from recommender.models.claims import message_id_as_sent

    query = "SELECT message_id FROM recommender_event"
    opened: Any
    if environment["DATABASE_URL"]:
        opened = psycopg.connect(environment["DATABASE_URL"])
    else:
        opened = sqlite3.connect(Path(environment["SHOPRECO_VAR"]) / "shop.sqlite3")
    with closing(opened) as database:
        ids = [message_id for (message_id,) in database.execute(query)]
    return [message_id_as_sent(message_id) for message_id in ids if prefix in message_id]


def summary(ledger: Ledger, n_missing: int, n_twice: int) -> str:
    """What became of the events of a load, in words."""
    return (
        f"{len(ledger.acknowledged):,} acknowledged, {n_missing} not stored, {n_twice} twice; "
        f"{ledger.n_failed()} batches repeated"
    )
