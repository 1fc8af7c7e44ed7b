"""Who is asking: a request in, a lazy `Shopper` out. Visitors are signed random ids, linked to a user at login."""

from __future__ import annotations

import datetime as dt
import logging
import re
import uuid
from functools import cached_property, lru_cache
from typing import Any

from django.conf import settings
from django.contrib.auth.signals import user_logged_in, user_logged_out
from django.core import signing
from django.db import router, transaction
from django.db.models import Q
from django.http import HttpRequest, HttpResponseBase
from django.utils import timezone
from django.utils.functional import LazyObject, empty

from recommender import conf
from recommender.features import HISTORY_LIMIT
from recommender.models import Event, Visitor
from recommender.models.claims import PAST_EVENT_COLUMNS, past_events
from recommender.types import Context, Live, PastEvent

logger = logging.getLogger(__name__)

CONSENT_COOKIE = "recommender_consent"
CONSENT_GRANTED = "granted"
TOKEN_SCHEME = "visitor"  # noqa: S105 - the word before a token, not a token
VISITOR_HEADER = "HTTP_RECOMMENDER_VISITOR"
"""The header of an app whose `Authorization` is the shop's own: with it, what its user does there is its visitor's."""

MAX_TOKEN_LENGTH = 200

_NAMESPACE = uuid.UUID("6f1c1c0e-7d0b-5a53-9b1a-0c1a4b0e2f57")
_COOKIE_SALT = "recommender.visitor.cookie"
_TOKEN_SALT = "recommender.visitor.token"  # noqa: S105 - a salt is no secret
_CRAWLERS = re.compile(
    r"(?<!cu)bot\b|crawl|spider|slurp|preview|lighthouse|facebookexternalhit|pingdom|uptime|"
    r"^(?:curl|wget|python-|go-http|java/|scrapy|libwww|httpie|apache-httpclient)",
    re.IGNORECASE,
)
"""What crawlers, previews and monitors call themselves; the Cubot phones are people, and so is one without a name."""

_TABLETS = re.compile(r"ipad|tablet|kindle|silk|playbook|android(?!.*mobi)", re.IGNORECASE)
_MOBILES = re.compile(r"mobi|iphone|ipod|android|opera mini", re.IGNORECASE)
_LANGUAGE_REGION = re.compile(r"^\s*[a-z]{2,3}(?:-[a-z]{4})?-([a-z]{2})\b", re.IGNORECASE)


class Shopper:
    """One request's visitor and user. Nothing is read before it is asked for.

    `user_key` reads `request.user` and so touches the session; `visitor_key` does where neither the consent cookie nor
    a token decides. `live` and `n_live_reads` are the memory of one page for its blocks.
    """

    def __init__(self, request: HttpRequest) -> None:
        self.request = request
        self.live: dict[str, Live | None] = {}
        self.n_live_reads = 0
        self.is_fresh = False

    @cached_property
    def visitor_key(self) -> uuid.UUID | None:
        """The visitor to record under: by token, cookie or the signed-in user; a fresh one right after consent.

        None without consent and for crawlers. No query, or one where only the user's own row can have consented.
        """
        if self.is_crawler:
            return None
        if self.token is not None:
            return visitor_key_from(self.token)
        if self.gives_consent:
            return self.cookie_key or self._fresh_key()
        return self._account_key

    @cached_property
    def user_key(self) -> str | None:
        """The signed-in user. Reads `request.user`: the queries and the touched session are Django's own."""
        user = getattr(self.request, "user", None)
        return user_key_of(user) if user is not None and user.is_authenticated else None

    @cached_property
    def has_consented(self) -> bool:
        """May behaviour be recorded? At most one query: a token's row, or the signed-in user's rows."""
        if self.token is not None:
            return self._token_row is not None and self._token_row.has_consented
        return self.gives_consent or self._account_key is not None

    @cached_property
    def gives_consent(self) -> bool:
        """What the `CONSENT` callable says of this request; one that fails says no."""
        try:
            return bool(conf.get_callable("CONSENT")(self.request))
        except Exception:
            logger.exception("RECOMMENDER['CONSENT'] failed; the request counts as not consented")
            return False

    @property
    def refuses(self) -> bool:
        """Has the shopper said no in this browser, by the banner's own cookie?"""
        return self.request.COOKIES.get(CONSENT_COOKIE, CONSENT_GRANTED) != CONSENT_GRANTED

    @cached_property
    def is_profiled(self) -> bool:
        """False where the browser sends `Sec-GPC: 1` or the token's visitor switched it off.

        Source: https://w3c.github.io/gpc/, section 3.1. The switch on other visitors' rows is applied by `history`.
        """
        if self.request.META.get("HTTP_SEC_GPC", "").strip() == "1":
            return False
        return self.token is None or self._token_row is None or self._token_row.is_profiled

    @cached_property
    def is_crawler(self) -> bool:
        """By the user agent. Who sends a token is an app that asked for it, whatever its HTTP library calls itself."""
        return self.token is None and _names_crawler(self._user_agent)

    @cached_property
    def is_bot(self) -> bool:
        """A crawler, or a browser that fetches a page nobody has asked for yet."""
        headers = ("HTTP_SEC_PURPOSE", "HTTP_PURPOSE", "HTTP_X_PURPOSE", "HTTP_X_MOZ")
        purpose = " ".join(self.request.META.get(header, "") for header in headers).lower()
        return self.is_crawler or any(word in purpose for word in ("prefetch", "prerender", "preview"))

    @cached_property
    def device(self) -> str:
        if _TABLETS.search(self._user_agent):
            return "tablet"
        if self.request.META.get("HTTP_SEC_CH_UA_MOBILE") == "?1" or _MOBILES.search(self._user_agent):
            return "mobile"
        return "desktop" if self._user_agent else ""

    @cached_property
    def region(self) -> str:
        """The country of the first accepted language, or nothing."""
        found = _LANGUAGE_REGION.match(self.request.META.get("HTTP_ACCEPT_LANGUAGE", "")[:32])
        return found[1].upper() if found else ""

    @cached_property
    def source(self) -> str:
        return "page" if self._authorization is None else "api"

    @cached_property
    def token(self) -> str | None:
        """What follows `Authorization: Visitor`, unverified; else a genuine token of the header beside; else None."""
        beside = self.request.META.get(VISITOR_HEADER, "")
        return beside if self._authorization is None and visitor_key_from(beside) else self._authorization

    @cached_property
    def cookie_key(self) -> uuid.UUID | None:
        """The visitor of a genuine cookie, whatever the consent now says."""
        return visitor_key_from_cookie(self.request.COOKIES.get(conf.get("COOKIE_NAME"), ""))

    @property
    def recorded_user_key(self) -> str | None:
        """The user where it is known, or needed because no cookie names the visitor: a page that did not read the
        session does not pay for it."""
        user = getattr(self.request, "user", None)
        is_unread = isinstance(user, LazyObject) and user._wrapped is empty
        return None if is_unread and self.gives_consent and "user_key" not in vars(self) else self.user_key

    def history(self) -> tuple[PastEvent, ...]:
        """The newest `HISTORY_LIMIT` events of the person, oldest first. One query, once; none without consent."""
        return self._history

    def context(self, at: dt.datetime | None = None) -> Context:
        """The circumstances of the request. No query."""
        return Context(at or timezone.now(), device=self.device, region=self.region)

    def start_over(self) -> None:
        """Become a fresh visitor, of nobody's past."""
        self.forget()
        if self.gives_consent and not self.is_crawler:
            self.visitor_key = self._fresh_key()

    def forget(self) -> None:
        """Drop what was read of the person, so that it is read again."""
        for name in ("visitor_key", "user_key", "has_consented", "_account_key", "_history"):
            vars(self).pop(name, None)

    @cached_property
    def _history(self) -> tuple[PastEvent, ...]:
        person = self._person()
        if not person or not self.is_profiled:
            return ()
        visitors = Visitor.objects.filter(person, has_consented=True, is_profiled=True)
        is_by_account = self.token is None and not self.gives_consent
        rows = list(
            Event.objects.filter(visitor_id__in=visitors.values("pk"), is_bot=False)
            .order_by("-occurred_at", "-pk")
            .values_list(*PAST_EVENT_COLUMNS, *(("visitor__key",) if is_by_account else ()))[:HISTORY_LIMIT]
        )
        if rows and is_by_account:  # these rows prove the consent: `visitor_key` need not ask again
            vars(self).setdefault("_account_key", rows[0][-1])
        return past_events(rows)

    def _person(self) -> Q:
        """The visitors that are this person; empty for nobody. A cookie of another user is not."""
        if self.token is not None:
            key = visitor_key_from(self.token)
            if key is None:
                return Q()
            users = Visitor.objects.filter(key=key, user_key__isnull=False).values("user_key")
            return Q(key=key) | Q(user_key__in=users)
        if not (self.gives_consent or self._may_consent_by_account):
            return Q()
        user = Q(user_key=self.user_key) if self.user_key else Q()
        if not self.gives_consent or self.visitor_key is None or self.is_fresh:
            return user
        return user | Q(key=self.visitor_key, user_key__isnull=True) if user else Q(key=self.visitor_key)

    @cached_property
    def _account_key(self) -> uuid.UUID | None:
        """The visitor of a signed-in user who has consented elsewhere, the user's own before others. One query."""
        if not self._may_consent_by_account or self.user_key is None:
            return None
        consenting = Visitor.objects.filter(user_key=self.user_key, has_consented=True).order_by("-last_seen_at")
        keys, own = list(consenting.values_list("key", flat=True)), own_key(self.user_key)
        return own if own in keys else next(iter(keys), None)

    @cached_property
    def _may_consent_by_account(self) -> bool:
        """May a signed-in user's earlier consent stand in? Not for a host's own `CONSENT`, nor against a refusal."""
        return conf.get("CONSENT") == conf.DEFAULTS["CONSENT"] and CONSENT_COOKIE not in self.request.COOKIES

    @cached_property
    def _authorization(self) -> str | None:
        scheme, _, token = self.request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
        return token.strip() if scheme.lower() == TOKEN_SCHEME else None

    @cached_property
    def _token_row(self) -> Visitor | None:
        key = visitor_key_from(self.token or "")
        return Visitor.objects.filter(key=key).first() if key else None

    @cached_property
    def _user_agent(self) -> str:
        return str(self.request.META.get("HTTP_USER_AGENT", ""))[:512]

    def _fresh_key(self) -> uuid.UUID:
        self.is_fresh = True
        return uuid.uuid4()


@lru_cache(maxsize=4096)
def _names_crawler(user_agent: str) -> bool:
    """Few user agents make most requests, and the search costs as much as the rest of what an untracked page pays."""
    return bool(_CRAWLERS.search(user_agent))


def shopper_of(request: Any) -> Shopper:
    """The shopper of a Django or REST framework request, the same object throughout the request. No query."""
    request = getattr(request, "_request", request)
    shopper: Shopper | None = getattr(request, "recommender_shopper", None)
    if shopper is None:
        shopper = request.recommender_shopper = Shopper(request)
    return shopper


def has_consented(request: HttpRequest) -> bool:
    """The default `CONSENT`: the banner's cookie."""
    return request.COOKIES.get(CONSENT_COOKIE) == CONSENT_GRANTED


def user_key_of(user: Any) -> str:
    """The key under which a user of the shop is stored here: the primary key as text."""
    return str(user.pk)


def own_key(user_key: str) -> uuid.UUID:
    """The key of the visitor that stands for a user without any browser: orders enter under it."""
    return uuid.uuid5(_NAMESPACE, user_key)


def visitor_of_user(user_key: str) -> Visitor:
    """The user's own visitor, made where missing; made without consent, for making a row is not being asked.

    One query, two where it is made.
    """
    defaults = {"user_key": user_key, "has_consented": False}
    return Visitor.objects.get_or_create(key=own_key(user_key), defaults=defaults)[0]


def grant_consent(user_keys: list[str]) -> int:
    """Note that these users have agreed, on the visitor of their own. Returns how many; one statement a thousand."""
    rows = [Visitor(key=own_key(key), user_key=key, has_consented=True) for key in sorted(set(user_keys))]
    fields = ["has_consented", "is_pseudonymous", "has_objected"]
    Visitor.objects.bulk_create(
        rows, batch_size=1000, update_conflicts=True, unique_fields=["key"], update_fields=fields
    )
    return len(rows)


def link(visitor: Visitor, user_key: str) -> bool:
    """Say that a visitor is a user; False where it is another's already. One query, reversed by `unlink`."""
    unlinked = Visitor.objects.filter(Q(user_key__isnull=True) | Q(user_key=user_key), pk=visitor.pk)
    if not unlinked.update(user_key=user_key):
        return False
    visitor.user_key = user_key
    return True


def unlink(visitor: Visitor) -> None:
    """Say that a visitor is nobody known. One query."""
    Visitor.objects.filter(pk=visitor.pk).update(user_key=None)
    visitor.user_key = None


def token_for(visitor_key: uuid.UUID) -> str:
    """The signed form of an app's visitor for `Authorization: Visitor <token>`: it opens the visitor's account."""
    return signing.Signer(salt=_TOKEN_SALT).sign(visitor_key.hex)


def cookie_for(visitor_key: uuid.UUID) -> str:
    """The signed form of a browser's visitor: it recognises the browser, and is no token."""
    return signing.Signer(salt=_COOKIE_SALT).sign(visitor_key.hex)


def visitor_key_from(token: str) -> uuid.UUID | None:
    """The visitor of a token that `POST visitors` gave out; None for anything else. `SECRET_KEY_FALLBACKS` count."""
    return _unsigned(token, _TOKEN_SALT)


def visitor_key_from_cookie(cookie: str) -> uuid.UUID | None:
    """The visitor of a cookie that this shop has set; None for anything else. `SECRET_KEY_FALLBACKS` count."""
    return _unsigned(cookie, _COOKIE_SALT)


def _unsigned(signed: str, salt: str) -> uuid.UUID | None:
    if not 32 < len(signed) <= MAX_TOKEN_LENGTH:
        return None
    try:
        return uuid.UUID(hex=signing.Signer(salt=salt).unsign(signed))
    except (signing.BadSignature, ValueError):
        return None


def mark_personal(request: Any) -> None:
    """Say that the page shows what one visitor's list holds: neither Django's cache nor a shared one may keep it."""
    request = getattr(request, "_request", request)
    request.recommender_is_personal = True
    request._cache_update_cache = False


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


def connect() -> None:
    """Follow logins and logouts; safe to call again."""
    user_logged_in.connect(_on_login, dispatch_uid="recommender.identity")
    user_logged_out.connect(_on_logout, dispatch_uid="recommender.identity")


def _on_login(*, request: Any, user: Any, **_: Any) -> None:
    """Link the browser's visitor to the user; one that is another user's gives way to a fresh one. Two queries."""
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
