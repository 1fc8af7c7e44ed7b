"""Signs a visitor's key: as the cookie of a browser, which only recognises it, and as the token of an app, which opens
the visitor's account."""

from __future__ import annotations

import datetime as dt
import uuid
from functools import lru_cache

from django.conf import settings
from django.core import signing
from django.http import HttpRequest, HttpResponseBase

from recommender import conf

MAX_TOKEN_LENGTH = 200
_COOKIE_SALT = "recommender.visitor.cookie"
_TOKEN_SALT = "recommender.visitor.token"  # noqa: S105 - a salt is no secret


def token_for(visitor_key: uuid.UUID) -> str:
    """The signed form of an app's visitor for `Authorization: Visitor <token>`: it opens the visitor's account."""
    return signing.Signer(salt=_TOKEN_SALT).sign(visitor_key.hex)


def cookie_for(visitor_key: uuid.UUID) -> str:
    """The signed form of a browser's visitor: it recognises the browser, and is no token."""
    return signing.Signer(salt=_COOKIE_SALT).sign(visitor_key.hex)


def visitor_key_from(token: str) -> uuid.UUID | None:
    """The visitor of a token that `POST visitors` gave out; None for anything else. `SECRET_KEY_FALLBACKS` count."""
    return _unsigned(token, _TOKEN_SALT)


def visitor_key_from_cookie(cookie: str) -> uuid.UUID | None:
    """The visitor of a cookie that this shop has set; None for anything else. `SECRET_KEY_FALLBACKS` count."""
    return _unsigned(cookie, _COOKIE_SALT)


def cookie_key_of(request: HttpRequest) -> uuid.UUID | None:
    """The visitor of the browser's cookie if it is genuine, with or without consent."""
    return visitor_key_from_cookie(request.COOKIES.get(conf.get("COOKIE_NAME"), ""))


def _unsigned(signed: str, salt: str) -> uuid.UUID | None:
    if not 32 < len(signed) <= MAX_TOKEN_LENGTH:
        return None
    return _verified(signed, salt, settings.SECRET_KEY, tuple(settings.SECRET_KEY_FALLBACKS))


@lru_cache(maxsize=4096)
def _verified(signed: str, salt: str, key: str, fallback_keys: tuple[bytes | str, ...]) -> uuid.UUID | None:
    """Cached, because a visitor opens several pages, and the signature is the largest part of what a page that is
    recorded pays before its response."""
    try:
        return uuid.UUID(hex=signing.Signer(key=key, salt=salt, fallback_keys=list(fallback_keys)).unsign(signed))
    except (signing.BadSignature, ValueError):
        return None


def set_cookie(response: HttpResponseBase, visitor_key: uuid.UUID, *, is_secure: bool) -> None:
    """Give the browser its visitor's signed key."""
    response.set_cookie(
        conf.get("COOKIE_NAME"),
        cookie_for(visitor_key),
        max_age=dt.timedelta(days=conf.get("COOKIE_AGE_DAYS")),
        secure=is_secure or settings.SESSION_COOKIE_SECURE,
        domain=settings.SESSION_COOKIE_DOMAIN,
        path=settings.SESSION_COOKIE_PATH,
        httponly=True,
        samesite="Lax",
    )


def delete_cookie(response: HttpResponseBase) -> None:
    """Take the visitor's key back."""
    name, path, domain = conf.get("COOKIE_NAME"), settings.SESSION_COOKIE_PATH, settings.SESSION_COOKIE_DOMAIN
    response.delete_cookie(name, path=path, domain=domain, samesite="Lax")
