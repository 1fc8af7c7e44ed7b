"""Frozen dataclasses to JSON and back: columns of a run hold JSON, and rows of every age must stay readable.

Written out rather than left to pydantic, which the app does not need otherwise: what does not fit is left out here
instead of refused.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

Kind = typing.TypeVar("Kind")
Unfit = (KeyError, TypeError, ValueError)
"""What `_converted` raises for a value that is not of its kind."""


def stored_as(*keys: str) -> dict[str, tuple[str, ...]]:
    """Metadata of a field whose key in JSON is not its name: the present key first, then earlier ones."""
    return {"keys": keys}


def as_json(value: Any) -> Any:
    """Return a value as JSON; fields that are None, not a number or empty are left out."""
    if dataclasses.is_dataclass(value):
        entries = ((_keys(field)[0], getattr(value, field.name)) for field in dataclasses.fields(value))
        return {key: as_json(entry) for key, entry in entries if not _is_missing(entry)}
    if isinstance(value, Mapping):
        return {str(key): as_json(entry) for key, entry in value.items()}
    if isinstance(value, tuple | list):
        return [as_json(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read(kind: type[Kind], value: Any) -> Kind:
    """Return stored JSON as a dataclass whose fields all have defaults; whatever does not fit is left out."""
    result: Kind = _converted(kind, value if isinstance(value, Mapping) else {})
    return result


def _keys(field: dataclasses.Field[Any]) -> tuple[str, ...]:
    keys: tuple[str, ...] = field.metadata.get("keys", (field.name,))
    return keys


@functools.cache
def _hints(kind: Any) -> dict[str, Any]:
    """The types of the fields by name; to find them takes longer than to read a value."""
    return typing.get_type_hints(kind)


def _is_missing(value: Any) -> bool:
    return value is None or value == () or value == {} or (isinstance(value, float) and math.isnan(value))


def _converted(kind: Any, value: Any) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return None if value is None else _converted(arguments[0], value)
    if dataclasses.is_dataclass(kind):
        return typing.cast(Any, kind)(**_fields(kind, value))
    if origin in (dict, Mapping):
        return dict(_fitting((key, arguments[1], entry) for key, entry in dict(value).items()))
    if origin is tuple:
        entries = value if isinstance(value, list) else []
        return tuple(entry for _, entry in _fitting(("", arguments[0], entry) for entry in entries))
    if isinstance(kind, type) and issubclass(kind, tuple):  # a named tuple
        hints = _hints(kind)
        return kind(*(_converted(hint, entry) for hint, entry in zip(hints.values(), value, strict=True)))
    return _plain(kind, value)


def _fields(kind: Any, value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise TypeError(value)
    hints = _hints(kind)
    stored = (
        (field.name, hints[field.name], value[key])
        for field in dataclasses.fields(kind)
        if field.init and (key := next((key for key in _keys(field) if key in value), None)) is not None
    )
    return dict(_fitting(stored))


def _fitting(entries: Iterable[tuple[str, Any, Any]]) -> Iterator[tuple[str, Any]]:
    for name, kind, value in entries:
        try:
            yield name, _converted(kind, value)
        except Unfit:
            continue


def _plain(kind: Any, value: Any) -> Any:
    if kind is Any:
        return value
    if kind is bool and isinstance(value, bool | int | float):
        return bool(value)
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if kind in (int, float) and is_number:
        return kind(value)
    if kind is str and isinstance(value, str):
        return value
    raise ValueError(value)
