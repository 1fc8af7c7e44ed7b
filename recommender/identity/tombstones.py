"""Names persons by keyed hashes only: in histories, and to remember who was erased until they consent again.

The key is the shop's `SECRET_KEY`, or the newest of `SUBJECT_KEYS`. Older keys are tried too, so that a key can be
replaced without bringing anybody back.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Collection, Iterable, Iterator

from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.crypto import salted_hmac

from recommender import conf
from recommender.identity.users import own_key
from recommender.models import Tombstone

_SALT = "recommender.tombstone"
CHUNK_SIZE = 400
SUBJECT_LENGTH = 16
"""Hexadecimal digits of a hash in a history: among a million persons, two share them with a probability of 3e-8."""


def subject_keys() -> list[str | bytes]:
    """The secrets of keyed hashes, the newest first."""
    configured: list[str | bytes] = list(conf.get("SUBJECT_KEYS"))
    return configured or [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]


def digests_of(name: str) -> list[str]:
    """The keyed hashes of a subject under every key, that of the newest first: HMAC-SHA256, 64 hexadecimal digits."""
    return [salted_hmac(_SALT, name, secret=key, algorithm="sha256").hexdigest() for key in subject_keys()]


def name_of_visitor(key: uuid.UUID) -> str:
    """What is hashed for a visitor."""
    return f"visitor:{key.hex}"


def name_of_user(user_key: str) -> str:
    """What is hashed for a user."""
    return f"user:{user_key}"


def names_of(visitor_keys: Iterable[uuid.UUID], user_keys: Iterable[str]) -> list[str]:
    """What is hashed for visitors and users, a user's own visitor among them."""
    users = sorted(set(user_keys))
    keys = sorted({*visitor_keys, *map(own_key, users)})
    return [*map(name_of_visitor, keys), *map(name_of_user, users)]


def subjects_of(*, visitor_key: uuid.UUID | None = None, user_key: str | None = None) -> list[str]:
    """What a history calls a person, under every key, that of the newest first: it names nobody who has no key."""
    name = name_of_user(user_key) if user_key else name_of_visitor(visitor_key) if visitor_key else ""
    return [digest[:SUBJECT_LENGTH] for digest in digests_of(name)]


def bury(names: Collection[str], *, at: dt.datetime | None = None) -> int:
    """Remember that these subjects were erased; return how many. One statement for each 400."""
    at = at or timezone.now()
    stones = [Tombstone(digest=digest, erased_at=at) for digest in sorted(digests_of(name)[0] for name in names)]
    Tombstone.objects.bulk_create(
        stones,
        batch_size=CHUNK_SIZE,
        update_conflicts=True,
        unique_fields=["digest"],
        update_fields=["erased_at", "lifted_at", "filed_at"],
    )
    return len(stones)


def lift(names: Collection[str]) -> int:
    """A new consent: let these subjects be recorded again; return how many were erased. One statement for each 400."""
    lifted = {"lifted_at": timezone.now(), "filed_at": None}
    return sum(standing(digests).update(**lifted) for digests in _chunks(names))


def erased(names: Collection[str]) -> set[str]:
    """Those of these names that were erased and have not consented since. One query for each 400."""
    by_digest = {digest: name for name in names for digest in digests_of(name)}
    stones = (standing(digests).values_list("digest", flat=True) for digests in _chunks(names))
    return {by_digest[digest] for some in stones for digest in some}


def standing(digests: Collection[str]) -> models.QuerySet[Tombstone]:
    """The tombstones of these hashes that no new consent has lifted."""
    return Tombstone.objects.filter(digest__in=digests, lifted_at=None)


def _chunks(names: Collection[str]) -> Iterator[list[str]]:
    digests = sorted({digest for name in names for digest in digests_of(name)})
    for start in range(0, len(digests), CHUNK_SIZE):
        yield digests[start : start + CHUNK_SIZE]
