"""The two commands that put files through the product: bad files end with a message, good ones with a ranking."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SPOILT = (("p0", "red cup", ""), ("", "x", ""))
COLOURS, THINGS = ("red", "blue", "green"), ("cup", "pot", "lamp", "rug")


def write(path, header, rows):
    with path.open("w", newline="") as lines:
        out = csv.writer(lines)
        out.writerow(header)
        out.writerows(rows)
    return path


def call(command, *arguments):
    inherited = {k: v for k, v in os.environ.items() if k not in ("DATABASE_URL", "REDIS_URL", "SHOPRECO_VAR")}
    run = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{command}", *map(str, arguments)],
        cwd=ROOT, env=inherited | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    return run.returncode, run.stdout + run.stderr


@pytest.fixture
def products(tmp_path):
    titles = [f"{colour} {thing}" for colour in COLOURS for thing in THINGS]
    rows = [(f"p{number}", title, "nan") for number, title in enumerate(titles)]
    return write(
        tmp_path / "products.csv", ("product_id", "title", "price"), [*rows, ("p0", "red cup", ""), ("", "x", "")]
    )


def test_search_without_labels_ranks_exactly_the_candidates(products, tmp_path):
    queries = write(tmp_path / "q.csv", ("query_id", "query"), [("q1", "blue lamp"), ("q2", "")])
    wanted = write(
        tmp_path / "c.csv", ("query_id", "product_id"), [("q1", "p6"), ("q1", "p0"), ("q1", "p5"), ("q1", "gone")]
    )
    code, message = call(
        "search_relevance", "--products", products, "--test-queries", queries, "--candidates", wanted,
        "--out", tmp_path / "run.csv", "--minutes", 5,
    )  # fmt: skip
    assert code == 0, message
    assert "2 of 14 rows of the catalogue repeat an id (1 have none)" in message
    with (tmp_path / "run.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    assert {row["product_id"] for row in rows} == {"p6", "p0", "p5", "gone"}
    assert rows[0]["product_id"] == "p6"  # blue lamp
    assert rows[-1]["product_id"] == "gone"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--test-queries", "missing.csv"), "missing.csv does not exist"),
        (("--test-queries", "wrong.csv"), "wrong.csv has no column query"),
        (("--test-queries", "none.csv"), "none.csv has no query"),
        (("--test-queries", "none.csv", "--train-queries", "none.csv"), "belong together"),
    ],
)
def test_file_that_cannot_be_used_is_named_with_what_is_missing(products, tmp_path, arguments, message):
    write(tmp_path / "wrong.csv", ("query_id", "text"), [("q1", "cup")])
    write(tmp_path / "none.csv", ("query_id", "query"), [])
    paths = [tmp_path / argument if argument.endswith(".csv") else argument for argument in arguments]
    code, message = call("search_relevance", "--products", products, "--out", tmp_path / "run.csv", *paths)
    assert code == 2
    assert message in message
    assert not (tmp_path / "run.csv").exists()


@pytest.mark.parametrize(
    ("header", "row", "message"),
    [
        (("user_id", "item_id"), ("u", "i"), "neither a column timestamp nor position"),
        (("user_id", "item_id", "timestamp"), ("u", "i", "yesterday"), "holds no usable event"),
        (("user_id", "timestamp"), ("u", "2020-01-01"), "has no column item_id"),
    ],
)
def test_events_that_cannot_be_ordered_are_refused(tmp_path, header, row, message):
    items = write(tmp_path / "items.csv", ("item_id", "title"), [("i", "cup")])
    users = write(tmp_path / "users.csv", ("user_id",), [("u",)])
    events = write(tmp_path / "events.csv", header, [row])
    code, message = call(
        "recommendation", "--items", items, "--events", events, "--users", users, "--out", tmp_path / "run.csv"
    )
    assert code == 2
    assert message in message
