"""Authenticates calls of the API: an app by its signed token, a server by its key, a browser by its cookies."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest
from rest_framework.authentication import BaseAuthentication, SessionAuthentication, get_authorization_header
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from recommender.api.problems import CHALLENGE, Problem
from recommender.identity import claims_of, keys, shopper_of
from recommender.identity.shopper import VISITOR_HEADER
from recommender.models import ApiKey

SCHEME = "Visitor"
HOW_TO_IDENTIFY = f'Ask for a token with POST visitors and send it as "Authorization: {SCHEME} <token>".'


KEY_HEADER = "HTTP_RECOMMENDER_KEY"
USER_HEADER = "HTTP_RECOMMENDER_USER"
MAX_USER_LENGTH = 64


def read_key(request: HttpRequest) -> None:
    """Note the key that the call came with. Raises `Problem` for one that does not count. One query where one came."""
    sent = request.META.get(KEY_HEADER, "").strip()
    if not sent:
        if USER_HEADER in request.META:
            raise Problem("invalid-key", "Recommender-User needs a secret key in Recommender-Key.")
        return
    key = keys.valid_key(sent)
    if key is None:
        raise Problem("invalid-key", "This shop has no such key, or it was revoked: see manage.py recommender_keys.")
    if USER_HEADER in request.META and key.kind != ApiKey.Kind.SECRET:
        raise Problem("invalid-key", "Recommender-User needs a secret key: a publishable one speaks for nobody.")
    request.recommender_key = key  # type: ignore[attr-defined]


class SecretKey(BaseAuthentication):
    """`Recommender-Key: sk_…` of a server, which may act for the user in `Recommender-User`; cookies do not count."""

    def authenticate(self, request: Request) -> tuple[Any, Any] | None:
        """Return an anonymous user and the key, unless a visitor's token says whose call it is."""
        key: ApiKey | None = vars(request._request).get("recommender_key")
        shopper = shopper_of(request._request)
        if key is None or key.kind != ApiKey.Kind.SECRET or shopper.token is not None:
            return None
        user_key = request.META.get(USER_HEADER, "").strip()
        if len(user_key) > MAX_USER_LENGTH:
            raise Problem("bad-request", f"Recommender-User may have at most {MAX_USER_LENGTH} characters.")
        shopper.act_for(user_key)
        return AnonymousUser(), key

    def authenticate_header(self, request: Request) -> str:
        return CHALLENGE


class VisitorToken(BaseAuthentication):
    """`Authorization: Visitor <token>`, with a token that `POST visitors` gave out. It needs no CSRF token.

    One in `Recommender-Visitor` is checked too, but identifies nobody to Django: the call is still the browser's.
    """

    def authenticate(self, request: Request) -> tuple[Any, Any] | None:
        """Return an anonymous user and the visitor's key. Raises `Problem` for a forged or an expired token."""
        scheme, _, token = get_authorization_header(request).decode("latin-1").partition(" ")
        is_own_scheme = scheme.lower() == SCHEME.lower()
        token = token if is_own_scheme else request.META.get(VISITOR_HEADER, "")
        if not is_own_scheme and not token:
            return None
        claims = claims_of(token.strip())
        if claims is None:
            raise Problem("invalid-token", f"This shop did not sign the token. {HOW_TO_IDENTIFY}")
        if claims.has_expired():
            raise Problem("expired-token", "Get the next one: POST tokens/refresh with your refresh_token.")
        return (AnonymousUser(), claims.visitor_key) if is_own_scheme else None

    def authenticate_header(self, request: Request) -> str:
        return CHALLENGE


class BrowserCookies(SessionAuthentication):
    """The page's own visitor cookie and signed-in user. An unsafe method with any cookie needs a CSRF token."""

    def authenticate(self, request: Request) -> tuple[Any, Any] | None:
        """Return the user that Django's middleware found, unread. Raises `PermissionDenied` without a CSRF token."""
        browser = request._request
        if browser.COOKIES:
            self.enforce_csrf(request)
        user = getattr(browser, "user", None)
        return (AnonymousUser() if user is None else user), None


class IssuedForThis(BasePermission):
    """A token or a secret key opens only what its scopes name, a token nothing once it was revoked. One query where a
    token came."""

    def has_permission(self, request: Request, view: Any) -> bool:
        """Raises `Problem` for a token that does not open the endpoint; whoever has none is let through."""
        if view.scope:
            require_scope(request, view.scope)
        return True


def require_scope(request: Request, scope: str) -> None:
    """Raise `Problem` where the call came with a token or a secret key that was not issued for this, or was revoked."""
    key: ApiKey | None = vars(request._request).get("recommender_key")
    if key is not None and key.kind == ApiKey.Kind.SECRET and scope not in key.scopes:
        issued_for = ", ".join(key.scopes)
        raise Problem("out-of-scope", f"This needs a key for {scope!r}; yours was made for: {issued_for}.")
    shopper = shopper_of(request._request)
    claims = shopper.token_claims
    if claims is None:
        return
    if scope not in claims.scopes:
        issued_for = ", ".join(sorted(claims.scopes))
        raise Problem("out-of-scope", f"This needs a token for {scope!r}; yours was issued for: {issued_for}.")
    if not shopper.is_token_valid:
        raise Problem("invalid-token", f"The token was revoked, or its user has signed out. {HOW_TO_IDENTIFY}")
