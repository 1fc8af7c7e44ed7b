"""Links visitors to users of the shop: at login, at logout, and for orders that name only a user."""

from __future__ import annotations

import logging
import uuid
from typing import Any

from django.contrib.auth.signals import user_logged_in, user_logged_out
from django.db import router
from django.db.models import Value
from django.utils import timezone

from recommender.identity import tokens, tombstones
from recommender.identity.shopper import shopper_of
from recommender.identity.tokens import TokenClaims
from recommender.identity.users import link, own_key, unlink, user_key_of
from recommender.models import AppToken, Visitor, VisitorLink
from recommender.models.connections import writing

logger = logging.getLogger(__name__)


def connect() -> None:
    """Follow logins and logouts; safe to call again."""
    user_logged_in.connect(_on_login, dispatch_uid="recommender.identity")
    user_logged_out.connect(_on_logout, dispatch_uid="recommender.identity")


def link_app(claims: TokenClaims, user: Any, *, authentication: str, session_hash: str) -> VisitorLink | None:
    """Tie an app's visitor to the user who has signed in, and let its token open the account; None where the visitor is
    another user's, or the user was erased and the app has not asked for consent since. At most nine statements, undone
    by `unlink_app`."""
    user_key = user_key_of(user)
    with writing(using=router.db_for_write(Visitor)):
        visitor = Visitor.objects.filter(key=claims.visitor_key).first()
        if visitor is None or not _may_return(user_key, visitor) or not link(visitor, user_key):
            return None
        signed_in = {"user_key": user_key, "session_hash": session_hash, "account_hash": tokens.account_hash(user)}
        if not AppToken.objects.filter(key=claims.token_key).update(**signed_in):
            until = tokens.UNLIMITED_UNTIL
            AppToken.objects.create(key=claims.token_key, visitor=visitor, expires_at=until, **signed_in)
        open_link = {"visitor": visitor, "user_key": user_key, "unlinked_at": None}
        return VisitorLink.objects.get_or_create(**open_link, defaults={"authentication": authentication})[0]


def unlink_app(visitor: Visitor) -> bool:
    """Undo `link_app`: the visitor keeps its own events and is nobody's; False where there is no link to undo."""
    with writing(using=router.db_for_write(Visitor)):
        if not VisitorLink.objects.filter(visitor=visitor, unlinked_at=None).update(unlinked_at=timezone.now()):
            return False
        unlink(visitor)
        AppToken.objects.filter(visitor=visitor).update(user_key="", session_hash="", account_hash="")
    return True


def grant_consent(user_keys: list[str]) -> int:
    """Store the consent of these users on their own visitors, also of users who were erased before; return how many.

    One statement for each 1,000 users; on SQLite, which takes 999 values, for each 76; and one for each 200 users to
    end the effect of an erasure.
    """
    rows = [Visitor(key=own_key(key), user_key=key, has_consented=True) for key in sorted(set(user_keys))]
    fields = ["has_consented", "is_pseudonymous", "has_objected"]
    Visitor.objects.bulk_create(
        rows, batch_size=1000, update_conflicts=True, unique_fields=["key"], update_fields=fields
    )
    tombstones.lift(tombstones.names_of((), user_keys))
    return len(rows)


def _may_return(user_key: str, visitor: Visitor) -> bool:
    """Was the user never erased, or does the app have a consent that is newer than the erasure? That one counts for the
    user too. One query, two after an erasure."""
    names = tombstones.names_of((), [user_key])
    stones = tombstones.standing([digest for name in names for digest in tombstones.digests_of(name)])
    erased_at = max(stones.values_list("erased_at", flat=True), default=None)
    if erased_at is None:
        return True
    if not visitor.has_consented or visitor.first_seen_at <= erased_at:
        return False
    tombstones.lift(names)
    return True


def _on_login(*, request: Any, user: Any, **_: Any) -> None:
    """Link the browser's visitor to the user, or begin a new one where it is another user's. Two queries.

    A user who was erased is asked for consent again: the answer in this browser may be older than the erasure.
    """
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
        with writing(using=router.db_for_write(Visitor)):
            visitor, is_erased = _stored(key, user_key)
            if is_erased:
                shopper.ask_again()
                return
            is_linked = visitor.user_key == user_key or _link_or_create(visitor, user_key)
    except Exception:
        logger.exception("a login was not linked to its visitor; a fresh visitor is used")
        is_linked = False
    if not is_linked:
        shopper.visitor_key = shopper._fresh_key()


def _stored(key: uuid.UUID, user_key: str) -> tuple[Visitor, bool]:
    """The visitor, without a primary key where it is not stored, and whether the user was erased since. One query."""
    visitors = Visitor.objects.filter(key=key).values_list(Value("visitor"), "user_key", "pk")
    digests = tombstones.digests_of(tombstones.name_of_user(user_key))
    stones = tombstones.standing(digests).values_list(Value("tombstone"), "digest", "pk")
    rows = {kind: (owner, pk) for kind, owner, pk in visitors.union(stones, all=True)}
    owner, pk = rows.get("visitor", (None, None))
    return Visitor(pk=pk, key=key, user_key=owner), "tombstone" in rows and owner != user_key


def _link_or_create(visitor: Visitor, user_key: str) -> bool:
    """False where it is another user's. One query."""
    if visitor.pk:
        return link(visitor, user_key)
    Visitor.objects.bulk_create([Visitor(key=visitor.key, user_key=user_key)], ignore_conflicts=True)
    return True


def _on_logout(*, request: Any, user: Any, **_: Any) -> None:
    """The next person at this browser is another visitor, and tokens of this session end. One statement, five where the
    request of an app brought its token."""
    if request is None or user is None:
        return
    shopper = shopper_of(request)
    try:
        with writing(using=router.db_for_write(AppToken)):
            tokens.end_with_session(request, shopper.token_claims)
    except Exception:
        logger.exception("a sign-out did not end the tokens of its session")
    shopper.start_over()
