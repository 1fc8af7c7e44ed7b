"""What the shop loses and how long it waits while its servers, trainers, bundles and clients fail.

    python -m benchmarks.faults [--only N] [--quick] [--previous COMMIT] --json FILE

It starts PostgreSQL, Redis, gunicorn and Celery of its own, in a temporary folder and on free ports, injects one fault
after the other under a load of events, and compares what was acknowledged with what is stored. Everything that it
has started ends with it.
"""

from __future__ import annotations

import argparse
import json
import logging
import signal
import sys
import tempfile
from pathlib import Path

from benchmarks.faults import absences, bundles, clients, erasures, outages, runs, storage, upgrades  # noqa: F401
from benchmarks.faults.bench import Bench
from benchmarks.faults.registry import FAULTS, HEADER, as_json, line, outcomes
from shopreco.shop.processes import Children


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--only", type=int, choices=sorted(FAULTS), action="append", metavar="N", help="a fault's number"
    )
    parser.add_argument("--quick", action="store_true", help="each fault lasts a fifth as long")
    parser.add_argument("--previous", default="", metavar="COMMIT", help="the version before the upgrade of fault 23")
    parser.add_argument("--json", type=Path, required=True, metavar="FILE", help="where the results are written")
    options = parser.parse_args()
    chosen = [FAULTS[number] for number in sorted(options.only or FAULTS)]
    for interruption in (signal.SIGINT, signal.SIGTERM):
        signal.signal(interruption, lambda number, frame: sys.exit(128 + number))
    results = []
    with (
        tempfile.TemporaryDirectory(prefix="faults-", ignore_cleanup_errors=True) as folder,
        Children(Path(folder) / "logs") as children,
    ):
        bench = Bench.start(Path(folder), children, is_quick=options.quick)
        bench.previous = options.previous
        logging.disable()  # what this process injects into itself is in the table
        print(HEADER)
        for one, outcome in outcomes(bench, chosen):
            results.append((one, outcome))
            print(line(one, outcome), flush=True)
        _leave()
    report = as_json(results, n_missing=bench.n_missing, balance=bench.balance)
    options.json.write_text(json.dumps(report, indent=1) + "\n")
    print(f"acknowledged minus stored {bench.n_missing}, balance of the ledger {bench.balance}")
    sys.exit(0 if all(outcome.passed for _, outcome in results) else 1)


def _leave() -> None:
    """Close this process's connections, for which PostgreSQL would wait."""
    from django.db import connections

    connections.close_all()


if __name__ == "__main__":
    main()
