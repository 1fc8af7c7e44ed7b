"""Who is asking: the visitor and the user of a request, their consent, device and history, each read on first use."""

from __future__ import annotations

import datetime as dt
import logging
import re
import uuid
from typing import Any

from django.db.models import F, FilteredRelation, Q
from django.http import HttpRequest, HttpResponseBase
from django.utils import timezone
from django.utils.functional import LazyObject, cached_property, empty

from recommender import conf
from recommender.identity import bots, consent, forgotten
from recommender.identity.cookies import cookie_key_of
from recommender.identity.tokens import TokenClaims, claims_of, visitor_key_from
from recommender.identity.users import own_key, user_key_of
from recommender.models import Event, Visitor
from recommender.models.claims import PAST_EVENT_COLUMNS, past_events
from recommender.models.corrections import UNCORRECTED, corrections_of
from recommender.models.segments import whole_id
from recommender.types import HISTORY_LIMIT, Context, Live, PastEvent

logger = logging.getLogger(__name__)

TOKEN_SCHEME = "visitor"  # noqa: S105 - the word before a token, not a token
VISITOR_HEADER = "HTTP_RECOMMENDER_VISITOR"
"""For an app that sends the shop's own `Authorization`: the visitor's token, under which the call is recorded."""

_SEGMENT = len(PAST_EVENT_COLUMNS)
_CORRECTIONS, _ENTERED = _SEGMENT + 1, _SEGMENT + 2
"""The columns of the visitor's segment, corrected interests and experiments behind those of a past event."""

_TABLETS = re.compile(r"ipad|tablet|kindle|silk|playbook|android(?!.*mobi)", re.IGNORECASE)
_MOBILES = re.compile(r"mobi|iphone|ipod|android|opera mini", re.IGNORECASE)
_LANGUAGE_REGION = re.compile(r"^\s*[a-z]{2,3}(?:-[a-z]{4})?-([a-z]{2})\b", re.IGNORECASE)


class Shopper:
    """One request's visitor and user, read on first use.

    `user_key` reads `request.user` and so accesses the session; so does `visitor_key` without a consent cookie and a
    token. `live`, `n_live_reads` and `shown_item_ids` are shared by the blocks of a page. `segment_id`,
    `corrections` and `entered` are read with the history, None and empty before.
    """

    def __init__(self, request: HttpRequest) -> None:
        self.request = request
        self.live: dict[str, Live | None] = {}
        self.n_live_reads = 0
        self.shown_item_ids: set[str] = set()
        self.person_key = ""
        self.segment_id: int | None = None
        self.corrections = UNCORRECTED
        self.entered: frozenset[int] = frozenset()
        self.is_fresh = False
        self.has_started_over = False

    @cached_property
    def visitor_key(self) -> uuid.UUID | None:
        """The visitor to record under: of the token, the cookie or the signed-in user; a new one right after consent.

        None without consent and for crawlers. One query where only an account can hold the consent, else none.
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
            return self.is_token_valid and self._token_row is not None and self._token_row.has_consented
        return self.gives_consent or self._account_key is not None

    @cached_property
    def gives_consent(self) -> bool:
        """The answer of the `CONSENT` callable; False where it fails, and where the browser's visitor was erased."""
        if self.must_ask_again:
            return False
        try:
            return bool(conf.get_callable("CONSENT")(self.request))
        except Exception:
            logger.exception("RECOMMENDER['CONSENT'] failed; the request counts as not consented")
            return False

    @cached_property
    def must_ask_again(self) -> bool:
        """Was the answer in this browser given before the person was erased? Then both cookies are deleted."""
        return forgotten.any_known() and forgotten.holds(self.cookie_key)

    @cached_property
    def has_consented_anew(self) -> bool:
        """Did somebody just accept in this browser's banner? It has consent by this app's own cookie, and no visitor
        yet. A new visitor after a logout is no new consent."""
        return self.is_fresh and self.cookie_key is None and not self.has_started_over and consent.is_by_cookie()

    @property
    def refuses(self) -> bool:
        """Did the shopper refuse in this browser's banner?"""
        return consent.has_refused(self.request)

    @cached_property
    def is_profiled(self) -> bool:
        """False where the browser sends `Sec-GPC: 1` or the token's visitor switched it off.

        Source: https://w3c.github.io/gpc/, section 3.1. The switch on other visitors' rows is applied by `history`.
        """
        if self.request.META.get("HTTP_SEC_GPC", "").strip() == "1":
            return False
        if self.token is None or self._token_row is None:
            return True
        return self.is_token_valid and self._token_row.is_profiled

    @cached_property
    def is_crawler(self) -> bool:
        """By the user agent. An app with a token is none, whatever its HTTP library calls itself."""
        return self.token is None and bots.is_crawler(self._user_agent)

    @cached_property
    def is_bot(self) -> bool:
        """A crawler, or a browser that fetches a page before anybody asked for it."""
        return self.is_crawler or bots.is_prefetch(self.request)

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
        language = _LANGUAGE_REGION.match(self.request.META.get("HTTP_ACCEPT_LANGUAGE", "")[:32])
        return language[1].upper() if language else ""

    @cached_property
    def source(self) -> str:
        return "page" if self._authorization is None else "api"

    @cached_property
    def token(self) -> str | None:
        """What follows `Authorization: Visitor`, unverified; else a genuine `Recommender-Visitor`; else None."""
        token = self.request.META.get(VISITOR_HEADER, "")
        return token if self._authorization is None and visitor_key_from(token) else self._authorization

    @cached_property
    def token_claims(self) -> TokenClaims | None:
        """What the token says, also an expired one; None without a genuine token. No query."""
        return claims_of(self.token) if self.token is not None else None

    @property
    def is_token_valid(self) -> bool:
        """Is there a token that has neither expired nor been revoked? One query, which reads the visitor too."""
        claims = self.token_claims
        if claims is None or claims.has_expired():
            return False
        return self._token_row is None or self._token_row.token_revoked_at is None

    @property
    def may_open_account(self) -> bool:
        """Was the token issued for all that belongs to its visitor? Not where that is a user's whom `POST me/link` has
        not signed in with it; tokens of the first kind may. One query, which reads the visitor too."""
        claims, row = self.token_claims, self._token_row
        if claims is None or row is None or row.user_key is None:
            return True
        return claims.is_unlimited or self.token_user_key == row.user_key

    @property
    def token_user_key(self) -> str | None:
        """The user whom `POST me/link` signed in with this token. One query, which reads the visitor too."""
        return (self._token_row.token_user_key or None) if self._token_row is not None else None

    @cached_property
    def cookie_key(self) -> uuid.UUID | None:
        """The visitor of a genuine cookie, with or without consent."""
        return cookie_key_of(self.request)

    @property
    def recorded_user_key(self) -> str | None:
        """The user if the page has read it, or if no cookie names the visitor: a page that did not read the session is
        spared that query."""
        user = getattr(self.request, "user", None)
        is_unread = isinstance(user, LazyObject) and user._wrapped is empty
        return None if is_unread and self.gives_consent and "user_key" not in vars(self) else self.user_key

    def history(self) -> tuple[PastEvent, ...]:
        """The newest `HISTORY_LIMIT` events of the person, oldest first. One query, once; none without consent.

        It also says by what experiments assign the person.
        """
        events = self._history
        self.person_key = self.person_key or self._key_of_person()
        return events

    def context(self, at: dt.datetime | None = None) -> Context:
        """The circumstances of the request. No query."""
        return Context(at or timezone.now(), device=self.device, region=self.region)

    def recorded(self) -> dict[str, Any]:
        """The fields of a draft that say who did it and how. Queries as in `visitor_key` and `recorded_user_key`."""
        return {
            "visitor_key": self.visitor_key,
            "user_key": self.recorded_user_key if self.visitor_key else None,
            "source": self.source,
            "device": self.device,
            "is_bot": self.is_bot,
            "is_profiled": self.is_profiled,
        }

    def act_for(self, user_key: str) -> None:
        """Be the user whom a server names, with the consent of their account; nobody for an empty key. No query."""
        vars(self).update(
            user_key=user_key or None,
            cookie_key=None,
            gives_consent=False,
            is_crawler=False,
            source="api",
            _may_consent_by_account=bool(user_key),
        )

    def start_over(self) -> None:
        """Become a new visitor without a history."""
        self.forget()
        self.has_started_over = True
        if self.gives_consent and not self.is_crawler:
            self.visitor_key = self._fresh_key()

    def ask_again(self) -> None:
        """Count the answer in this browser no more: its cookies are deleted, and the banner asks."""
        self.forget()
        self.must_ask_again, self.gives_consent, self.visitor_key = True, False, None

    def forget(self) -> None:
        """Drop what was read about the person, so that it is read again."""
        self.person_key = ""
        for name in ("visitor_key", "user_key", "has_consented", "_account_key", "_history"):
            vars(self).pop(name, None)
        self.segment_id = None
        self.corrections = UNCORRECTED
        self.entered = frozenset()

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
            .values_list(
                *PAST_EVENT_COLUMNS,
                whole_id("visitor__"),
                "visitor__corrections",
                "visitor__entered",
                *(("visitor__key",) if is_by_account else ()),
            )[:HISTORY_LIMIT]
        )
        self.segment_id = next((row[_SEGMENT] for row in rows if row[_SEGMENT] is not None), None)
        self.corrections = corrections_of(row[_CORRECTIONS] for row in rows if row[_CORRECTIONS])
        self.entered = frozenset(number for row in rows for number in row[_ENTERED] or ())
        if rows and is_by_account:  # these rows prove the consent: `visitor_key` need not ask again
            vars(self).setdefault("_account_key", rows[0][-1])
        return past_events(rows)

    def _key_of_person(self) -> str:
        """The user, as far as the history has read who that is, else the visitor; "" for nobody."""
        if self.visitor_key is None:
            return ""
        row = vars(self).get("_token_row")
        user_key = row.user_key if row is not None else vars(self).get("user_key")
        return user_key or str(self.visitor_key)

    def _person(self) -> Q:
        """A filter for the visitors of this person; empty for nobody. A cookie tied to another user is left out."""
        if self.token is not None:
            key = visitor_key_from(self.token)
            if key is None:
                return Q()
            users = Visitor.objects.filter(key=key).values("user_key")  # without a user NULL, which equals nothing
            return Q(key=key) | Q(user_key__in=users)
        if not (self.gives_consent or self._may_consent_by_account):
            return Q()
        user = Q(user_key=self.user_key) if self.user_key else Q()
        if not self.gives_consent or self.visitor_key is None or self.is_fresh:
            return user
        return user | Q(key=self.visitor_key, user_key__isnull=True) if user else Q(key=self.visitor_key)

    @cached_property
    def _account_key(self) -> uuid.UUID | None:
        """The visitor of a signed-in user who has consented on another device, the user's own first. One query."""
        if not self._may_consent_by_account or self.user_key is None:
            return None
        consenting = Visitor.objects.filter(user_key=self.user_key, has_consented=True).order_by("-last_seen_at")
        keys, own = list(consenting.values_list("key", flat=True)), own_key(self.user_key)
        return own if own in keys else next(iter(keys), None)

    @cached_property
    def _may_consent_by_account(self) -> bool:
        """May a signed-in user's earlier consent count? Not with a shop's own `CONSENT`, and not against a refusal."""
        return consent.is_by_cookie() and consent.CONSENT_COOKIE not in self.request.COOKIES

    @cached_property
    def _authorization(self) -> str | None:
        scheme, _, token = self.request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
        return token.strip() if scheme.lower() == TOKEN_SCHEME else None

    @cached_property
    def _token_row(self) -> Any:
        """The visitor of the token, with `token_revoked_at` and `token_user_key` of the token's own row."""
        claims = self.token_claims
        if claims is None or claims.has_expired():
            return None
        own_token = FilteredRelation("tokens", condition=Q(tokens__key=claims.token_key))
        visitors = Visitor.objects.filter(key=claims.visitor_key).annotate(own_token=own_token)
        return visitors.annotate(
            token_revoked_at=F("own_token__revoked_at"), token_user_key=F("own_token__user_key")
        ).first()

    @cached_property
    def _user_agent(self) -> str:
        return str(self.request.META.get("HTTP_USER_AGENT", ""))[:512]

    def _fresh_key(self) -> uuid.UUID:
        self.is_fresh = True
        return uuid.uuid4()


def shopper_of(request: Any) -> Shopper:
    """The shopper of a Django or REST framework request, the same object throughout the request. No query."""
    request = getattr(request, "_request", request)
    shopper: Shopper | None = getattr(request, "recommender_shopper", None)
    if shopper is None:
        shopper = request.recommender_shopper = Shopper(request)
    return shopper


def personal_shopper_of(request: Any) -> Shopper:
    """The shopper of a page that shows what is theirs: it is personal from now on. No query."""
    mark_personal(request)
    return shopper_of(request)


def mark_personal(request: Any) -> None:
    """Mark the page as one visitor's own: neither Django's cache nor a shared one may keep it."""
    request = getattr(request, "_request", request)
    request.recommender_is_personal = True
    request._cache_update_cache = False


def may_change_cookie(request: HttpRequest, response: HttpResponseBase, *, is_recorded: bool) -> bool:
    """Can the visitor's cookie be set or deleted? Not by a page with the consent as before that records nothing, or
    whose browser has a genuine cookie: then nothing is asked of the shopper before the response. No query."""
    if not consent.keeps_cookie(request, response):
        return True
    shopper: Shopper | None = vars(request).get("recommender_shopper")
    is_fresh = shopper is not None and (shopper.is_fresh or shopper.must_ask_again)
    return is_fresh or (is_recorded and cookie_key_of(request) is None)
