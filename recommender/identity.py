"""Who asks: a request in, a lazy `Shopper` out, known by a signed cookie or token, linked to at most one user."""

from __future__ import annotations

import datetime as dt
import re
import uuid
from typing import Any

from django.contrib.auth.signals import user_logged_in, user_logged_out
from django.core import signing
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone

from recommender import conf
from recommender.models import Event, Visitor
from recommender.types import Context, EventType, Live, PastEvent

CONSENT_COOKIE = "recommender_consent"
GRANTED, DENIED = "granted", "denied"
TOKEN_SCHEME = "visitor"  # noqa: S105
HISTORY_LIMIT = 500
USER_NAMESPACE = uuid.UUID("6f1d3b0e-52f1-5e0c-9f5e-3f6a0c1b7a11")
"""Any fixed value: it keeps the visitor of user 7 apart from uuid5 keys that others make of "7"."""

_BOTS = re.compile(r"bot\b|bot/|crawl|spider|slurp|preview|facebookexternalhit|headlesschrome-lighthouse|monitor", re.I)
_TABLETS = re.compile(r"ipad|tablet|kindle|silk|android(?!.*mobile)", re.I)
_PHONES = re.compile(r"mobi|iphone|ipod|android|okhttp|cfnetwork|dart", re.I)
_DESKTOPS = re.compile(r"windows|macintosh|x11|linux|cros", re.I)
_signer = signing.Signer(salt="recommender.visitor")


class Shopper:
    """One request's shopper. Nothing is read before it is asked for, and everything at most once.

    `live` and `n_live_reads` are the page's memory of prices; see `pipeline.with_live`.
    """

    __slots__ = ("_history", "_is_allowed", "_key", "_request", "_user_key", "live", "n_live_reads", "rotated")

    def __init__(self, request: HttpRequest) -> None:
        self._request = request
        self._key: uuid.UUID | None = None
        self._user_key: str | bool | None = False
        self._is_allowed: bool | None = None
        self._history: tuple[PastEvent, ...] | None = None
        self.rotated = False
        self.live: dict[str, Live | None] = {}
        self.n_live_reads = 0

    @property
    def token_key(self) -> uuid.UUID | None:
        """The key of a valid `Authorization: Visitor <token>`."""
        scheme, _, token = self._request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
        return visitor_key_from(token.strip()) if scheme.lower() == TOKEN_SCHEME else None

    @property
    def cookie_key(self) -> uuid.UUID | None:
        """The key of a valid cookie, None once it was given up."""
        return None if self.rotated else visitor_key_from(self._request.COOKIES.get(conf.get("COOKIE_NAME"), ""))

    @property
    def visitor_key(self) -> uuid.UUID | None:
        """The visitor's key: from the token, from the cookie, the user's own, or a new one; None without consent."""
        if self._key is None:
            self._key = self.token_key
        if self._key is None and self.has_consented:
            user_key = None if self.cookie_key or self.may_set_cookie else self.user_key
            self._key = self.cookie_key or (key_of_user(user_key) if user_key else uuid.uuid4())
        return self._key

    @property
    def user_key(self) -> str | None:
        """The key of the signed-in user; reads the session only where the request carries one."""
        if self._user_key is False:
            self._user_key = _user_key_in(self._request)
        return self._user_key if isinstance(self._user_key, str) else None

    @property
    def may_set_cookie(self) -> bool:
        """Whether the browser itself consented. No query with the default `CONSENT`."""
        return self.token_key is None and bool(conf.get_callable("CONSENT")(self._request))

    @property
    def has_consented(self) -> bool:
        """Consent of the browser, of the token's visitor, or of the signed-in user's own visitor (one query)."""
        if self._is_allowed is None:
            self._is_allowed = self._consented()
        return self._is_allowed

    @property
    def is_profiled(self) -> bool:
        """False where the browser sends Global Privacy Control."""
        return self._request.META.get("HTTP_SEC_GPC") != "1"

    @property
    def is_bot(self) -> bool:
        """True for a crawler, and for a page fetched before anybody asked to see it."""
        meta = self._request.META
        purpose = f"{meta.get('HTTP_SEC_PURPOSE', '')} {meta.get('HTTP_PURPOSE', '')} {meta.get('HTTP_X_MOZ', '')}"
        return "prefetch" in purpose.lower() or bool(_BOTS.search(meta.get("HTTP_USER_AGENT", "")))

    @property
    def device(self) -> str:
        """ "mobile", "tablet", "desktop" or "", from the user agent."""
        agent = self._request.META.get("HTTP_USER_AGENT", "")
        for name, pattern in (("tablet", _TABLETS), ("mobile", _PHONES), ("desktop", _DESKTOPS)):
            if pattern.search(agent):
                return name
        return ""

    @property
    def region(self) -> str:
        """The country that a proxy in front found, two letters or ""."""
        meta = self._request.META
        country = str(meta.get("HTTP_CF_IPCOUNTRY") or meta.get("HTTP_CLOUDFRONT_VIEWER_COUNTRY") or "")
        return country.upper() if re.fullmatch(r"[A-Za-z]{2}", country) else ""

    @property
    def source(self) -> str:
        """ "api" for a token, "page" for a browser."""
        return "api" if self.token_key else "page"

    @property
    def is_secure(self) -> bool:
        """Whether the request came by HTTPS; its cookie then stays with HTTPS."""
        return self._request.is_secure()

    def context(self, at: dt.datetime | None = None) -> Context:
        """The circumstances of the request."""
        return Context(at or timezone.now(), self.device, self.region)

    def history(self) -> tuple[PastEvent, ...]:
        """The newest `HISTORY_LIMIT` events, oldest first. One query; none and () for a stranger or under GPC."""
        if self._history is None:
            who = self._known_as() if self.is_profiled else None
            self._history = () if who is None else read_history(Visitor.objects.filter(who))
        return self._history

    def _known_as(self) -> Q | None:
        key = self.token_key or (self.cookie_key if self.may_set_cookie else None)
        is_refused = self._request.COOKIES.get(CONSENT_COOKIE) == DENIED
        user_key = None if self.token_key or is_refused else self.user_key
        who = Q()
        if user_key:
            who |= Q(user_key=user_key)
        if key:
            who |= Q(key=key)
            if not user_key:  # the token of a linked visitor brings the user's other visitors along
                linked = Visitor.objects.filter(key=key, user_key__isnull=False).values("user_key")
                who |= Q(user_key__in=linked)
        return who or None

    def _consented(self) -> bool:
        if self._request.COOKIES.get(CONSENT_COOKIE) == DENIED:
            return False
        if (key := self.token_key) is not None:
            return Visitor.objects.filter(key=key, has_consented=True).exists()
        if self.may_set_cookie:
            return True
        user_key = self.user_key
        return bool(user_key) and Visitor.objects.filter(user_key=user_key, has_consented=True).exists()


def read_history(visitors: QuerySet[Visitor], *, limit: int = HISTORY_LIMIT) -> tuple[PastEvent, ...]:
    """Events of those of `visitors` who consented and are personalised, oldest first. One query."""
    allowed = visitors.filter(has_consented=True, is_profiled=True).values("pk")
    rows = (
        Event.objects.filter(visitor__in=allowed)
        .order_by("-occurred_at")
        .values_list("type", "occurred_at", "item_id", "query", "quantity", "order_id")[:limit]
    )
    return tuple(PastEvent(EventType(kind), *rest) for kind, *rest in reversed(rows))


def shopper_of(request: HttpRequest) -> Shopper:
    """The shopper of a request, the same one at every call; a REST framework request is unwrapped."""
    request = getattr(request, "_request", request)
    shopper = getattr(request, "recommender_shopper", None)
    if shopper is None:
        shopper = request.recommender_shopper = Shopper(request)  # type: ignore[attr-defined]
    return shopper


def has_consented(request: HttpRequest) -> bool:
    """The default `CONSENT`: the cookie `recommender_consent` says "granted"."""
    return request.COOKIES.get(CONSENT_COOKIE) == GRANTED


def user_key_of(user: Any) -> str:
    """How a user of the shop is known here: by primary key, as text."""
    return str(user.pk)


def key_of_user(user_key: str) -> uuid.UUID:
    """The key of the user's own visitor, under which the shop's orders enter."""
    return uuid.uuid5(USER_NAMESPACE, user_key)


def visitor_of_user(user_key: str) -> Visitor:
    """The user's own visitor; made without consent, which is the user's or the loader's to give."""
    visitor, _ = Visitor.objects.get_or_create(
        key=key_of_user(user_key), defaults={"user_key": user_key, "has_consented": False}
    )
    return visitor


def link(visitor: Visitor, user_key: str) -> bool:
    """Tie a visitor to a user; False where it is tied to another one, which stays so."""
    n_linked = Visitor.objects.filter(Q(user_key__isnull=True) | Q(user_key=user_key), pk=visitor.pk).update(
        user_key=user_key
    )
    return bool(n_linked)


def unlink(visitor: Visitor) -> None:
    """Take the tie back; the visitor keeps what it did itself."""
    Visitor.objects.filter(pk=visitor.pk).update(user_key=None)


def token_for(visitor_key: uuid.UUID) -> str:
    """A signed text that names a visitor: the value of the cookie and of the API's token."""
    return _signer.sign(visitor_key.hex)


def visitor_key_from(token: str) -> uuid.UUID | None:
    """The key in a token of `token_for`; None where it is forged, cut or foreign."""
    try:
        return uuid.UUID(_signer.unsign(token))
    except (signing.BadSignature, ValueError):
        return None


def connect() -> None:
    """Follow sign-ins and sign-outs."""
    user_logged_in.connect(logged_in, dispatch_uid="recommender_logged_in")
    user_logged_out.connect(logged_out, dispatch_uid="recommender_logged_out")


def logged_in(sender: Any, request: HttpRequest | None, user: Any, **_: Any) -> None:
    """Tie the browser's visitor to the user who signs in; one that is another user's is given up for a new one."""
    if request is None:
        return
    shopper = shopper_of(request)
    shopper._user_key, shopper._history, shopper._is_allowed = user_key_of(user), None, None
    key = shopper.cookie_key
    visitor = Visitor.objects.filter(key=key).first() if key else None
    if visitor is not None and not link(visitor, user_key_of(user)):
        rotate(shopper)


def logged_out(sender: Any, request: HttpRequest | None, **_: Any) -> None:
    """Whoever uses the browser next is a new visitor."""
    if request is not None:
        rotate(shopper_of(request))


def rotate(shopper: Shopper) -> None:
    """Give up the browser's visitor for a new one."""
    shopper.rotated, shopper._key, shopper._history = True, None, None


def _user_key_in(request: HttpRequest) -> str | None:
    session = getattr(request, "session", None)
    if session is not None and session.session_key is None:
        return None
    user = getattr(request, "user", None)
    return user_key_of(user) if user is not None and user.is_authenticated else None
