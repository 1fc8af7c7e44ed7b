"""Authenticates calls of the API: an app by its signed token, a browser by its cookies and Django's CSRF token."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import AnonymousUser
from rest_framework.authentication import BaseAuthentication, SessionAuthentication, get_authorization_header
from rest_framework.request import Request

from recommender.api.problems import CHALLENGE, Problem
from recommender.identity import visitor_key_from

SCHEME = "Visitor"
HOW_TO_IDENTIFY = f'Ask for a token with POST visitors and send it as "Authorization: {SCHEME} <token>".'


class VisitorToken(BaseAuthentication):
    """`Authorization: Visitor <token>`, with a token that `POST visitors` gave out. It needs no CSRF token."""

    def authenticate(self, request: Request) -> tuple[Any, Any] | None:
        """Return an anonymous user and the visitor's key. Raises `Problem` for a forged or broken token."""
        scheme, _, token = get_authorization_header(request).decode("latin-1").partition(" ")
        if scheme.lower() != SCHEME.lower():
            return None
        visitor_key = visitor_key_from(token.strip())
        if visitor_key is None:
            raise Problem("invalid-token", f"This shop did not sign the token. {HOW_TO_IDENTIFY}")
        return AnonymousUser(), visitor_key

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
