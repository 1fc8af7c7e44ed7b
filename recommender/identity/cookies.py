"""Signs a visitor's key as the cookie of a browser, which recognises the browser and opens nothing else."""

from __future__ import annotations

import datetime as dt
import uuid
from functools import lru_cache

from django.conf import settings
from django.core import signing
from django.http import HttpRequest, HttpResponseBase

from recommender import conf
from recommender.identity import forgotten

MAX_SIGNED_LENGTH = 200
_COOKIE_SALT = "recommender.visitor.cookie"


def cookie_for(visitor_key: uuid.UUID) -> str:
    """The signed form of a browser's visitor: it recognises the browser, and is no token."""
    return signing.Signer(salt=_COOKIE_SALT).sign(visitor_key.hex)


def visitor_key_from_cookie(cookie: str) -> uuid.UUID | None:
    """The visitor of a cookie that this shop has set; None for anything else. `SECRET_KEY_FALLBACKS` count."""
    try:
        return uuid.UUID(hex=unsigned(cookie, _COOKIE_SALT) or "")
    except ValueError:
        return None


def cookie_key_of(request: HttpRequest) -> uuid.UUID | None:
    """The visitor of the browser's cookie if it is genuine, with or without consent."""
    return visitor_key_from_cookie(request.COOKIES.get(conf.get("COOKIE_NAME"), ""))


def is_forgotten(request: HttpRequest) -> bool:
    """Does the browser send the cookie of a visitor that was erased, as far as this process knows? No query."""
    return forgotten.any_known() and forgotten.holds(cookie_key_of(request))


def unsigned(signed: str, salt: str) -> str | None:
    """What was signed with this salt; None for anything else."""
    if not 32 < len(signed) <= MAX_SIGNED_LENGTH:
        return None
    return _verified(signed, salt, settings.SECRET_KEY, tuple(settings.SECRET_KEY_FALLBACKS))


@lru_cache(maxsize=4096)
def _verified(signed: str, salt: str, key: str, fallback_keys: tuple[bytes | str, ...]) -> str | None:
    """Cached, because a visitor opens several pages, and the signature is the largest part of what a page that is
    recorded pays before its response."""
    try:
        return signing.Signer(key=key, salt=salt, fallback_keys=list(fallback_keys)).unsign(signed)
    except signing.BadSignature:
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
