"""Links visitors to users of the shop: at login, at logout, and for orders that name only a user."""

from __future__ import annotations

import logging
from typing import Any

from django.contrib.auth.signals import user_logged_in, user_logged_out
from django.db import router, transaction

from recommender.identity.shopper import shopper_of
from recommender.identity.users import link, user_key_of
from recommender.models import Visitor

logger = logging.getLogger(__name__)


def connect() -> None:
    """Follow logins and logouts; safe to call again."""
    user_logged_in.connect(_on_login, dispatch_uid="recommender.identity")
    user_logged_out.connect(_on_logout, dispatch_uid="recommender.identity")


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
    """The next person at this browser is another visitor. No query."""
    if request is not None and user is not None:
        shopper_of(request).start_over()
