"""Checks every body before it is used: only JSON that Python and PostgreSQL can hold gets through."""

from __future__ import annotations

import json
import math
import re
import zlib
from collections.abc import Mapping
from typing import IO, Any, NoReturn

from rest_framework.parsers import BaseParser

from recommender import conf
from recommender.api.problems import Problem

MAX_DEPTH = 32
"""Deepest nesting of lists and objects; an event needs three levels."""

LARGEST_INTEGER = 2**63 - 1
"""What a database column and every JSON library of a mobile platform can hold."""

UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
"""NUL, which PostgreSQL cannot store, and lone surrogates, which UTF-8 cannot encode."""


class GuardedJSONParser(BaseParser):
    """Reads `application/json` of at most `RECOMMENDER["MAX_BODY_BYTES"]` bytes; refuses what would break later."""

    media_type = "application/json"

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        """Return the decoded body. Raises `Problem`: 413 when it is too large, 400 when it is not sound JSON."""
        limit = conf.get("MAX_BODY_BYTES")
        request = (parser_context or {}).get("request")
        declared = int(request.META.get("CONTENT_LENGTH") or 0) if request is not None else 0
        body = stream.read(limit + 1) if declared <= limit else b""
        if request is not None and len(body) <= limit:
            body = _unpacked(body, request.META.get("HTTP_CONTENT_ENCODING", ""), limit)
        if declared > limit or len(body) > limit:
            raise Problem("too-large", f"The body may have at most {limit} bytes. Send the events in several calls.")
        return decode(body)


def _unpacked(body: bytes, encoding: str, limit: int) -> bytes:
    """The body without gzip, at most a byte over the limit. Raises `Problem` for other encodings or broken gzip."""
    if encoding.strip().lower() in ("", "identity"):
        return body
    if encoding.strip().lower() not in ("gzip", "x-gzip"):
        raise Problem("unsupported-media-type", f"Send the body as it is, or with gzip, not {encoding[:40]}.")
    unpacking = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        unpacked = unpacking.decompress(body, limit + 1)
    except zlib.error as error:
        raise Problem("bad-request", f"The body is not gzip, as Content-Encoding says: {error}.") from error
    if len(unpacked) <= limit and (not unpacking.eof or unpacking.unused_data):
        raise Problem("bad-request", "The gzip of the body is cut off, or something follows it.")
    return unpacked


def decode(body: bytes) -> Any:
    """Decode JSON. Raises `Problem` ("malformed-json") for everything that RFC 8259 or this API does not allow."""
    try:
        decoded = json.loads(body.decode("utf-8-sig"), parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        raise Problem("malformed-json", f"The body must be UTF-8; byte {error.start} is not.") from error
    except json.JSONDecodeError as error:
        position = f"line {error.lineno}, column {error.colno}"
        raise Problem("malformed-json", f"The body is not JSON: {error.msg} at {position}.") from error
    except RecursionError as error:
        raise Problem("malformed-json", _too_deep()) from error
    except ValueError as error:  # an integer of thousands of digits: CPython's limit on int()
        raise Problem("malformed-json", _out_of_range()) from error
    _check(decoded)
    return decoded


def _check(decoded: Any) -> None:
    """Look at every value without recursion."""
    pending: list[tuple[Any, int]] = [(decoded, 0)]
    while pending:
        value, depth = pending.pop()
        if isinstance(value, str):
            _check_text(value)
        elif isinstance(value, int | float):
            _check_number(value)
        elif isinstance(value, dict | list):
            if depth == MAX_DEPTH:
                raise Problem("malformed-json", _too_deep())
            if isinstance(value, dict):
                pending.extend((key, depth) for key in value)
                value = value.values()
            pending.extend((inner, depth + 1) for inner in value)


def _check_text(value: str) -> None:
    if UNSTORABLE.search(value):
        raise Problem("malformed-json", "A string has a NUL character or a lone surrogate (half of a \\u pair).")


def _check_number(value: float) -> None:
    if (isinstance(value, float) and not math.isfinite(value)) or abs(value) > LARGEST_INTEGER:
        raise Problem("malformed-json", _out_of_range())


def _refuse_constant(name: str) -> NoReturn:
    raise Problem("malformed-json", f"{name} is not a JSON number. Leave the field out or send null.")


def _too_deep() -> str:
    return f"The body is nested more than {MAX_DEPTH} levels deep."


def _out_of_range() -> str:
    return f"A number is beyond {LARGEST_INTEGER}, the largest that is accepted."
