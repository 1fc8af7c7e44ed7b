"""Splits a file of events or queries into the files of a benchmark: training data, users or queries, and the truth.

`python -m benchmarks.splits time --events E --at 2011-09-08 --days 30 --unseen .15 --out FOLDER`: events.csv before
that moment, extra.csv with the histories of users that training never sees, users.csv with everybody of a past who
bought in the days after, and truth.csv with what.
`python -m benchmarks.splits last --events E --unseen .2 --out FOLDER`: the same, where what each user did last is the
truth.
`python -m benchmarks.splits queries --queries Q --labels L --out FOLDER`: a fifth of the queries for the test.
A hash of the id decides what goes where, so everybody gets the same split.
"""

from __future__ import annotations

import argparse
import sys
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.events import DAY, NAMES, seconds_of
from benchmarks.workbench import InputError, number, read, write

Rows = list[dict[str, str]]


def main(argv: Sequence[str] | None = None) -> None:
    options = _options(argv)
    options.out.mkdir(parents=True, exist_ok=True)
    {"time": split_in_time, "last": split_last, "queries": split_queries}[options.kind](options)


def split_in_time(options: argparse.Namespace) -> None:
    """Cut all events at one moment; the purchases of the days after are the truth."""
    rows = list(read(options.events, "user_id", "item_id", "timestamp"))
    at = seconds_of(options.at)
    if at is None:
        raise InputError(f"--at {options.at!r} is no time: write it as 2011-09-08.")
    times = [seconds_of(row["timestamp"]) or 0.0 for row in rows]
    before = [row for row, time in zip(rows, times, strict=True) if time < at]
    after = [
        row
        for row, time in zip(rows, times, strict=True)
        if at <= time < at + options.days * DAY and NAMES.get(row.get("event_type", ""), "purchase") == "purchase"
    ]
    _write_events(options, before, after)


def split_last(options: argparse.Namespace) -> None:
    """Hold out the last event of each user who has at least two."""
    rows = list(read(options.events, "user_id", "item_id", "position"))
    last: dict[str, tuple[float, int]] = {}
    count: dict[str, int] = {}
    for index, row in enumerate(rows):
        last[row["user_id"]] = max(last.get(row["user_id"], (-1.0, -1)), (number(row["position"]), index))
        count[row["user_id"]] = count.get(row["user_id"], 0) + 1
    held_out = {index for user, (_, index) in last.items() if count[user] > 1}
    before = [row for index, row in enumerate(rows) if index not in held_out]
    _write_events(options, before, [rows[index] for index in sorted(held_out)])


def split_queries(options: argparse.Namespace) -> None:
    """Give a fifth of the queries with their labels to the test."""
    queries, labels = list(read(options.queries, "query_id", "query")), list(read(options.labels, "query_id"))
    for name, is_test in (("train", False), ("test", True)):
        _copy(options.out / f"{name}-queries.csv", (row for row in queries if _is_fifth(row["query_id"]) is is_test))
        _copy(options.out / f"{name}-labels.csv", (row for row in labels if _is_fifth(row["query_id"]) is is_test))


def _write_events(options: argparse.Namespace, before: Rows, after: Rows) -> None:
    past = {row["user_id"] for row in before} - {""}
    truth = dict.fromkeys((row["user_id"], row["item_id"]) for row in after if row["user_id"] in past)
    users = dict.fromkeys(user for user, _ in truth)
    _copy(options.out / "events.csv", (row for row in before if not _is_unseen(row["user_id"], options.unseen)))
    extra = [row for row in before if _is_unseen(row["user_id"], options.unseen)]
    write(options.out / "extra.csv", tuple(before[0]), (tuple(row.values()) for row in extra))
    write(options.out / "users.csv", ("user_id",), ((user,) for user in users))
    write(options.out / "truth.csv", ("user_id", "item_id"), truth)
    n_unseen = sum(_is_unseen(user, options.unseen) for user in users)
    print(f"{len(before)} events before, {len(users)} users who bought after, {n_unseen} of them unseen in training")


def _copy(path: Path, rows: Iterable[dict[str, str]]) -> None:
    copied = list(rows)
    if not copied:
        raise InputError(f"Nothing is left for {path.name}: check the ids, --at and --unseen.")
    print(f"{write(path, tuple(copied[0]), (tuple(row.values()) for row in copied))} rows in {path}")


def _is_unseen(user: str, share: float) -> bool:
    return bool(user) and zlib.crc32(user.encode()) % 1_000 < 1_000 * share


def _is_fifth(query_id: str) -> bool:
    return zlib.crc32(query_id.encode()) % 5 == 0


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="kind", required=True)
    by_time, last, queries = (kinds.add_parser(name) for name in ("time", "last", "queries"))
    by_time.add_argument("--at", required=True)
    by_time.add_argument("--days", type=float, default=30.0)
    for kind, share in ((by_time, 0.15), (last, 0.2)):
        kind.add_argument("--events", type=Path, required=True)
        kind.add_argument("--unseen", type=float, default=share, help="share of users whose past training never sees")
    queries.add_argument("--queries", type=Path, required=True)
    queries.add_argument("--labels", type=Path, required=True)
    for kind in (by_time, last, queries):
        kind.add_argument("--out", type=Path, required=True)
    return parser.parse_args(argv)


if __name__ == "__main__":
    main(sys.argv[1:])
