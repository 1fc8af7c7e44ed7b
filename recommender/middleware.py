"""Sets the visitor's cookie on responses, keeps personal pages out of caches, and stores events after the response."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.http import HttpRequest, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.utils.cache import patch_cache_control, patch_vary_headers

from recommender import capture, conf, identity, logs, serving, tracking
from recommender.identity import Shopper, shopper_of
from recommender.models.connections import apart

logger = logging.getLogger(__name__)

_complaints: set[str] = set()
"""Kinds of failures that were logged with a traceback in this process: each kind is logged once, not once per page."""


class RecommenderMiddleware:
    """Put it first in MIDDLEWARE, so that no cache above it keeps what it adds. Adds no query before the response."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]]) -> None:
        self.get_response = get_response
        self.is_async = iscoroutinefunction(get_response)
        if self.is_async:
            markcoroutinefunction(self)
        identity.connect()

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        if self.is_async:
            return self._answer_async(request)
        logs.current_headers.set(request.META)
        _warm_up()
        token = capture.current_request.set(request)
        try:
            response: HttpResponseBase = self.get_response(request)  # type: ignore[assignment]
        finally:
            capture.current_request.reset(token)
        if "recommender_redirect" in vars(request):
            response = _led(request, response)
        if _is_concerned(request, response):
            finish(request, response)
        return response

    async def _answer_async(self, request: HttpRequest) -> HttpResponseBase:
        logs.current_headers.set(request.META)
        _warm_up()
        token = capture.current_request.set(request)
        try:
            response: HttpResponseBase = await self.get_response(request)  # type: ignore[misc]
        finally:
            capture.current_request.reset(token)
        if "recommender_redirect" in vars(request):
            response = _led(request, response)
        if _is_concerned(request, response):
            await sync_to_async(finish, thread_sensitive=True)(request, response)
        return response


def finish(request: HttpRequest, response: HttpResponseBase) -> None:
    """Set the cookie and the cache headers, and store the events when the response is closed. Never raises, no
    query."""
    try:
        _settle(request, response)
    except Exception:
        _complain("finish", "a response left without its visitor's cookie")
    if "recommender_buffer" in vars(request):
        response._resource_closers.append(_Storing(request))  # type: ignore[attr-defined]


def _warm_up() -> None:
    """Begin to load what lists are made from at the first request of the process, whatever its page."""
    try:
        serving.warm_up()
    except Exception:
        _complain("warm-up", "the recommender did not begin to load")


def _led(request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
    """Lead a search to the page that a rule of the shop names, unless its own page has failed or leads elsewhere."""
    if response.status_code != 200:
        return response
    led = HttpResponseRedirect(request.recommender_redirect)  # type: ignore[attr-defined]
    led.cookies.update(response.cookies)
    led._resource_closers.extend(response._resource_closers)  # type: ignore[attr-defined]
    return led


def _is_concerned(request: HttpRequest, response: HttpResponseBase) -> bool:
    """Does the page need `finish`: something to record, to keep out of caches, or a cookie to set? Most pages do
    not."""
    try:
        source = tracking.page_source(request, response)
    except Exception:
        _complain("pages", "the events of a page were not read")
        source = None
    if source is not None:
        capture.record_later(request, source)
    seen = vars(request)
    return (
        "recommender_buffer" in seen
        or "recommender_is_personal" in seen
        or "recommender_shopper" in seen
        or identity.is_forgotten(request)
        or (conf.get("COOKIE_NAME") in request.COOKIES and not identity.keeps_cookie(request, response))
    )


def _settle(request: HttpRequest, response: HttpResponseBase) -> None:
    if "recommender_is_personal" in vars(request):
        _keep_private(response)
    if not identity.may_change_cookie(request, response, is_recorded="recommender_buffer" in vars(request)):
        return
    shopper = shopper_of(request)
    if shopper.token is not None or shopper.is_crawler:
        return
    if not shopper.gives_consent or identity.withdraws_consent(response):
        if shopper.cookie_key is not None and not _is_shared(response):
            identity.delete_cookie(response)
            if shopper.must_ask_again:
                identity.ask_again(response)
            patch_vary_headers(response, ("Cookie",))  # Django's cache then keeps it from others
        return
    if "recommender_buffer" in vars(request) or shopper.is_fresh:
        _give_cookie(shopper, request, response)


def _give_cookie(shopper: Shopper, request: HttpRequest, response: HttpResponseBase) -> None:
    """A page that shared caches may keep gets no cookie: they would give one visitor's cookie to everybody."""
    key = shopper.visitor_key
    if key is None or not shopper.is_fresh:
        return
    if _is_shared(response):
        shopper.visitor_key = None
        return
    identity.set_cookie(response, key, is_secure=request.is_secure())
    patch_vary_headers(response, ("Cookie",))


def _keep_private(response: HttpResponseBase) -> None:
    """For one browser only. Source: RFC 9111, section 5.2.2.7."""
    if not response.has_header("Cache-Control"):  # most pages; Django's patches below parse what is there
        response["Cache-Control"] = "private"
        _vary_by_cookie(response)
        return
    directives = [part for part in _cache_control(response) if not part.lower().startswith(("s-maxage", "public"))]
    if directives:
        response["Cache-Control"] = ", ".join(directives)
    else:
        del response["Cache-Control"]
    if not any(part.lower() in ("no-store", "private") for part in directives):
        patch_cache_control(response, private=True)
    _vary_by_cookie(response)


def _vary_by_cookie(response: HttpResponseBase) -> None:
    """As `patch_vary_headers`, which takes longer; a page that reads the session varies by its cookie already."""
    if not response.has_header("Vary"):
        response["Vary"] = "Cookie"
    elif "Cookie" not in response["Vary"].split(", "):
        patch_vary_headers(response, ("Cookie",))


def _is_shared(response: HttpResponseBase) -> bool:
    return any(part.lower().startswith(("public", "s-maxage")) for part in _cache_control(response))


def _cache_control(response: HttpResponseBase) -> list[str]:
    return [part.strip() for part in response.get("Cache-Control", "").split(",") if part.strip()]


class _Storing:
    """Stores the events when Django closes the response: after the last byte, before it closes old connections.

    If a cache middleware above this one pickles the response, the cached copy stores nothing again.
    """

    def __init__(self, request: HttpRequest) -> None:
        self.request = request

    def __call__(self) -> None:
        _store(self.request)

    def __reduce__(self) -> tuple[type[_Stored], tuple[()]]:
        return _Stored, ()


class _Stored:
    """Takes the place of `_Storing` in a cached response."""

    def __call__(self) -> None:
        """Store nothing."""


def _store(request: HttpRequest) -> None:
    try:
        with apart():
            capture.flush(request)
    except Exception:
        _complain("store", "what a page has seen was not stored")


def _complain(kind: str, message: str) -> None:
    capture.counts["failed"] += 1
    if kind in _complaints:
        logger.debug("again: %s", message, exc_info=True)
        return
    _complaints.add(kind)
    logger.exception("%s; further ones are counted in recommender.capture.counts and not logged", message)
