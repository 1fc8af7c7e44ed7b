"""The registry of faults, what a load makes of answers, and the shape of the results; no fault is injected here."""

from __future__ import annotations

import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from benchmarks.faults import __main__, registry
from benchmarks.faults.absences import without
from benchmarks.faults.load import Answer, Ledger, Load, event_of
from benchmarks.faults.registry import FAULTS, Fault, Outcome, as_json, line, outcomes
from benchmarks.faults.upgrades import longest_in


class Bench:
    """Nothing to inject a fault into."""

    def ensure(self) -> None:
        pass


def failing(bench: Any) -> Outcome:
    raise TimeoutError("it never came back")


def test_every_fault_has_a_number_and_a_name_of_its_own() -> None:
    names = [one.name for one in FAULTS.values()]
    assert sorted(FAULTS) == list(range(1, 24))
    assert len(set(names)) == len(names)
    assert [one.number for one in FAULTS.values()] == list(FAULTS)


def test_number_that_is_taken_is_refused() -> None:
    with pytest.raises(ValueError, match="fault 1 is"):
        registry.fault(1, "another")(failing)


def test_fault_that_cannot_be_carried_out_has_not_passed_and_the_next_one_runs() -> None:
    bench: Any = Bench()
    faults = [
        Fault(1, "fails", failing),
        Fault(2, "is survived", lambda bench: Outcome(passed=True, figure="7", seconds=2)),
    ]
    results = list(outcomes(bench, faults))
    assert [outcome.passed for _, outcome in results] == [False, True]
    assert "TimeoutError: it never came back" in line(*results[0])
    assert as_json(results[1:], n_missing=3, balance=4) == {
        "faults": [{"name": "is survived", "passed": True, "figure": "7", "seconds": 2}],
        "acknowledged_minus_stored": 3,
        "ledger_balance": 4,
    }


def test_file_has_to_be_named(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["faults", "--quick"])
    with pytest.raises(SystemExit):
        __main__.main()
    assert "--json" in capsys.readouterr().err


def test_hidden_package_cannot_be_found_in_another_process_and_its_neighbours_can() -> None:
    code = "import sys, importlib.util as u; print([u.find_spec(name) is None for name in sys.argv[1:]]); import celery"
    command = [sys.executable, "-c", code, "celery", "kombu", "django"]
    ended = subprocess.run(
        command, env={**os.environ, **without("celery", "kombu")}, capture_output=True, text=True, check=False
    )
    assert ended.stdout == "[True, True, False]\n"
    assert ended.stderr.endswith("ModuleNotFoundError: No module named 'celery'\n")


def test_lock_of_a_migration_lasts_from_its_first_statement_to_the_end_of_the_transaction() -> None:
    log = """\
2026-11-29 15:00:00.000 UTC [7] LOG:  duration: 0.050 ms  statement: BEGIN
2026-11-29 15:00:02.000 UTC [7] LOG:  duration: 1900.000 ms  statement: SELECT 1
2026-11-29 15:00:02.500 UTC [7] LOG:  duration: 100.000 ms  statement: ALTER TABLE "recommender_event" ADD COLUMN
\t"arms" varchar(80) NULL
2026-11-29 15:00:03.000 UTC [8] ERROR:  canceling statement due to user request
2026-11-29 15:00:03.200 UTC [7] LOG:  duration: 700.000 ms  statement: CREATE INDEX "shown" ON "recommender_event"
2026-11-29 15:00:03.300 UTC [7] LOG:  duration: 0.500 ms  statement: COMMIT
"""
    assert longest_in(log) == pytest.approx((1.9, 0.9))


def receipt(**counts: Any) -> dict[str, Any]:
    return {"accepted": 0, "duplicate": 0, "rejected": [], "dropped": 0, **counts}


def entered(batch_size: int, status: int, body: dict[str, Any]) -> Ledger:
    ledger = Ledger()
    ledger.enter([event_of(str(number)) for number in range(batch_size)], Answer(status, body, 0.0, 0.1))
    return ledger


def test_only_what_was_accepted_counts_as_acknowledged() -> None:
    ledger = entered(3, 202, receipt(accepted=1, duplicate=1, rejected=[{"index": 1, "message": "no"}]))
    assert (ledger.acknowledged, ledger.balance) == ({"0", "2"}, 0)
    assert not entered(3, 503, {}).acknowledged


def test_event_that_no_answer_accounts_for_shows_in_the_balance() -> None:
    assert entered(3, 202, receipt(accepted=2)).balance == 1


class Flaky(http.server.BaseHTTPRequestHandler):
    """Fails every other call."""

    n_calls = 0

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path.endswith("/visitors"):
            self.respond(201, {"token": "t"})
            return
        type(self).n_calls += 1
        if self.n_calls % 2:
            self.respond(503, {})
        else:
            self.respond(202, receipt(accepted=len(body)))

    def respond(self, status: int, body: dict[str, Any]) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def flaky() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Flaky)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_batch_is_repeated_until_it_is_acknowledged(flaky: str) -> None:
    with Load(flaky, n_clients=1, batch_size=2) as load:
        load.recovered_in(since=0.0, seconds=1e9)
    assert load.ledger.statuses[503] > 0
    assert len(load.ledger.acknowledged) == load.ledger.n_sent > 0
