"""Reads a body that was sent without its length, up to the limit, or refuses it: Django would take it for empty."""

from __future__ import annotations

import io
from typing import Any

from django.http import HttpRequest


def has_length(request: HttpRequest, *, limit: int) -> bool:
    """Read a body whose length was not said, such as a chunked one, and note its length; at most limit + 1 bytes.

    Django reads as many bytes as `CONTENT_LENGTH` says, and none where it is missing. False where a body follows whose
    end this server does not tell: RFC 9112, section 6.3, and `wsgi.input_terminated` of gunicorn and mod_wsgi.
    """
    if request.META.get("CONTENT_LENGTH"):
        return True
    source = _source(request)
    if source is None:
        return not request.META.get("HTTP_TRANSFER_ENCODING")
    body = source.read(limit + 1)
    request.META["CONTENT_LENGTH"] = str(len(body))
    request._stream = io.BytesIO(body)
    if hasattr(request, "_body"):
        request._body = body
    return True


def _source(request: Any) -> Any:
    """Where the whole body can be read to its end: under ASGI it was received before; None where there is no end."""
    environ = getattr(request, "environ", None)
    if environ is not None:
        return environ["wsgi.input"] if environ.get("wsgi.input_terminated") else None
    return io.BytesIO(request._body) if hasattr(request, "_body") else request._stream
