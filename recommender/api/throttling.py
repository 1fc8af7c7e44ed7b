"""Limits how often a key, a visitor and an address may call: counters in Django's cache, one for each span of time."""

from __future__ import annotations

import ipaddress
import logging
import time
from collections.abc import Sequence
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.utils.crypto import salted_hmac
from rest_framework.settings import api_settings
from rest_framework.throttling import SimpleRateThrottle

from recommender import capture, conf
from recommender.api.problems import RETRY_SECONDS, Problem
from recommender.identity import shopper_of
from recommender.models import ApiKey

logger = logging.getLogger(__name__)

IPV6_PREFIX = 64
"""What one customer of a provider has at least. Source: RFC 6177, section 2."""

PAUSE_SECONDS = 5.0
"""How long the cache is left alone after it failed: a page must not wait for it at every call."""

_paused_until = 0.0


def pause_seconds() -> float:
    """For how long this process still counts no call because the cache failed; 0 if it counts."""
    return max(0.0, _paused_until - time.monotonic())


class Throttle(SimpleRateThrottle):
    """Counts the calls of one subject in fixed spans. Without a cache it lets all calls through, but no bulk read.

    REST framework's own keeps every call's time in a list, which is read and written with each call.
    """

    scope: str = ""
    num_requests: int | None
    duration: int | None
    is_open_without_cache = True
    remaining: int | None = None
    """Calls that are left in this span; None where nothing was counted."""

    reset_seconds = 0

    def get_rate(self) -> str | None:
        rate: str | None = conf.throttles()[self.scope]
        return rate

    def get_cache_key(self, request: Any, view: Any) -> str | None:
        subject = self.subject_of(getattr(request, "_request", request))
        return f"recommender.throttle.{self.scope}.{_hidden(subject)}" if subject else None

    def subject_of(self, request: HttpRequest) -> str | None:
        """Who is counted; None where this throttle does not apply."""
        raise NotImplementedError

    def allow_request(self, request: Any, view: Any) -> bool:
        """Count the call. Raises `Problem` for a bulk read while the cache does not answer."""
        if self.rate is None or self.num_requests is None or self.duration is None:
            return True
        key = self.get_cache_key(request, view)
        if key is None:
            return True
        now = self.timer()
        n_calls = self._counted(f"{key}.{int(now // self.duration)}")
        if n_calls is None:
            return self._without_cache()
        self.reset_seconds = max(1, round(self.duration - now % self.duration))
        self.remaining = max(0, self.num_requests - n_calls)
        return n_calls <= self.num_requests

    def wait(self) -> float:
        """Seconds until the next span begins."""
        return float(self.reset_seconds)

    def _counted(self, key: str) -> int | None:
        """The number of calls in this span, this one too; None where the cache does not answer."""
        global _paused_until
        if time.monotonic() < _paused_until:
            return None
        try:
            try:
                return int(self.cache.incr(key))
            except ValueError:  # the first call of this span
                return 1 if self.cache.add(key, 1, timeout=self.duration) else int(self.cache.incr(key))
        except Exception:
            _paused_until = time.monotonic() + PAUSE_SECONDS
            capture.counts["unthrottled"] += 1
            logger.exception("the cache does not answer: for %d s calls are not counted", PAUSE_SECONDS)
            return None

    def _without_cache(self) -> bool:
        if self.is_open_without_cache:
            return True
        detail = f"The cache does not answer, and bulk reads are counted. Send it again in {RETRY_SECONDS} seconds."
        raise Problem("unavailable", detail)


class KeyThrottle(Throttle):
    """A secret key altogether; a publishable one, which every installation has, by address."""

    scope = "key"

    def subject_of(self, request: HttpRequest) -> str | None:
        key = key_of(request)
        if key is None:
            return None
        return key.prefix if key.kind == ApiKey.Kind.SECRET else f"{key.prefix} {address_of(request)}"


class VisitorThrottle(Throttle):
    """The visitor of a token or a cookie. No query."""

    scope = "visitor"

    def subject_of(self, request: HttpRequest) -> str | None:
        shopper = shopper_of(request)
        key = shopper.token_claims.visitor_key if shopper.token_claims is not None else shopper.cookie_key
        return str(key) if key is not None else None


class AddressThrottle(Throttle):
    """Whoever calls without a key, by address: lists can be read by everybody, and a catalogue so be copied."""

    scope = "address"

    def subject_of(self, request: HttpRequest) -> str | None:
        return None if key_of(request) is not None else address_of(request)


class NewVisitorThrottle(Throttle):
    """New visitors and refreshed tokens of one address, each of which writes a row."""

    scope = "new"

    def subject_of(self, request: HttpRequest) -> str | None:
        return address_of(request)


class BulkThrottle(Throttle):
    """Reads of everything that is stored about somebody."""

    scope = "bulk"
    is_open_without_cache = False

    def subject_of(self, request: HttpRequest) -> str | None:
        shopper = shopper_of(request)
        return VisitorThrottle().subject_of(request) or shopper.user_key or address_of(request)


ORDINARY = (KeyThrottle, VisitorThrottle, AddressThrottle)


def refusal(request: HttpRequest) -> HttpResponse | None:
    """The answer 429 for a call outside REST framework that comes too often; else None."""
    throttles = [throttle() for throttle in ORDINARY]
    refusing = [throttle for throttle in throttles if not throttle.allow_request(request, None)]
    if not refusing:
        return None
    return HttpResponse(status=429, headers=headers_of(throttles) | {"Retry-After": str(refusing[0].reset_seconds)})


def headers_of(throttles: Sequence[Throttle]) -> dict[str, str]:
    """The limit that is nearest. Source: draft-ietf-httpapi-ratelimit-headers-10, sections 3 and 4."""
    counted = [throttle for throttle in throttles if throttle.remaining is not None]
    if not counted:
        return {}
    nearest = min(counted, key=lambda throttle: (throttle.remaining or 0) / (throttle.num_requests or 1))
    return {
        "RateLimit-Policy": f'"{nearest.scope}";q={nearest.num_requests};w={nearest.duration}',
        "RateLimit": f'"{nearest.scope}";r={nearest.remaining};t={nearest.reset_seconds}',
    }


def key_of(request: HttpRequest) -> ApiKey | None:
    """The key that the call came with, once it was read."""
    key: ApiKey | None = vars(request).get("recommender_key")
    return key


def address_of(request: HttpRequest) -> str:
    """The address of the client, of IPv6 the first 64 bits, as far as the shop's own proxies tell it."""
    remote = request.META.get("REMOTE_ADDR", "")
    hops = [part.strip() for part in request.META.get("HTTP_X_FORWARDED_FOR", "").split(",") if part.strip()]
    n_proxies = conf.get("NUM_PROXIES")
    if n_proxies is None:
        n_proxies = api_settings.NUM_PROXIES
    if n_proxies is None:
        n_proxies = 1 if _is_inside(remote) else 0
    return _network_of(hops[-min(n_proxies, len(hops))] if n_proxies and hops else remote)


def _is_inside(address: str) -> bool:
    """Does the call come from within, as by a proxy on this host? No address is that of a socket file."""
    try:
        return ipaddress.ip_address(address).is_private
    except ValueError:
        return not address


def _network_of(text: str) -> str:
    host = text.partition("]")[0].lstrip("[") if text.startswith("[") else text
    if host.count(":") == 1:  # IPv4 with a port
        host = host.partition(":")[0]
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return text[:64]
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, IPV6_PREFIX), strict=False))
    return str(address)


def _hidden(subject: str) -> str:
    """No address and no visitor is readable in the cache."""
    return salted_hmac("recommender.throttle", subject, algorithm="sha256").hexdigest()[:32]
