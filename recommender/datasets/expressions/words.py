"""Small expressions that several others are made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ibis
import numpy.typing as npt
from ibis.expr import types as ir


def coded(column: ir.Value, codes: Mapping[str, int]) -> ir.Value:
    """The number of each text, null for others."""
    return ibis.cases(*((column == name, code) for name, code in codes.items()))


def number_of(column: ir.Value) -> ir.Value:
    """A number, -1 for null."""
    return ibis.coalesce(column, -1).cast("int64")


def coded_by(kind: ir.Value, values: npt.NDArray[Any]) -> ir.Value:
    """The value of each type, from an array in the order of `EVENT_CODES`."""
    return ibis.cases(*((kind == code, value) for code, value in enumerate(values.tolist())))


def position(group: list[str], order: list[Any]) -> ir.Value:
    """How many of the same group come before each row."""
    return ibis.row_number().over(ibis.window(group_by=group, order_by=order))
