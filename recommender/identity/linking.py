"""Links visitors to users of the shop: at login, at logout, and for orders that name only a user."""

from __future__ import annotations

import logging
from typing import Any

from django.contrib.auth.signals import user_logged_in, user_logged_out
from django.db import router, transaction
from django.utils import timezone

from recommender.identity import tokens
from recommender.identity.shopper import shopper_of
from recommender.identity.tokens import TokenClaims
from recommender.identity.users import link, unlink, user_key_of
from recommender.models import AppToken, Visitor, VisitorLink

logger = logging.getLogger(__name__)


def connect() -> None:
    """Follow logins and logouts; safe to call again."""
    user_logged_in.connect(_on_login, dispatch_uid="recommender.identity")
    user_logged_out.connect(_on_logout, dispatch_uid="recommender.identity")


def link_app(claims: TokenClaims, user: Any, *, authentication: str, session_hash: str) -> VisitorLink | None:
    """Tie an app's visitor to the user who has signed in, and let its token open the account; None where the visitor is
    another user's. At most six statements, reversed by `unlink_app`."""
    user_key = user_key_of(user)
    with transaction.atomic(using=router.db_for_write(Visitor)):
        visitor = Visitor.objects.filter(key=claims.visitor_key).first()
        if visitor is None or not link(visitor, user_key):
            return None
        signed_in = {"user_key": user_key, "session_hash": session_hash, "account_hash": tokens.account_hash(user)}
        if not AppToken.objects.filter(key=claims.token_key).update(**signed_in):
            until = tokens.UNLIMITED_UNTIL
            AppToken.objects.create(key=claims.token_key, visitor=visitor, expires_at=until, **signed_in)
        open_link = {"visitor": visitor, "user_key": user_key, "unlinked_at": None}
        return VisitorLink.objects.get_or_create(**open_link, defaults={"authentication": authentication})[0]


def unlink_app(visitor: Visitor) -> bool:
    """Undo `link_app`: the visitor keeps its own events and is nobody's; False where there is no link to undo."""
    with transaction.atomic(using=router.db_for_write(Visitor)):
        if not VisitorLink.objects.filter(visitor=visitor, unlinked_at=None).update(unlinked_at=timezone.now()):
            return False
        unlink(visitor)
        AppToken.objects.filter(visitor=visitor).update(user_key="", session_hash="", account_hash="")
    return True


def _on_login(*, request: Any, user: Any, **_: Any) -> None:
    """Link the browser's visitor to the user, or begin a new one where it is another user's. Two queries."""
    if request is None:
        return
    shopper = shopper_of(request)
    key, user_key = shopper.visitor_key if shopper.gives_consent else None, user_key_of(user)
    shopper.forget()
    shopper.user_key = user_key
    if key is None or shopper.token is not None:
        return
    shopper.visitor_key = key
    try:
        with transaction.atomic(using=router.db_for_write(Visitor)):
            visitor = Visitor.objects.get_or_create(key=key, defaults={"user_key": user_key})[0]
            is_linked = visitor.user_key == user_key or link(visitor, user_key)
    except Exception:
        logger.exception("a login was not linked to its visitor; a fresh visitor is used")
        is_linked = False
    if not is_linked:
        shopper.visitor_key = shopper._fresh_key()


def _on_logout(*, request: Any, user: Any, **_: Any) -> None:
    """The next person at this browser is another visitor, and tokens of this session end. One statement, five where the
    request of an app brought its token."""
    if request is None or user is None:
        return
    shopper = shopper_of(request)
    try:
        with transaction.atomic(using=router.db_for_write(AppToken)):
            tokens.end_with_session(request, shopper.token_claims)
    except Exception:
        logger.exception("a sign-out did not end the tokens of its session")
    shopper.start_over()
