"""A shop in a temporary folder: loads files into the app's own tables, trains on them, and answers from the bundle.

Nothing here ranks: what the tables hold is trained by `recommender.training` and answered by `recommender.pipeline`.
"""

from __future__ import annotations

import argparse
import csv
import datetime as dt
import gzip
import math
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from recommender.ml.progress import Progress

CHUNK_SIZE = 2_000
LONGEST_TITLE = 500
LONGEST_TEXT = 20_000
LABEL = "benchmarks.Product"


class InputError(SystemExit):
    """A file that cannot be used; the message says which, why, and how to repair it."""

    def __init__(self, message: str) -> None:
        print(f"error: {message}", file=sys.stderr)
        super().__init__(2)


class Clock:
    """The wall time of one call."""

    def __init__(self, minutes: float) -> None:
        self.minutes, self.started = minutes, time.monotonic()

    @property
    def spent(self) -> float:
        """Minutes since the start."""
        return (time.monotonic() - self.started) / 60

    @property
    def left(self) -> float:
        """Minutes until the end."""
        return self.minutes - self.spent


def read(path: Path, *needed: str) -> Iterator[dict[str, str]]:
    """Give the rows of a CSV file, gzipped or not, with all its columns. Raises InputError naming what is missing."""
    if not path.is_file():
        raise InputError(f"{path} does not exist.")
    csv.field_size_limit(2**31 - 1)
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8-sig", errors="replace", newline="") as lines:
        rows = csv.DictReader(lines)
        missing = [name for name in needed if name not in (rows.fieldnames or ())]
        if missing:
            header = ", ".join(rows.fieldnames or ()) or "empty"
            raise InputError(
                f"{path} has no column {', '.join(missing)}. Its header is {header}, needed are {', '.join(needed)}."
            )
        for row in rows:
            yield {name: value or "" for name, value in row.items() if name is not None and not isinstance(value, list)}


def write(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> int:
    """Write a CSV file, whole or not at all; return the number of rows."""
    draft = path.with_name(f"{path.name}.new")
    count = 0
    with draft.open("w", encoding="utf-8", newline="") as lines:
        out = csv.writer(lines)
        out.writerow(header)
        for row in rows:
            out.writerow(row)
            count += 1
    draft.replace(path)
    return count


@contextmanager
def shop() -> Iterator[Path]:
    """Set Django up over an empty SQLite file in a folder of its own, which is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="shopreco-") as folder:
        os.environ.update(SHOPRECO_VAR=folder, DJANGO_SETTINGS_MODULE="shopreco.settings", HF_HUB_OFFLINE="1")
        for name in ("DATABASE_URL", "REDIS_URL"):
            os.environ.pop(name, None)
        import django
        from django.core.management import call_command

        django.setup()
        call_command("migrate", verbosity=0)
        yield Path(folder)


def number(text: str, *, default: float = math.nan) -> float:
    """Read a number; what is none, or not finite, is the default."""
    try:
        value = float(text)
    except ValueError:
        return default
    return value if math.isfinite(value) else default


def load_items(rows: Iterable[dict[str, str]], id_column: str, *, first_seen: dict[str, Any] | None = None) -> int:
    """Put a catalogue into the tables; of rows with one id the last counts. Return how many items there are."""
    from django.utils import timezone

    from recommender.catalog.values import text_hash
    from recommender.models import Item

    now = timezone.now()
    items: dict[str, Item] = {}
    n_rows = n_empty = 0
    for row in rows:
        n_rows += 1
        item_id = row[id_column].strip()[:128]
        if not item_id:
            n_empty += 1
            continue
        title = " ".join(row.get("title", "")[: LONGEST_TITLE * 4].split())[:LONGEST_TITLE]
        more = [row.get(name, "") for name in ("category", "brand", "description")]
        text = " ".join(part for part in (title, *more) if part.strip())[:LONGEST_TEXT] or item_id
        price = number(row.get("price") or row.get("list_price") or "")
        items[item_id] = Item(
            item_id=item_id, label=LABEL, object_id=item_id, title=title, text=text, text_hash=text_hash(text),
            category=row.get("category", "")[:255], brand=row.get("brand", "")[:255],
            price=None if not 0 <= price < 1e9 else round(price, 2),
            first_seen_at=(first_seen or {}).get(item_id, now), updated_at=now,
        )  # fmt: skip
    if not items:
        raise InputError("The catalogue has no item: every row needs an id.")
    if n_rows > len(items):
        print(f"{n_rows - len(items)} of {n_rows} rows of the catalogue repeat an id ({n_empty} have none): left out")
    stored_items = list(items.values())
    for start in range(0, len(stored_items), CHUNK_SIZE):
        Item.objects.bulk_create(stored_items[start : start + CHUNK_SIZE])
    return len(items)


def adopt(folder: Path, *, at: float | None = None) -> None:
    """Let a bundle that `keep` wrote serve this catalogue. Raises InputError for a folder that holds none."""
    import json

    from recommender import bundles
    from recommender.datasets import statistics
    from recommender.serving import vectors

    if not (folder / "encoder.json").is_file():
        raise InputError(f"{folder} holds no bundle: give the folder that --save wrote.")
    record = json.loads((folder / "encoder.json").read_text())
    bundle = bundles.write_bundle(folder, is_trained=True, encoder_hash=record["hash"])
    vectors.encode_missing(bundle.name)
    statistics.refresh_statistics(at=None if at is None else dt.datetime.fromtimestamp(at, dt.UTC))
    bundles.promote(bundle)


def keep(folder: Path) -> None:
    """Write the files of the serving bundle to a folder."""
    from recommender import bundles

    champion = bundles.champion()
    if champion is None:
        raise InputError("Nothing was trained that could be saved.")
    shutil.copytree(bundles.fetch(champion.name), folder, dirs_exist_ok=True)
    (folder / "manifest.json").unlink(missing_ok=True)


def start_untrained() -> None:
    """Let the encoder as it came serve: bundle 0."""
    from recommender import bundles
    from recommender.datasets import statistics
    from recommender.serving import vectors

    bundle = bundles.ensure_champion()
    vectors.encode_missing(bundle.name)
    statistics.refresh_statistics()


class Printed(Progress):
    """Watches a training and prints its stages with their seconds."""

    def __init__(self) -> None:
        self._started, self._steps = time.monotonic(), 0

    def stage(self, name: str) -> None:
        """Print that a stage begins."""
        print(f"  {time.monotonic() - self._started:6.0f} s  {name}", flush=True)

    def step(self, done: int, total: int, loss: float | None = None) -> None:
        """Print every hundredth step."""
        self._steps += 1
        if self._steps % 100 == 0 and loss is not None:
            print(f"  {time.monotonic() - self._started:6.0f} s    step {done}, loss {loss:.4f}", flush=True)

    def figure(self, name: str, value: float) -> None:
        """Print a figure."""
        print(f"            {name} {value:.4f}", flush=True)


def common_options(parser: argparse.ArgumentParser) -> None:
    """Add what both commands understand."""
    parser.add_argument("--out", type=Path, required=True, help="CSV file to write")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=45.0, help="wall time of the whole call")
    parser.add_argument("--save", type=Path, help="folder to keep the trained bundle in")
    parser.add_argument("--load", type=Path, help="folder of a kept bundle: rank with it instead of training")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="threads of the training")
