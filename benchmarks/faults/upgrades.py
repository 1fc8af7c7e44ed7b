"""Faults of upgrades: the version before and the one after serve one database while it is migrated."""

from __future__ import annotations

import datetime as dt
import re
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg

from benchmarks.faults.bench import Bench, environment_of, load_shop, stored_in, summary
from benchmarks.faults.load import API, Answer, Load, Readers, call, new_visitor
from benchmarks.faults.registry import Outcome, fault
from benchmarks.faults.servers import Web, python
from benchmarks.web import ROOT

FIRST_MIGRATION = "recommender/migrations/0027_run_experiments.py"
"""What is upgraded is the last version without this migration, unless a commit is named."""

LONGEST_LOCK_SECONDS = 2.0
N_EVENTS, N_EVENTS_QUICK, N_VISITORS = 1_000_000, 20_000, 10_000
STATEMENT = re.compile(r"^(\S+ [\d:.]+) \S+ \[\d+\] LOG:  duration: ([\d.]+) ms  statement: (.*)$", re.MULTILINE)
LOCKING = ("ALTER TABLE", "CREATE INDEX", "CREATE UNIQUE INDEX", "DROP INDEX", "LOCK TABLE", "UPDATE")


@fault(23, "a large database is upgraded while both versions serve")
def upgrade(bench: Bench) -> Outcome:
    """Events and shoppers come to both before, during and after the migration."""
    n_events = N_EVENTS_QUICK if bench.is_quick else N_EVENTS
    old_code = _old_code(bench.folder / "old", bench.previous or _commit_before(FIRST_MIGRATION))
    with ExitStack() as stack:
        environment = stack.enter_context(_old_shop(bench, old_code))
        old = stack.enter_context(_serving(bench, environment, folder=old_code))
        _fill(old, environment, n_events)
        new = stack.enter_context(_serving(bench, environment, folder=ROOT))
        statuses = [call(web.address, f"{API}/rules").status for web in (old, new)]
        if statuses[0] != 404 or statuses[1] == 404:
            raise RuntimeError(f"rules, which only the new version has, were answered with {statuses}")
        with Traffic(old) as of_old, Traffic(new) as of_new:
            bench.rest(2)
            longest, locked, n_migrations = _migrate(bench, environment)
            migrated_at = time.monotonic()
            bench.rest(3)
        lost = [len(of_old.lists_since(0) - _shown(environment))]
        lost.append(len(of_new.lists_since(migrated_at) - _shown(environment)))
        results = [bench.settle(one.load, stored=stored_in(environment, one.load.prefix)) for one in (of_old, of_new)]
    figure = (
        f"{n_migrations} migrations with {n_events:,} events: longest statement {longest:.2f} s, lock {locked:.2f} s"
    )
    for name, one, n_lost, result in zip(("old", "new"), (of_old, of_new), lost, results, strict=True):
        n_pages, n_lists = len(one.readers.ledger.answered), len(one.lists)
        figure += f"; {name}: {one.n_failed()} of {n_pages:,} pages failed, {n_lost} of {n_lists} lists not stored, "
        figure += summary(one.load.ledger, *result)
    has_happened = n_migrations > 0 and of_old.lists and of_new.lists_since(migrated_at)
    passed = (
        bool(has_happened)
        and not of_old.n_failed() + of_new.n_failed()
        and not any(lost)
        and not any(map(sum, results))
    )
    seconds = max(one.longest_wait() for one in (of_old, of_new))
    return Outcome(passed and max(longest, locked) < LONGEST_LOCK_SECONDS, figure, seconds)


class Traffic:
    """Apps that send events to one version, and a shopper who opens pages and lists; it notes which lists."""

    def __init__(self, web: Web) -> None:
        self.load, self.lists = Load(web.address, n_clients=2), dict[str, float]()
        self.readers = Readers(web.address, n_clients=1, token=new_visitor(web.address), look=self._note)

    def __enter__(self) -> Traffic:
        self.load.__enter__()
        self.readers.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.readers.__exit__(None, None, None)
        self.load.__exit__(None, None, None)

    def _note(self, path: str, answer: Answer) -> None:
        if answer.body.get("items"):
            self.lists[answer.body["ranking_id"]] = answer.sent_at

    def lists_since(self, moment: float) -> set[str]:
        """The ids of lists that were asked for after a moment."""
        return {ranking for ranking, at in self.lists.items() if at > moment}

    def n_failed(self) -> int:
        """Answers to pages and batches that were errors of the server, or none at all."""
        return self.load.ledger.n_failed() + self.readers.ledger.n_failed()

    def longest_wait(self) -> float:
        return max(self.load.ledger.longest_wait(), self.readers.ledger.longest_wait())


def _commit_before(migration: str) -> str:
    """The last commit without a migration. Raises RuntimeError where the history of the project is not here."""
    command = ["git", "log", "--diff-filter=A", "--format=%H", "--", migration]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if not ended.stdout.strip():
        raise RuntimeError(
            f"git log names no commit that added {migration} ({ended.stderr.strip() or 'no history'}); run it in a "
            "clone of the project with its history, or name the commit of an older version by --previous"
        )
    return f"{ended.stdout.split()[-1]}^"


def _old_code(folder: Path, commit: str) -> Path:
    """The project as it was at a commit. Raises RuntimeError where git cannot give it out."""
    folder.mkdir()
    archive = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True, check=False)  # noqa: S607
    if archive.returncode:
        raise RuntimeError(f"git archive {commit} failed: {archive.stderr.decode().strip()}")
    subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)  # noqa: S607
    return folder


@contextmanager
def _old_shop(bench: Bench, old_code: Path) -> Iterator[dict[str, str]]:
    """The environment of a shop that the old version has made, in a database of its own."""
    name = f"upgrade{uuid.uuid4().hex[:8]}"
    with psycopg.connect(bench.postgres.url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    environment = environment_of(bench.folder / name) | {
        "DATABASE_URL": f"{bench.postgres.url.rpartition('/')[0]}/{name}",
        "REDIS_URL": f"{bench.redis.url.rpartition('/')[0]}/1",
    }
    load_shop(environment, folder=old_code)
    try:
        yield environment
    finally:
        with psycopg.connect(bench.postgres.url, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def _serving(bench: Bench, environment: Mapping[str, str], *, folder: Path) -> Iterator[Web]:
    """gunicorn with the code of a folder."""
    options = ("--workers", "1", "--chdir", str(folder))
    web = Web(bench.children, bench.folder / "web", environment, options=options)
    web.start()
    try:
        yield web
    finally:
        web.end()


def _fill(web: Web, environment: Mapping[str, str], n_events: int) -> None:
    """Copy a visitor, an event and a list until there are many."""
    call(web.address, f"{API}/recommendations/home", token=new_visitor(web.address))
    with psycopg.connect(environment["DATABASE_URL"]) as connection:
        first = _first(connection, "SELECT max(id) + 1 FROM recommender_visitor")
        visitor, moment = f"{first} + n %% {N_VISITORS}", "now() - n * interval '1 second'"
        _copy(
            connection, "recommender_visitor", N_VISITORS, id=f"{first} + n", key="gen_random_uuid()", user_key="NULL"
        )
        _copy(
            connection, "recommender_event", n_events, id=None, message_id="'filled-' || n", visitor_id=visitor,
            type="'view_item'", source="'page'", order_id="''", occurred_at=moment, received_at=moment,
        )  # fmt: skip
        _copy(
            connection, "recommender_impression", n_events // 10, ranking_id="gen_random_uuid()", visitor_id=visitor,
            occurred_at=moment,
        )  # fmt: skip
        connection.execute(f"SELECT setval(pg_get_serial_sequence('recommender_visitor', 'id'), {first + N_VISITORS})")


def _copy(connection: psycopg.Connection, table: str, n_rows: int, **changed: str | None) -> None:
    """Insert the newest row of a table n times, with other values; None leaves a column to the database."""
    query = "SELECT column_name FROM information_schema.columns WHERE table_name = %s AND table_schema = 'public'"
    columns = [column for (column,) in connection.execute(query, [table]) if changed.get(column, "") is not None]
    values = ", ".join(changed.get(column) or f'one."{column}"' for column in columns)
    names = ", ".join(f'"{column}"' for column in columns)
    one = f"(SELECT * FROM {table} LIMIT 1) one"  # noqa: S608
    connection.execute(
        f"INSERT INTO {table} ({names}) SELECT {values} FROM {one}, generate_series(0, %s) n",  # noqa: S608
        [n_rows - 1],
    )


def _first(connection: psycopg.Connection, query: str) -> int:
    row = connection.execute(query).fetchone()
    assert row is not None
    return int(row[0])


def _migrate(bench: Bench, environment: Mapping[str, str]) -> tuple[float, float, int]:
    """Migrate by the new version; the seconds of the longest statement and of the longest lock, and how many
    migrations there were."""
    child, query = bench.postgres.child, "SELECT count(*) FROM django_migrations"
    assert child is not None
    with psycopg.connect(environment["DATABASE_URL"], autocommit=True) as connection:
        n_before, n_read = _first(connection, query), child.log.stat().st_size
        logging = {"PGOPTIONS": "-c log_min_duration_statement=0"}
        python("manage.py", "migrate", "--verbosity", "0", environment={**environment, **logging})
        n_migrations = _first(connection, query) - n_before
    with child.log.open(errors="replace") as log:
        log.seek(n_read)
        return *longest_in(log.read()), n_migrations


def longest_in(log: str) -> tuple[float, float]:
    """The seconds of the longest statement in a log of PostgreSQL, and of the longest time from the start of one that
    locks a table to the end of its transaction."""
    longest = locked = 0.0
    locked_at: dt.datetime | None = None
    for at, milliseconds, statement in STATEMENT.findall(log):
        ended, seconds = dt.datetime.fromisoformat(at), float(milliseconds) / 1000
        longest = max(longest, seconds)
        if statement.upper().startswith(LOCKING) and locked_at is None:
            locked_at = ended - dt.timedelta(seconds=seconds)
        if statement.upper().startswith(("COMMIT", "ROLLBACK")) and locked_at is not None:
            locked, locked_at = max(locked, (ended - locked_at).total_seconds()), None
    return longest, locked


def _shown(environment: Mapping[str, str]) -> set[str]:
    """The ids of the lists that are stored."""
    with psycopg.connect(environment["DATABASE_URL"]) as connection:
        return {str(ranking) for (ranking,) in connection.execute("SELECT ranking_id FROM recommender_impression")}
