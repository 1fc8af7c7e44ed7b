"""Authenticates calls of the API: an app by its signed token, a browser by its cookies and Django's CSRF token."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import AnonymousUser
from rest_framework.authentication import BaseAuthentication, SessionAuthentication, get_authorization_header
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from recommender.api.problems import CHALLENGE, Problem
from recommender.identity import claims_of, shopper_of
from recommender.identity.shopper import VISITOR_HEADER

SCHEME = "Visitor"
HOW_TO_IDENTIFY = f'Ask for a token with POST visitors and send it as "Authorization: {SCHEME} <token>".'


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
    """A token opens only what its scopes name, and nothing once it was revoked. One query where a token came."""

    def has_permission(self, request: Request, view: Any) -> bool:
        """Raises `Problem` for a token that does not open the endpoint; whoever has none is let through."""
        if view.scope:
            require_scope(request, view.scope)
        return True


def require_scope(request: Request, scope: str) -> None:
    """Raise `Problem` where the call came with a token that was not issued for this, or was revoked."""
    shopper = shopper_of(request._request)
    claims = shopper.token_claims
    if claims is None:
        return
    if scope not in claims.scopes:
        issued_for = ", ".join(sorted(claims.scopes))
        raise Problem("out-of-scope", f"This needs a token for {scope!r}; yours was issued for: {issued_for}.")
    if not shopper.is_token_valid:
        raise Problem("invalid-token", f"The token was revoked, or its user has signed out. {HOW_TO_IDENTIFY}")
