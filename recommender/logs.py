"""Log lines for production: JSON with the id of the request, and one traceback a minute instead of a flood."""

from __future__ import annotations

import datetime as dt
import json
import logging
import re
import threading
import time
import uuid
from contextvars import ContextVar
from types import TracebackType
from typing import Any

FLOOD_SECONDS = 60.0
MOST_MESSAGES = 1_000
"""Kinds of tracebacks that are remembered; a host that logs ready-made texts has any number of them."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9_.:=+/-]{1,128}")

current_headers: ContextVar[dict[str, Any] | None] = ContextVar("recommender_headers", default=None)
"""`META` of the request that this thread or task answers or has just answered, set by the middleware."""


def request_id() -> str:
    """The `X-Request-ID` of the current request, or a new one if the proxy sent none; empty outside of a request."""
    headers = current_headers.get()
    if headers is None:
        return ""
    sent = str(headers.get("HTTP_X_REQUEST_ID", ""))
    if not _REQUEST_ID.fullmatch(sent):
        sent = headers["HTTP_X_REQUEST_ID"] = uuid.uuid4().hex
    return sent


class JSONFormatter(logging.Formatter):
    """One JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": dt.datetime.fromtimestamp(record.created, dt.UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "process": record.process,
            "request_id": request_id(),
            "left_out": getattr(record, "left_out", 0),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps({name: value for name, value in line.items() if value})


class OneTraceback(logging.Filter):
    """Passes one traceback per message, line that raised it and minute. The next one has the number of the others in
    its `left_out`.

    It belongs to a handler: the filter of a logger does not see what the loggers below it log.
    """

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._passed: dict[tuple[str, str, str, str, int], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is written; one without a traceback always is."""
        if not record.exc_info or record.exc_info[0] is None:
            return True
        kind, _, trace = record.exc_info
        key, now = (record.name, str(record.msg), kind.__name__, *_raised_at(trace)), time.monotonic()
        with self._lock:
            passed_at, n_left_out = self._passed.get(key, (float("-inf"), 0))
            if now - passed_at < FLOOD_SECONDS:
                self._passed[key] = (passed_at, n_left_out + 1)
                return False
            if len(self._passed) >= MOST_MESSAGES:
                self._passed.clear()
            self._passed[key] = (now, 0)
        record.left_out = n_left_out
        return True


def _raised_at(trace: TracebackType | None) -> tuple[str, int]:
    """The file and the line at the end of a traceback."""
    if trace is None:
        return "", 0
    while trace.tb_next is not None:
        trace = trace.tb_next
    return trace.tb_frame.f_code.co_filename, trace.tb_lineno
