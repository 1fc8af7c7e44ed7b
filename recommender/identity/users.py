"""The visitors of signed-in users: the key of each user's own visitor, its consent, and which visitor is which user."""

from __future__ import annotations

import uuid
from typing import Any

from django.db.models import Q

from recommender.models import Visitor

_NAMESPACE = uuid.UUID("6f1c1c0e-7d0b-5a53-9b1a-0c1a4b0e2f57")


def user_key_of(user: Any) -> str:
    """The key under which a user of the shop is stored here: the primary key as text."""
    return str(user.pk)


def own_key(user_key: str) -> uuid.UUID:
    """The key of a user's own visitor, which needs no browser: the user's orders are recorded under it."""
    return uuid.uuid5(_NAMESPACE, user_key)


def visitor_of_user(user_key: str) -> Visitor:
    """The user's own visitor, created without consent where missing.

    One query, two where it is made.
    """
    defaults = {"user_key": user_key, "has_consented": False}
    return Visitor.objects.get_or_create(key=own_key(user_key), defaults=defaults)[0]


def link(visitor: Visitor, user_key: str) -> bool:
    """Link a visitor to a user; False where it is another user's already. One query, reversed by `unlink`."""
    unlinked = Visitor.objects.filter(Q(user_key__isnull=True) | Q(user_key=user_key), pk=visitor.pk)
    if not unlinked.update(user_key=user_key):
        return False
    visitor.user_key = user_key
    return True


def unlink(visitor: Visitor) -> None:
    """Remove the link of a visitor to a user. One query."""
    Visitor.objects.filter(pk=visitor.pk).update(user_key=None)
    visitor.user_key = None
