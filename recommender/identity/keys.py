"""Keys of servers and apps: made once, stored as a hash, rotated with an overlap, and revoked at once."""

from __future__ import annotations

import datetime as dt
import hashlib
import secrets
from collections.abc import Collection, Sequence
from typing import Any

from django.db.models import Q
from django.utils import timezone

from recommender.exceptions import ConfigurationError
from recommender.models import ApiKey, Scope

PUBLISHABLE_SCOPES = (Scope.EVENTS.value, Scope.LISTS.value)
OVERLAP = dt.timedelta(days=1)
"""How long the previous key counts after a rotation, unless it is said otherwise."""

MAX_KEY_LENGTH = 100
_PREFIXES = {ApiKey.Kind.PUBLISHABLE: "pk", ApiKey.Kind.SECRET: "sk"}
_PREFIX_LENGTH = len("sk_") + 8
_USED_EVERY = dt.timedelta(hours=1)


def create_key(name: str, *, scopes: Sequence[str] = (), is_secret: bool, user: Any = None) -> tuple[ApiKey, str]:
    """Make a key; return its row and the key itself, which is never shown again.

    A publishable key may be read by everybody and always has the same scopes. Raises ConfigurationError for a secret
    key without a scope, or for a scope that there is not.
    """
    chosen = _scopes(scopes) if is_secret else list(PUBLISHABLE_SCOPES)
    kind = ApiKey.Kind.SECRET if is_secret else ApiKey.Kind.PUBLISHABLE
    prefix = f"{_PREFIXES[kind]}_{secrets.token_hex(4)}"
    key = _new_secret(prefix)
    row = ApiKey.objects.create(
        prefix=prefix, kind=kind, name=name, scopes=chosen, secret_hash=_hash_of(key), created_by=user
    )
    return row, key


def rotate_key(row: ApiKey, *, overlap: dt.timedelta = OVERLAP) -> str:
    """Replace a key; return the new one, which begins as the old one. Raises ConfigurationError if it is revoked."""
    if row.revoked_at is not None:
        raise ConfigurationError(f"The key {row.prefix} is revoked. Make a new one.")
    key = _new_secret(row.prefix)
    row.previous_hash, row.previous_until = row.secret_hash, timezone.now() + overlap
    row.secret_hash = _hash_of(key)
    row.save(update_fields=["previous_hash", "previous_until", "secret_hash"])
    return key


def revoke_key(row: ApiKey) -> None:
    """End a key at once, the previous one too."""
    row.revoked_at = row.revoked_at or timezone.now()
    row.save(update_fields=["revoked_at"])


def valid_key(sent: str) -> ApiKey | None:
    """The row of a key that counts; None for anything else. One query, and once an hour a statement to note the use."""
    if not _PREFIX_LENGTH < len(sent) <= MAX_KEY_LENGTH:
        return None
    row = ApiKey.objects.filter(prefix=sent[:_PREFIX_LENGTH], revoked_at__isnull=True).first()
    if row is None or not _is_one_of(row, _hash_of(sent)):
        return None
    now = timezone.now()
    if row.last_used_at is None or now - row.last_used_at > _USED_EVERY:
        unnoted = Q(last_used_at__isnull=True) | Q(last_used_at__lt=now - _USED_EVERY)
        ApiKey.objects.filter(unnoted, pk=row.pk).update(last_used_at=now)
    return row


def _is_one_of(row: ApiKey, sent_hash: str) -> bool:
    if secrets.compare_digest(row.secret_hash, sent_hash):
        return True
    is_overlapping = row.previous_until is not None and timezone.now() < row.previous_until
    return is_overlapping and secrets.compare_digest(row.previous_hash, sent_hash)


def _new_secret(prefix: str) -> str:
    return f"{prefix}_{secrets.token_urlsafe(32)}"


def _hash_of(key: str) -> str:
    """A plain hash: a key has 256 random bits, and none of them can be guessed."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def _scopes(scopes: Collection[str]) -> list[str]:
    unknown = sorted(set(scopes) - set(Scope.values))
    if unknown or not scopes:
        fault = f"There is no scope {unknown[0]!r}." if unknown else "A secret key needs a scope."
        raise ConfigurationError(f"{fault} The scopes are {', '.join(Scope.values)}.")
    return [scope for scope in Scope.values if scope in scopes]
