"""Arrays in files that processes map and share, and changed copies of them that share all other pages."""

from __future__ import annotations

import json
import mmap
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np
import numpy.typing as npt

from recommender.exceptions import SnapshotError

MANIFEST, COLUMNS = "manifest.json", "columns.bin"
ALIGNMENT = 64
"""Bytes: of a cache line, at which each array begins."""

SPARE_SHARE, FEWEST_SPARE = 16, 4_096
"""Rows that may be added to an array before it is copied: a sixteenth of it, and at least so many."""

Number = TypeVar("Number", bound=np.generic)
PackedArrays = dict[str, npt.NDArray[Any]]
"""Arrays by a name that is also the name of a file."""


class _Map(mmap.mmap):
    """The pages of one file, written to by nobody else: what this process writes is its own copy of a page.

    file: kept open to map it again; touched (m,): rows in which the array on this map differs from the file.
    """

    file: int
    offset: int
    touched: npt.NDArray[np.int64]

    def __del__(self) -> None:
        os.close(self.file)


def write_arrays(
    folder: Path, arrays: PackedArrays, facts: Mapping[str, Any], *, growing: Collection[str] = ()
) -> None:
    """Write arrays into one file, those that grow into npy files of their own, and the manifest as the last.

    A growing array has room for rows to come behind it, which takes no space on the disk. Each file is synced. Raises
    OSError.
    """
    written: dict[str, dict[str, Any]] = {}
    with (folder / COLUMNS).open("wb") as file:
        for name, array in arrays.items():
            if name not in growing:
                file.write(bytes(-file.tell() % ALIGNMENT))
                written[name] = {"offset": file.tell(), "shape": list(array.shape), "dtype": array.dtype.str}
                file.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
        file.write(bytes(ALIGNMENT))
        _sync(file)
        n_bytes = file.tell()
    for name in arrays.keys() & set(growing):
        written[name] = _write_growing(folder / f"{name}.npy", arrays[name])
    with (folder / MANIFEST).open("w") as text_file:
        json.dump({**facts, "bytes": n_bytes, "arrays": written}, text_file)
        _sync(text_file)


def _write_growing(path: Path, array: npt.NDArray[Any]) -> dict[str, Any]:
    with path.open("wb") as file:
        np.save(file, np.ascontiguousarray(array), allow_pickle=False)
        file.truncate(file.tell() + _row_bytes(array) * max(FEWEST_SPARE, len(array) // SPARE_SHARE))
        _sync(file)
        n_bytes = file.seek(0, os.SEEK_END)
    return {"bytes": n_bytes, "shape": list(array.shape), "dtype": array.dtype.str}


def _row_bytes(array: npt.NDArray[Any]) -> int:
    return array.itemsize * int(np.prod(array.shape[1:], dtype=np.int64))


def _sync(file: IO[Any]) -> None:
    file.flush()
    os.fsync(file.fileno())


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return what `write_arrays` wrote beside the arrays. Raises SnapshotError."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
    except (OSError, ValueError) as error:
        raise SnapshotError(f"{folder / MANIFEST} cannot be read ({error}).") from error
    if not isinstance(manifest, dict) or not isinstance(manifest.get("arrays"), dict):
        raise SnapshotError(f"{folder / MANIFEST} names no arrays.")
    return manifest


def read_arrays(folder: Path) -> PackedArrays:
    """Map every array of a folder, read-only. Raises SnapshotError for a file that is missing or not as written."""
    manifest = read_manifest(folder)
    try:
        columns = _columns(folder / COLUMNS, manifest["bytes"])
        return {
            name: _column(columns, written) if "offset" in written else _growing(folder / f"{name}.npy", written)
            for name, written in manifest["arrays"].items()
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SnapshotError(f"The arrays in {folder} cannot be mapped ({error}).") from error


def _columns(path: Path, n_bytes: int) -> mmap.mmap:
    with path.open("rb") as file:
        _require_bytes(path, file, n_bytes)
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _column(columns: mmap.mmap, written: Mapping[str, Any]) -> npt.NDArray[Any]:
    return np.ndarray(written["shape"], np.dtype(written["dtype"]), buffer=columns, offset=written["offset"])


def _require_bytes(path: Path, file: IO[bytes], n_bytes: int) -> None:
    present = os.fstat(file.fileno()).st_size
    if present != n_bytes:
        raise ValueError(f"{path.name} has {present} bytes instead of {n_bytes}")


def _growing(path: Path, written: Mapping[str, Any]) -> npt.NDArray[Any]:
    with path.open("rb") as file:
        _require_bytes(path, file, written["bytes"])
        if np.lib.format.read_magic(file) != (1, 0):
            raise ValueError(f"{path.name} is of another npy format")
        shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(file)
        if is_fortran or list(shape) != written["shape"] or dtype.str != written["dtype"]:
            raise ValueError(f"{path.name} has another shape than was written")
        mapped = _map(file.fileno(), offset=file.tell(), touched=np.empty(0, np.int64))
    array = np.ndarray(shape, dtype, buffer=mapped, offset=mapped.offset)
    array.setflags(write=False)
    return array


def _map(file: int, *, offset: int, touched: npt.NDArray[np.int64]) -> _Map:
    mapped = _Map(file, 0, access=mmap.ACCESS_COPY)
    mapped.file, mapped.offset, mapped.touched = os.dup(file), offset, touched
    return mapped


def within(arrays: PackedArrays, part: str) -> PackedArrays:
    """Return the arrays whose name begins with that of a part, by what follows the hyphen."""
    return {name.removeprefix(f"{part}-"): array for name, array in arrays.items() if name.startswith(f"{part}-")}


def put_rows(
    array: npt.NDArray[Number], rows: npt.NDArray[np.integer] | Sequence[int], values: Any, n: int, *, fill: float = 0
) -> npt.NDArray[Number]:
    """Return a copy of n rows with some replaced, and `fill` in those that were added.

    Of an array in a file only the pages with rows that changed since are copied, so the cost is by their number.
    """
    rows, source = np.asarray(rows, np.int64), _map_of(array)
    if source is None or n * _row_bytes(array) > len(source) - source.offset:
        fresh = np.full((n, *array.shape[1:]), fill, array.dtype)
        fresh[: len(array)] = array
    else:
        added = np.arange(len(array), n)
        touched = np.unique(np.concatenate([source.touched, added, rows]))
        again = _map(source.file, offset=source.offset, touched=touched)
        fresh = np.ndarray((n, *array.shape[1:]), array.dtype, buffer=again, offset=again.offset)
        fresh[source.touched] = array[source.touched]
        fresh[added] = fill
    fresh[rows] = values
    fresh.setflags(write=False)
    return fresh


def appended(array: npt.NDArray[Number], values: npt.NDArray[Number]) -> npt.NDArray[Number]:
    """Return the array with values behind it, as `put_rows` does."""
    n = len(array) + len(values)
    return put_rows(array, np.arange(len(array), n), values, n)


def _map_of(array: npt.NDArray[Any]) -> _Map | None:
    return array.base if isinstance(array.base, _Map) else None
