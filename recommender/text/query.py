"""The one normal form of a query: as it is searched, stored and counted, and as the encoder reads it."""

from __future__ import annotations

import unicodedata

MAX_QUERY_LENGTH = 255
"""Characters; as wide as the columns that store a query."""


def normal_query(text: str) -> str:
    """Return the text in composed characters (Unicode NFC), without control characters, its words one space apart.

    At most `MAX_QUERY_LENGTH` characters. The way in (page, API, event) calls this once; the rest relies on it.
    """
    if not text:
        return ""
    composed = unicodedata.normalize("NFC", text[: MAX_QUERY_LENGTH * 8].encode("utf-8", "replace").decode())
    printable = "".join(" " if unicodedata.category(char) == "Cc" else char for char in composed)
    return " ".join(printable.split())[:MAX_QUERY_LENGTH].rstrip()


def encoder_text(query: str) -> str:
    """Return a query without the case of its letters: what the encoder reads, and the key under which it is cached."""
    return " ".join(query.casefold().split())
