"""The one middleware: knows the visitor, sets the cookie after consent, and records a page once it has been sent."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.cache import patch_cache_control, patch_vary_headers

from recommender import capture, tracking
from recommender.identity import set_cookie, shopper_of

logger = logging.getLogger(__name__)


class RecommenderMiddleware:
    """Must be the first of `MIDDLEWARE`. It asks the database nothing before the response and writes after it.

    The writing hangs on the closing of the response, which runs before Django gives its connections back.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response
        self.is_async = iscoroutinefunction(get_response)
        if self.is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        if self.is_async:
            return self._acall(request)
        token = tracking.current_request.set(request)
        try:
            return _finished(request, self.get_response(request))
        finally:
            tracking.current_request.reset(token)

    async def _acall(self, request: HttpRequest) -> HttpResponseBase:
        token = tracking.current_request.set(request)
        try:
            return _finished(request, await self.get_response(request))
        finally:
            tracking.current_request.reset(token)


def _finished(request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
    tracking.record_page(request, response)
    shopper = shopper_of(request)
    if getattr(request, "recommender_is_personal", False):
        patch_vary_headers(response, ("Cookie",))  # type: ignore[arg-type]
        patch_cache_control(response, private=True)  # type: ignore[arg-type]
    if shopper.token is None and shopper.gives_consent:
        key = shopper.visitor_key
        if key is not None and key != shopper.cookie_key:
            set_cookie(response, key, is_secure=request.is_secure())
            patch_vary_headers(response, ("Cookie",))  # type: ignore[arg-type]
    buffer = capture.buffer_of(request)
    if buffer.drafts or buffer.impressions or buffer.sources:
        response._resource_closers.append(lambda: _flush(request))  # type: ignore[attr-defined]
    return response


def _flush(request: HttpRequest) -> None:
    try:
        capture.flush(request)
    except Exception:  # the edge of capture: whatever the database or a rule of the shop does, the page is out
        capture.counts["failed"] += 1
        logger.exception("what happened on a page was not recorded")
