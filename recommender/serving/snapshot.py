"""The shelf as files that all web processes of a machine map and share: written by one, read in milliseconds.

A snapshot is only a cache of SQL. It is a folder that is written beside the others and then renamed, and never changed;
what has changed since is applied by each process, as to a shelf that was read from SQL.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import logging
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Collection, Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from recommender import conf
from recommender.exceptions import SnapshotError
from recommender.features.neighbours import Neighbours
from recommender.features.persona import cache_item_terms, item_terms_arrays
from recommender.features.shop_state import NEIGHBOUR_KINDS, ShopState
from recommender.packed import (
    CodedTexts,
    PackedArrays,
    PackedTexts,
    TextIndex,
    read_arrays,
    read_manifest,
    within,
    write_arrays,
)
from recommender.retrieval.floors import Floors
from recommender.retrieval.lexical.index import LexicalIndex
from recommender.retrieval.lexical.wording import WordTable
from recommender.serving.columns import ActiveTexts, attributes_from, margins_from
from recommender.serving.past_queries import QueryTables, Understanding
from recommender.serving.shelf import (
    CODED_COLUMNS,
    DECODED_COLUMNS,
    TEXT_COLUMNS,
    ItemVectors,
    LastRefresh,
    Shelf,
    empty_shelf,
)
from recommender.tables import ItemTable
from recommender.text.intent import LabelledTitles
from recommender.text.intent.packing import model_arrays, model_from_arrays
from recommender.types import FloatArray

if sys.platform != "win32":
    import fcntl

logger = logging.getLogger(__name__)

N_RETAINED = 2
"""The newest, and the one before it in case the newest is damaged."""

UNFINISHED, LONGEST_WRITING_SECONDS = ".writing-", 3_600.0
"""How the folder of a snapshot begins that is being written, and how long that takes at most."""

LONGEST_WAIT_SECONDS = 300.0
"""How long a process waits for another that writes the snapshot it needs, before it reads SQL itself."""

STATE_COLUMNS = ("counts", "popularity", "last_event_at", "first_event_at")
ITEM_COLUMNS = ("price", "category", "first_seen", "active")
SHELF_COLUMNS = ("available", "stamps", "ids")
GROWING = (
    "vectors",
    *(f"wording-{name}" for name in ("word", "gram")),
    *(f"terms-{name}" for name in ("term", "weight")),
)
"""Arrays of which each process holds a copy with its own changes, which shares all other pages."""

WITHOUT_BUNDLE = "words"
NO_PERSON = "-"

CODE = (
    "packed",
    "text",
    "retrieval/lexical",
    "retrieval/floors.py",
    "features/persona.py",
    "features/shop_state.py",
    "serving/columns.py",
    "serving/loading.py",
    "serving/records.py",
    "serving/shelf.py",
    "serving/snapshot.py",
)
"""What decides the content of the files: a snapshot that other code wrote is not read."""


def folder_of(bundle: str) -> Path:
    """The folder of one bundle's snapshots. They belong to a bundle, as it may move the vectors of its encoder."""
    return conf.directory() / "shelf" / (bundle or WITHOUT_BUNDLE)


def newest(bundle: str) -> Path | None:
    """The newest snapshot of a bundle, whether it can be read or not."""
    return next(iter(_all(folder_of(bundle))), None)


def _all(folder: Path) -> list[Path]:
    """The finished snapshots in a folder, newest first."""
    try:
        return sorted((path for path in folder.iterdir() if path.name[0].isdigit()), reverse=True)
    except OSError:
        return []


def read(bundle: str, encoder_hash: str, item_vectors: ItemVectors | None = None) -> Shelf | None:
    """The shelf of the newest snapshot that can be read, as it was when it was written; None where none can.

    What is wrong with a damaged one is logged.
    """
    for path in _all(folder_of(bundle)):
        try:
            return read_from(path, encoder_hash, item_vectors)
        except SnapshotError as error:
            logger.warning("a snapshot of the shelf is not read, an older one or the database serves: %s", error)
    return None


def read_from(path: Path, encoder_hash: str, item_vectors: ItemVectors | None = None) -> Shelf:
    """The shelf of one snapshot. Raises SnapshotError."""
    facts = read_manifest(path)
    if facts.get("code") != code_version() or facts.get("encoder_hash") != encoder_hash:
        raise SnapshotError(f"{path} was written by another version of the code or for another encoder.")
    arrays = read_arrays(path)
    try:
        return replace(_shelf(arrays, facts, item_vectors), origin=path.name)
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise SnapshotError(f"{path} is no shelf ({type(error).__name__}: {error}).") from error


def write(shelf: Shelf, bundle: str) -> Path:
    """Write a shelf, and remove older snapshots of the bundle. Raises OSError, as on a full or a read-only disk."""
    if shelf.last_refresh is None:
        raise ValueError("A shelf that was built in memory has no place in SQL to go on from.")
    folder = folder_of(bundle)
    conf.make_directory()
    folder.mkdir(parents=True, exist_ok=True)
    facts = {
        "code": code_version(),
        "encoder_hash": shelf.encoder_hash,
        "version": shelf.version,
        "n_items": len(shelf),
        "at": shelf.last_refresh.at.isoformat(),
        "erased_at": _erased_at(shelf.query_tables),
        "state_at": shelf.state.at,
        "category_names": list(shelf.items.category_names),
        "languages": sorted(shelf.lexical.parser.languages),
        "floors": [getattr(shelf.floors, name) for name in Floors.__slots__],
        "n_vectors": shelf.n_vectors,
    }
    temporary = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=folder))
    try:
        write_arrays(temporary, _arrays(shelf), facts, growing=GROWING)
        temporary.chmod(0o755)  # a worker may run as another user than the web processes
        path = folder / f"{time.time_ns():020d}"
        temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    for old in _all(folder)[N_RETAINED:]:
        shutil.rmtree(old, ignore_errors=True)
    return path


def remove_obsolete(bundles: Collection[str], erased_at: dt.datetime | None) -> None:
    """Remove the snapshots of all bundles but these, those from before the last person was erased, and what a process
    that was killed left half written."""
    folders = {folder_of(bundle) for bundle in bundles}
    for folder in (conf.directory() / "shelf").glob("*"):
        if folder not in folders:
            shutil.rmtree(folder, ignore_errors=True)
            continue
        for path in [*_all(folder), *folder.glob(f"{UNFINISHED}*")]:
            if _is_obsolete(path, _written_moment(erased_at)):
                shutil.rmtree(path, ignore_errors=True)


def _is_obsolete(path: Path, erased_at: str) -> bool:
    try:
        if path.name.startswith(UNFINISHED):
            return time.time() - path.stat().st_mtime > LONGEST_WRITING_SECONDS
        return bool(read_manifest(path).get("erased_at") != erased_at)
    except (OSError, SnapshotError):  # a damaged one is replaced by whoever writes the next
        return False


@contextlib.contextmanager
def lock(bundle: str) -> Iterator[bool]:
    """Hold the right to write the snapshots of a bundle; False where it cannot be had."""
    folder = folder_of(bundle)
    try:
        conf.make_directory()
        folder.mkdir(parents=True, exist_ok=True)
        file = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError:
        yield False
        return
    try:
        yield _is_locked(file)
    finally:
        os.close(file)


def _is_locked(file: int) -> bool:
    if sys.platform == "win32":
        return False
    end = time.monotonic() + LONGEST_WAIT_SECONDS
    while time.monotonic() < end:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            time.sleep(0.2)
        except OSError:
            return False
    return False


@lru_cache(maxsize=1)
def code_version() -> str:
    """A hash of the code that decides what a snapshot holds."""
    whole, root = hashlib.blake2b(np.__version__.encode(), digest_size=8), Path(__file__).parent.parent
    for name in CODE:
        path = root / name
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            whole.update(file.read_bytes())
    return whole.hexdigest()


def _erased_at(tables: QueryTables) -> str:
    return _written_moment(tables.stamp[-1][1] if tables.stamp else None)


def _written_moment(moment: dt.datetime | None) -> str:
    return NO_PERSON if moment is None else moment.isoformat()


def _arrays(shelf: Shelf) -> PackedArrays:
    items, state = shelf.items, shelf.state
    texts = {"item_ids": items.ids, "texts": items.texts, **{name: getattr(shelf, name) for name in TEXT_COLUMNS}}
    texts |= {name: getattr(shelf, name).texts for name in DECODED_COLUMNS}
    coded: dict[str, CodedTexts] = {name: CodedTexts.of(getattr(shelf, name)) for name in CODED_COLUMNS}
    parts: dict[str, PackedArrays] = {
        "index": shelf.index.arrays(),
        "lexical": shelf.lexical.arrays(),
        "wording": shelf.wording.arrays(),
        "terms": item_terms_arrays(items),
        "state": {name: getattr(state, name) for name in STATE_COLUMNS},
        **{name: PackedTexts.of(column).arrays() for name, column in texts.items()},
        **{name: {"codes": one.codes, **PackedTexts.of(one.names).arrays()} for name, one in coded.items()},
        **{kind: _packed_neighbours(getattr(state, kind)) for kind in NEIGHBOUR_KINDS},
    }
    if shelf.understanding is not None:
        parts["understanding"] = model_arrays(shelf.understanding.model)
        parts["understanding"]["hashes"] = np.array(sorted(shelf.understanding.query_hashes), np.int64)
    return {
        **{f"{part}-{name}": array for part, arrays in parts.items() for name, array in arrays.items()},
        **{name: getattr(items, name) for name in ITEM_COLUMNS},
        **{name: getattr(shelf, name) for name in SHELF_COLUMNS},
        **({} if shelf.vectors is None else {"vectors": shelf.vectors}),
    }


def _shelf(arrays: PackedArrays, facts: dict[str, Any], item_vectors: ItemVectors | None) -> Shelf:
    vectors: FloatArray | None = arrays.get("vectors")
    columns, items = _columns(arrays), _items(arrays, facts)
    shelf = replace(
        empty_shelf(),
        items=items,
        index=TextIndex.from_arrays(within(arrays, "index")),
        lexical=LexicalIndex.from_arrays(within(arrays, "lexical"), frozenset(facts["languages"])),
        wording=WordTable.from_arrays(within(arrays, "wording")),
        vectors=vectors,
        counted=(vectors, int(facts["n_vectors"])),
        state=_state(arrays, float(facts["state_at"])),
        encoder_hash=facts["encoder_hash"],
        item_vectors=item_vectors,
        last_refresh=LastRefresh(dt.datetime.fromisoformat(facts["at"])),
        floors=Floors(*facts["floors"]),
        version=facts["version"],
        brand=columns["brands"].codes,
        brand_names=columns["brands"].names,
        query_tables=QueryTables(stamp=((-1, None), (-1, None), (0, _moment(facts["erased_at"])))),
        available=arrays["available"],
        stamps=arrays["stamps"],
        ids=arrays["ids"],
        **columns,
    )
    _require_rows(shelf, int(facts["n_items"]))
    cache_item_terms(items, within(arrays, "terms"))
    return replace(shelf, understanding=_understanding(shelf, within(arrays, "understanding")))


def _columns(arrays: PackedArrays) -> dict[str, Any]:
    columns: dict[str, Any] = {name: PackedTexts.from_arrays(within(arrays, name)) for name in TEXT_COLUMNS}
    attributes, margins = (PackedTexts.from_arrays(within(arrays, name)) for name in DECODED_COLUMNS)
    columns |= {"attributes": attributes_from(attributes), "margins": margins_from(margins)}
    return columns | {name: _coded(within(arrays, name)) for name in CODED_COLUMNS}


def _items(arrays: PackedArrays, facts: dict[str, Any]) -> ItemTable:
    ids, texts = (PackedTexts.from_arrays(within(arrays, name)) for name in ("item_ids", "texts"))
    price, category, first_seen, active = (arrays[name] for name in ITEM_COLUMNS)
    return ItemTable(ids, texts, price, category, tuple(facts["category_names"]), first_seen, active)


def _require_rows(shelf: Shelf, n_items: int) -> None:
    columns = [getattr(shelf, name) for name in (*TEXT_COLUMNS, *CODED_COLUMNS, *DECODED_COLUMNS, *SHELF_COLUMNS)]
    columns += [shelf.index, shelf.items.texts, shelf.lexical, shelf.wording, shelf.state.counts]
    columns += [getattr(shelf.items, name) for name in ITEM_COLUMNS]
    columns += [shelf.lexical.postings.is_replaced, *([] if shelf.vectors is None else [shelf.vectors])]
    if any(len(column) != n_items for column in columns):
        raise ValueError(f"not every column has {n_items} rows")


def _understanding(shelf: Shelf, arrays: PackedArrays) -> Understanding | None:
    if not arrays:
        return None
    items, titles = shelf.items, ActiveTexts(shelf.titles, shelf.items.active)
    catalogue = LabelledTitles(titles, shelf.brands, items.category, items.category_names)
    fitted = model_from_arrays(arrays), frozenset(arrays["hashes"].tolist())
    return Understanding(catalogue, (), shelf.lexical.phrases, fitted)


def _state(arrays: PackedArrays, at: float) -> ShopState:
    counts, popularity, last, first = (arrays[f"state-{name}"] for name in STATE_COLUMNS)
    kinds = {kind: _neighbours(within(arrays, kind)) for kind in NEIGHBOUR_KINDS}
    return ShopState(at, counts, popularity, last, first, **kinds)


def _coded(arrays: PackedArrays) -> CodedTexts:
    return CodedTexts(arrays["codes"], tuple(PackedTexts.from_arrays(arrays)))


def _packed_neighbours(neighbours: Neighbours) -> PackedArrays:
    public = {} if neighbours.is_public is None else {"is_public": neighbours.is_public}
    return {"start": neighbours.start, "item": neighbours.item, "score": neighbours.score, **public}


def _neighbours(arrays: PackedArrays) -> Neighbours:
    return Neighbours(arrays["start"], arrays["item"], arrays["score"], arrays.get("is_public"))


def _moment(written: str) -> dt.datetime | None:
    return None if written == NO_PERSON else dt.datetime.fromisoformat(written)
