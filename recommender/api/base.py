"""The base of all endpoints: it sets every policy of REST framework, so that the host's settings have no effect."""

from __future__ import annotations

import datetime as dt
import hashlib
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NoReturn

from django.http import HttpRequest
from django.utils.cache import get_conditional_response, patch_cache_control, patch_vary_headers
from django.utils.decorators import method_decorator
from django.utils.http import http_date, quote_etag
from django.views.decorators.gzip import gzip_page
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import UnsupportedMediaType
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.permissions import BasePermission
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import Serializer
from rest_framework.views import APIView

from recommender import capture, conf
from recommender.api import problems, throttling
from recommender.api.authentication import USER_HEADER, BrowserCookies, IssuedForThis, SecretKey, VisitorToken, read_key
from recommender.api.bodies import has_length
from recommender.api.guard import GuardedJSONParser
from recommender.api.parameters import Parameters
from recommender.api.problems import Problem
from recommender.api.serializers import RankingSerializer
from recommender.identity import tokens
from recommender.identity.shopper import VISITOR_HEADER
from recommender.models import Scope
from recommender.types import Ranking

logger = logging.getLogger(__name__)

WITH_BODY = ("POST", "PUT", "PATCH")
UNLIMITED_TOKENS_SINCE = dt.datetime(2026, 11, 28, tzinfo=dt.UTC)
"""Since when tokens without an expiry are no longer given out."""


class PlainJSONRenderer(JSONRenderer):
    """Compact UTF-8 JSON."""

    ensure_ascii = False
    compact = True
    strict = True


class OnlyJSON(BaseContentNegotiation):
    """The API speaks JSON, whatever `Accept` asks for: an answer in JSON helps a client more than a 406."""

    def select_parser(self, request: Request, parsers: Iterable[BaseParser]) -> BaseParser | None:
        """Return the parser if the body says that it is JSON."""
        media_type = (request.content_type or "").partition(";")[0].strip().lower()
        return next((parser for parser in parsers if parser.media_type == media_type), None)

    def select_renderer(self, request: Request, renderers: Any, format_suffix: str | None = None) -> tuple[Any, str]:
        return renderers[0], renderers[0].media_type


@method_decorator(gzip_page, name="dispatch")
class ApiView(APIView):
    """An endpoint: JSON in and out, problems as RFC 9457, answers that no shared cache keeps."""

    authentication_classes: Sequence[type[BaseAuthentication]] = (SecretKey, VisitorToken, BrowserCookies)
    permission_classes: Sequence[type[BasePermission]] = (IssuedForThis,)
    throttle_classes: Sequence[type[throttling.Throttle]] = throttling.ORDINARY
    parser_classes = (GuardedJSONParser,)
    renderer_classes = (PlainJSONRenderer,)
    content_negotiation_class = OnlyJSON
    metadata_class = None
    versioning_class = None
    scope = Scope.PROFILE.value
    """What a token must have been issued for; empty where every token, also a revoked one, is let through."""

    parameters: type[Parameters] = Parameters
    """What a GET takes behind the `?`: an endpoint without a declaration of its own takes nothing."""

    def options(self, request: Any, *args: Any, **kwargs: Any) -> Response:
        """Say which methods there are."""
        return Response(status=204, headers={"Allow": ", ".join(self.allowed_methods)})

    def get_exception_handler(self) -> Callable[[Exception, Mapping[str, Any]], Response]:
        """Return the handler that answers in problem+json; `EXCEPTION_HANDLER` is the host's and is left alone."""
        return problems.answer

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Refuse a body of an unknown length, or of a foreign type before anything reads it: CSRF's check would parse a
        form of any size. Read the parameters of a GET."""
        if request.method in WITH_BODY and not has_length(request._request, limit=conf.get("MAX_BODY_BYTES")):
            raise Problem("length-required", "Send the body with its Content-Length: this server reads no chunks.")
        if not (request.META.get("CONTENT_LENGTH") or "0").isdigit():
            raise Problem("bad-request", "The header Content-Length must be a number of bytes.")
        has_body = request.META.get("CONTENT_LENGTH") not in (None, "", "0")
        if has_body and self.get_content_negotiator().select_parser(request, self.get_parsers()) is None:
            came = request.content_type or "none"
            raise UnsupportedMediaType(came, f"Send Content-Type: application/json, not {came}.")
        read_key(request._request)
        super().initial(request, *args, **kwargs)
        if request.method in ("GET", "HEAD"):
            self.values = checked(self.parameters, request.query_params)

    def get_throttles(self) -> list[Any]:
        """Make the throttles, and keep them for the headers of the answer."""
        self.throttles = [throttle() for throttle in self.throttle_classes]
        return self.throttles

    def throttled(self, request: Request, wait: float) -> NoReturn:
        """Refuse a call that comes too often. Raises `Problem`."""
        seconds = max(1, round(wait or 0))
        message = f"Send it again in {seconds} seconds. The headers RateLimit and RateLimit-Policy say the limit."
        raise Problem("too-many-requests", message, retry_seconds=seconds)

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        """Mark the answer as one person's, or give one for everybody its ETag; warn of a token of the first kind."""
        response = super().finalize_response(request, response, *args, **kwargs)
        for name, value in throttling.headers_of(getattr(self, "throttles", [])).items():
            response.headers[name] = value
        shopper = vars(request._request).get("recommender_shopper")
        if shopper is not None and shopper.token_claims is not None and shopper.token_claims.is_unlimited:
            deprecate(response, since=UNLIMITED_TOKENS_SINCE, until=tokens.UNLIMITED_UNTIL)
        if request.method == "GET" and response.status_code == 200 and is_impersonal(request):
            response = _conditional(request._request, response)
        else:
            patch_cache_control(response, private=True, no_store=True)
        patch_vary_headers(response, ("Authorization", "Cookie", "Recommender-Key"))
        return response


def is_impersonal(request: Request) -> bool:
    """Would everybody get the same answer? No cookie, no token and no user came. No query."""
    browser = request._request
    named = ("HTTP_AUTHORIZATION", VISITOR_HEADER, USER_HEADER)
    return not browser.COOKIES and not any(name in browser.META for name in named)


def _conditional(request: HttpRequest, response: Response) -> Any:
    """The answer with its ETag, or 304 where the client has the same already; the list's own id is no part of it."""
    content = {name: value for name, value in response.data.items() if name != "ranking_id"}
    digest = hashlib.blake2b(PlainJSONRenderer().render(content), digest_size=16).hexdigest()
    patch_cache_control(response, private=True, no_cache=True)
    response.headers["ETag"] = quote_etag(digest)
    return get_conditional_response(request, etag=response.headers["ETag"], response=response)


def deprecate(response: Response, *, since: dt.datetime, until: dt.datetime) -> None:
    """Say that what was used is deprecated and will end. Sources: RFC 9745, section 2; RFC 8594, section 3."""
    response.headers["Deprecation"] = f"@{int(since.timestamp())}"
    response.headers["Sunset"] = http_date(until.timestamp())


def checked(shape: type[Serializer[Any]], sent: Any) -> dict[str, Any]:
    """Return the valid values of a query string or a body. Raises `ValidationError`."""
    serializer = shape(data=sent)
    serializer.is_valid(raise_exception=True)
    values: dict[str, Any] = serializer.validated_data
    return values


def shown(request: HttpRequest, ranking: Ranking, *, current_item_id: str = "", next_cursor: str = "") -> Response:
    """Answer with a list, once its impression is committed; where that fails the list is answered all the same."""
    capture.record_impression(request, ranking, current_item_id=current_item_id)
    try:
        capture.flush(request)
    except Exception:  # the edge: a list that cannot be recorded is a list all the same
        logger.exception("ranking %s was shown and not recorded", ranking.id)
        capture.counts["failed"] += 1
    return Response(RankingSerializer(ranking, context={"next_cursor": next_cursor}).data)
