"""Results that stay as they are while somebody pages through them: kept in the cache, reached by a signed cursor."""

from __future__ import annotations

import hashlib
import logging
import uuid
from dataclasses import dataclass, fields, replace
from typing import Any

from django.core import signing
from django.core.cache import cache

from recommender import serving
from recommender.api.problems import Problem
from recommender.identity import Shopper
from recommender.serving.live_entries import with_live
from recommender.types import Entry, Ranking

logger = logging.getLogger(__name__)

FIRST = "*"
"""The cursor of the first page."""

KEPT_SECONDS = 1_800
_SALT = "recommender.cursor"
BEGIN_AGAIN = f"Begin again with cursor={FIRST}."


@dataclass(frozen=True, slots=True)
class Page:
    """One page of frozen results, and the cursor of the next; empty at the end."""

    ranking: Ranking
    next_cursor: str


def freeze(ranking: Ranking, shopper: Shopper) -> str:
    """Keep the results for this shopper; return the cursor of their first page. Raises `Problem` without a cache."""
    key = uuid.uuid4().hex
    entries = tuple(replace(entry, live=None) for entry in ranking.entries)
    try:
        cache.set(_cache_key(key), (_owner(shopper), replace(ranking, entries=entries)), KEPT_SECONDS)
    except Exception as error:
        logger.exception("the cache does not answer: results cannot be frozen")
        raise Problem("unavailable", "The cache does not answer. Page with offset instead of cursor.") from error
    return _cursor(key, 0)


def page_at(cursor: str, shopper: Shopper, *, limit: int) -> Page:
    """The page that begins at the cursor, with live prices; its list has an id of its own.

    What the shop has hidden since is left out and leaves its position empty. One query for each model. Raises `Problem`
    for a cursor that has expired or is another's.
    """
    try:
        key, start = signing.Signer(salt=_SALT).unsign(cursor).split(".")
    except (signing.BadSignature, ValueError) as error:
        raise Problem("invalid-request", f"cursor: This shop gave out no such cursor. {BEGIN_AGAIN}") from error
    owner, ranking = _stored(key)
    if ranking is None or owner != _owner(shopper):
        raise Problem("expired-cursor", f"The results are kept for {KEPT_SECONDS // 60} minutes. {BEGIN_AGAIN}")
    first, following = int(start), int(start) + limit
    shown = replace(ranking, id=uuid.uuid4(), entries=ranking.entries[first:following])
    shown = with_live(shown, serving.current().shelf, page=shopper, limit=limit)
    return Page(shown, _cursor(key, following) if following < len(ranking.entries) else "")


def _stored(key: str) -> tuple[str, Ranking | None]:
    try:
        stored: Any = cache.get(_cache_key(key))
    except Exception:
        logger.exception("the cache does not answer: frozen results are lost")
        stored = None
    return stored or ("", None)


def _cursor(key: str, start: int) -> str:
    return signing.Signer(salt=_SALT).sign(f"{key}.{start}")


def _cache_key(key: str) -> str:
    """Results as another version of the code keeps them are not there: they could lack a field or have one too many."""
    names = ".".join(field.name for stored in (Ranking, Entry) for field in fields(stored))
    return f"recommender.frozen.{hashlib.blake2s(names.encode(), digest_size=4).hexdigest()}.{key}"


def _owner(shopper: Shopper) -> str:
    """Whose results they are: a cursor that is passed on shows nobody's list to another."""
    return str(shopper.visitor_key or "") or f"user {shopper.user_key or ''}"
