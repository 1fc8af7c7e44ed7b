"""The endpoints of an app's tokens, and of its link to the user who has signed in to the shop."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.utils.module_loading import import_string
from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.request import Request
from rest_framework.response import Response

from recommender.api import throttling
from recommender.api.authentication import HOW_TO_IDENTIFY, BrowserCookies, require_scope
from recommender.api.base import ApiView, checked
from recommender.api.parameters import uuid_or_none
from recommender.api.problems import Problem
from recommender.api.token_shapes import (
    LinkSerializer,
    NewVisitorSerializer,
    RefreshSerializer,
    TokenPairSerializer,
    TokensSerializer,
    VisitorSerializer,
)
from recommender.api.visitor import person_of
from recommender.exceptions import TokenEnded
from recommender.identity import TokenClaims, linking, shopper_of, tokens
from recommender.models import Scope, Visitor

CURRENT = "current"
SIGN_IN = (
    "Send what signs your user in to the shop, as its own API takes it, and the visitor's token as Recommender-Visitor."
)


class VisitorsView(ApiView):
    """Visitors of apps, which have no cookies."""

    authentication_classes = ()
    throttle_classes = (*throttling.ORDINARY, throttling.NewVisitorThrottle)
    scope = ""

    def post(self, request: Request) -> Response:
        """Make a visitor with the consent that the app asked for, and give out its tokens. Two statements."""
        choices = checked(NewVisitorSerializer, request.data)
        device = shopper_of(request._request).device
        visitor = Visitor.objects.create(has_consented=choices["consent"], device=device)
        issued = tokens.issue(visitor, name=choices.get("name", ""), scopes=choices.get("scopes", tokens.FIRST_SCOPES))
        return Response(VisitorSerializer(issued).data, status=201)


class RefreshView(ApiView):
    """The next tokens of an app."""

    authentication_classes = ()
    throttle_classes = (*throttling.ORDINARY, throttling.NewVisitorThrottle)
    scope = ""

    def post(self, request: Request) -> Response:
        """Give out the next pair for a refresh token."""
        sent = checked(RefreshSerializer, request.data)
        try:
            issued = tokens.refresh(sent["refresh_token"])
        except TokenEnded as error:
            raise Problem("invalid-token", str(error)) from error
        return Response(TokenPairSerializer(issued).data)


class TokensView(ApiView):
    """The tokens that open what is the person's."""

    def get(self, request: Request) -> Response:
        """List them, the last refreshed first. At most two queries."""
        shopper = shopper_of(request._request)
        rows = {"tokens": _tokens_of(request)}
        return Response(TokensSerializer(rows, context={"claims": shopper.token_claims}).data)

    def delete(self, request: Request) -> Response:
        """Revoke all of them: sign out everywhere."""
        tokens.revoke(_tokens_of(request))
        return Response(status=204)


class TokenView(ApiView):
    """One token."""

    scope = ""

    def delete(self, request: Request, token_id: str) -> Response:
        """Revoke it; the current one may end itself, whatever it was issued for: that signs the app out."""
        claims = shopper_of(request._request).token_claims
        if token_id == CURRENT and claims is not None:
            tokens.revoke_current(claims)
            return Response(status=204)
        require_scope(request, Scope.PROFILE.value)
        key = uuid_or_none(token_id)
        if key is None or not tokens.revoke(_tokens_of(request).filter(key=key)):
            raise Problem("unknown-token", "GET me/tokens lists the ids of those that count.")
        return Response(status=204)


class LinkView(ApiView):
    """The link of an app's visitor to the user who has signed in to the shop."""

    def get_authenticators(self) -> list[BaseAuthentication]:
        """What the shop's own API authenticates by, and its session; this app's token says only which visitor it is."""
        if self.request is not None and self.request.method != "POST":
            return super().get_authenticators()
        named = getattr(settings, "REST_FRAMEWORK", {}).get("DEFAULT_AUTHENTICATION_CLASSES", ())
        classes = [import_string(path) if isinstance(path, str) else path for path in named]
        return [authentication() for authentication in (*classes, BrowserCookies)]

    def post(self, request: Request) -> Response:
        """Tie the app's visitor to the user, so that web and app are one profile."""
        claims, user = _claims(request), request.user
        if user is None or not user.is_authenticated:
            raise Problem("not-identified", f"Nobody is signed in. {SIGN_IN}")
        session_hash = tokens.session_hash(request._request) if _is_by_session(request) else ""
        link = linking.link_app(claims, user, authentication=_authentication_of(request), session_hash=session_hash)
        if link is None:
            message = "Sign this app out with DELETE me/tokens/current, and begin a new visitor with POST visitors."
            raise Problem("linked-to-another", message)
        return Response(LinkSerializer(link).data, status=201)

    def delete(self, request: Request) -> Response:
        """Undo it: the visitor keeps what it did itself, and the token no longer opens the account."""
        visitor = Visitor.objects.filter(key=_claims(request).visitor_key).first()
        if visitor is None or not linking.unlink_app(visitor):
            raise Problem("not-linked", "There is no link that POST me/link has made.")
        return Response(status=204)


def _tokens_of(request: Request) -> Any:
    shopper = shopper_of(request._request)
    person = person_of(shopper)
    user_key = person.user_key if shopper.token is None else shopper.token_user_key
    return tokens.tokens_of(visitor_key=person.visitor_key, user_key=user_key)


def _claims(request: Request) -> TokenClaims:
    """What the visitor's token says. Raises `Problem` without one that counts."""
    shopper = shopper_of(request._request)
    if shopper.token_claims is None or not shopper.is_token_valid:
        raise Problem("invalid-token", f"Name the app's visitor. {HOW_TO_IDENTIFY} {SIGN_IN}")
    return shopper.token_claims


def _is_by_session(request: Request) -> bool:
    return isinstance(request.successful_authenticator, SessionAuthentication)


def _authentication_of(request: Request) -> str:
    """How the user proved who they are, for the record."""
    return "session" if _is_by_session(request) else type(request.successful_authenticator).__qualname__[:128]
