"""The tokens of apps: one that is sent with every call and lasts an hour, and one that only gets the next."""

from __future__ import annotations

import datetime as dt
import time
import uuid
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from django.contrib.auth import get_user_model
from django.core import signing
from django.core.exceptions import ValidationError
from django.db import router
from django.db.models import Q, QuerySet
from django.utils import timezone
from django.utils.crypto import salted_hmac

from recommender import conf
from recommender.exceptions import TokenEnded
from recommender.identity.cookies import unsigned
from recommender.models import AppToken, Scope, Visitor
from recommender.models.connections import writing

TOKEN_LIFETIME = dt.timedelta(hours=1)
"""Of the token that is sent with every call. A refresh token whose answer was lost may be sent again for as long."""

FIRST_SCOPES = tuple(scope.value for scope in Scope)
UNLIMITED_UNTIL = dt.datetime(2027, 6, 1, tzinfo=dt.UTC)
"""Tokens without an expiry, which apps got before there was one, count until this day."""

BEGIN_AGAIN = "Ask for a new one with POST visitors."
_SALT = "recommender.visitor.token"
_TIMED_SALT = "recommender.visitor.token.timed"
_REFRESH_SALT = "recommender.visitor.token.refresh"


@dataclass(frozen=True, slots=True)
class TokenClaims:
    """What a genuine token says. `expires_at` is in Unix seconds; a token of the first kind says none."""

    visitor_key: uuid.UUID
    token_key: uuid.UUID
    scopes: frozenset[str]
    expires_at: int | None

    @property
    def is_unlimited(self) -> bool:
        return self.expires_at is None

    def has_expired(self) -> bool:
        until = UNLIMITED_UNTIL.timestamp() if self.expires_at is None else self.expires_at
        return time.time() >= until


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """What an app gets: the token, the token that gets the next, and until when each counts."""

    row: AppToken
    token: str
    expires_at: dt.datetime
    refresh_token: str


def issue(visitor: Visitor, *, name: str = "", scopes: Collection[str] = FIRST_SCOPES) -> IssuedToken:
    """Give an installation of an app its tokens. One statement."""
    expires_at = timezone.now() + _refresh_lifetime()
    return _issued(AppToken.objects.create(visitor=visitor, name=name, scopes=sorted(scopes), expires_at=expires_at))


def token_for(
    visitor_key: uuid.UUID,
    *,
    token_key: uuid.UUID | None = None,
    scopes: Collection[str] = FIRST_SCOPES,
    until: dt.datetime | None = None,
) -> str:
    """A token for `Authorization: Visitor <token>`, of an hour; it opens what its scopes name. No query."""
    until = until or timezone.now() + TOKEN_LIFETIME
    signed_claims = (visitor_key.hex, (token_key or visitor_key).hex, str(int(until.timestamp())), "+".join(scopes))
    content = ".".join(signed_claims)
    return signing.Signer(salt=_TIMED_SALT).sign(content)


def claims_of(token: str) -> TokenClaims | None:
    """What a token of this shop says, also an expired one; None for anything else. `SECRET_KEY_FALLBACKS` count."""
    content = unsigned(token, _TIMED_SALT)
    if content is not None:
        visitor, key, until, scopes = content.split(".")
        return TokenClaims(uuid.UUID(visitor), uuid.UUID(key), frozenset(scopes.split("+")), int(until))
    content = unsigned(token, _SALT)
    if content is None:
        return None
    visitor_key = uuid.UUID(content)
    return TokenClaims(visitor_key, visitor_key, frozenset(FIRST_SCOPES), None)


def visitor_key_from(token: str) -> uuid.UUID | None:
    """The visitor of a token that has not expired; None for anything else. No query: a revoked token has a row."""
    claims = claims_of(token)
    return claims.visitor_key if claims is not None and not claims.has_expired() else None


def refresh(refresh_token: str) -> IssuedToken:
    """Give out the next pair. Raises `TokenEnded`; a refresh token that was used before ends all that followed from it.

    Source: RFC 9700, section 4.14.2. Two queries and one statement, one more for a signed-in app.
    """
    content = unsigned(refresh_token, _REFRESH_SALT)
    if content is None:
        raise TokenEnded(f"This shop gave out no such refresh token. {BEGIN_AGAIN}")
    key, generation = content.split(".")
    with writing(using=router.db_for_write(AppToken)):
        row = AppToken.objects.select_for_update().filter(key=uuid.UUID(key)).first()
        fault = _refresh_fault(row, int(generation))
        if row is not None and fault:
            revoke(AppToken.objects.filter(pk=row.pk))
        elif row is not None:
            _advance(row, int(generation))
    if row is None or fault:
        raise TokenEnded(f"{fault} {BEGIN_AGAIN}")
    return _issued(row)


def revoke(tokens: QuerySet[AppToken]) -> int:
    """End tokens at once; return how many counted until now. One statement."""
    return tokens.filter(revoked_at__isnull=True).update(revoked_at=timezone.now())


def revoke_current(claims: TokenClaims) -> None:
    """End the token that a call came with, also one of the first kind, which has no row before it is revoked."""
    if not AppToken.objects.filter(key=claims.token_key).exists():
        visitor = Visitor.objects.filter(key=claims.visitor_key).first()
        if visitor is None:
            return
        AppToken.objects.create(key=claims.token_key, visitor=visitor, expires_at=UNLIMITED_UNTIL)
    revoke(AppToken.objects.filter(key=claims.token_key))


def tokens_of(*, visitor_key: uuid.UUID | None, user_key: str | None) -> QuerySet[AppToken]:
    """The tokens that count for a visitor and for everything a user is signed in with."""
    who = Q(visitor__key=visitor_key) if visitor_key else Q(pk__in=())
    if user_key:
        who |= Q(user_key=user_key)
    return AppToken.objects.filter(who, revoked_at__isnull=True, expires_at__gt=timezone.now()).order_by(
        "-refreshed_at"
    )


def end_with_session(request: Any, claims: TokenClaims | None) -> None:
    """End what a sign-out ends: the token that it came with, and those whose user was signed in by this session."""
    if claims is not None:
        revoke_current(claims)
    if own_session := session_hash(request):
        revoke(AppToken.objects.filter(session_hash=own_session))


def session_hash(request: Any) -> str:
    """Stands for the browser's session in the row of a token; empty without one."""
    key = getattr(getattr(request, "session", None), "session_key", None)
    return salted_hmac("recommender.token.session", key, algorithm="sha256").hexdigest() if key else ""


def account_hash(user: Any) -> str:
    """Changes with the user's password, as Django's sessions do; empty for users without one."""
    password_hash = getattr(user, "get_session_auth_hash", None)
    if password_hash is None:
        return ""
    return salted_hmac("recommender.token.account", password_hash(), algorithm="sha256").hexdigest()


def _issued(row: AppToken) -> IssuedToken:
    until = timezone.now().replace(microsecond=0) + TOKEN_LIFETIME
    token = token_for(row.visitor.key, token_key=row.key, scopes=row.scopes, until=until)
    refresh_token = signing.Signer(salt=_REFRESH_SALT).sign(f"{row.key.hex}.{row.generation}")
    return IssuedToken(row, token, until, refresh_token)


def _refresh_fault(row: AppToken | None, generation: int) -> str:
    """Why a refresh token gets nothing; empty if it gets the next."""
    now = timezone.now()
    if row is None or row.revoked_at is not None or row.expires_at <= now:
        return "The refresh token has expired or was revoked."
    is_lost_answer = generation == row.generation - 1 and now - row.refreshed_at <= TOKEN_LIFETIME
    if generation != row.generation and not is_lost_answer:
        return "The refresh token was used before: whoever has a copy of it is signed out."
    if row.user_key and not _is_same_account(row):
        return "The account was closed, or its password was changed."
    return ""


def _is_same_account(row: AppToken) -> bool:
    """May the user still sign in, by the password of then?"""
    try:
        user = get_user_model()._default_manager.filter(pk=row.user_key).first()
    except (ValueError, ValidationError):  # keys of a user model of before
        return False
    return user is not None and user.is_active and account_hash(user) == row.account_hash


def _advance(row: AppToken, generation: int) -> None:
    """Let the next refresh token count; one whose answer was lost gets the same again."""
    if generation == row.generation:
        row.generation += 1
        row.refreshed_at = timezone.now()
        row.expires_at = row.refreshed_at + _refresh_lifetime()
        row.save(update_fields=["generation", "refreshed_at", "expires_at"])


def _refresh_lifetime() -> dt.timedelta:
    return dt.timedelta(days=conf.get("TOKEN_DAYS"))
