"""Answers every error of the API as `application/problem+json` (RFC 9457), with what to do about it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from django.core.exceptions import BadRequest, PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.db import DatabaseError
from django.http import Http404
from django.http.multipartparser import MultiPartParserError
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.settings import api_settings
from rest_framework.views import set_rollback

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:shopreco:problem:"
CHALLENGE = 'Visitor realm="recommender"'
RETRY_SECONDS = 5
"""What a client is told to wait while the database does not answer."""

KINDS: dict[str, tuple[int, str]] = {
    "invalid-request": (400, "A parameter or a field is not valid"),
    "malformed-json": (400, "The body is not acceptable JSON"),
    "bad-request": (400, "The request cannot be read"),
    "not-identified": (401, "Nobody is identified"),
    "invalid-key": (401, "The key is not valid"),
    "invalid-token": (401, "The visitor token is not valid"),
    "expired-token": (401, "The visitor token has expired"),
    "forbidden": (403, "The request is refused"),
    "out-of-scope": (403, "The token or key was not issued for this"),
    "not-signed-in": (403, "The token is not signed in to the account"),
    "unknown-endpoint": (404, "There is no such endpoint"),
    "unknown-item": (404, "There is no such item"),
    "unknown-slot": (404, "There is no such slot"),
    "unknown-erasure": (404, "There is no such erasure"),
    "unknown-token": (404, "There is no such token"),
    "unknown-rule": (404, "There is no such rule"),
    "not-linked": (404, "The visitor is not linked to a user"),
    "method-not-allowed": (405, "The endpoint has no such method"),
    "linked-to-another": (409, "The visitor belongs to another user"),
    "stale-rule": (409, "Somebody has changed the rule"),
    "refused-step": (409, "The rule cannot take this step now"),
    "expired-cursor": (410, "The results are no longer kept"),
    "length-required": (411, "The length of the body is not known"),
    "too-large": (413, "The request is too large"),
    "unsupported-media-type": (415, "The body must be JSON"),
    "too-many-requests": (429, "There were too many requests"),
    "internal-error": (500, "The server failed"),
    "unavailable": (503, "The database does not answer"),
}
"""Every problem there is: its status and its title. `docs/api.md` lists them for the client's author."""


class Problem(exceptions.APIException):
    """A refusal of the API itself; `kind` is a key of `KINDS`, `errors` maps names of parameters to what is wrong."""

    def __init__(
        self, kind: str, detail: str, errors: Mapping[str, str] | None = None, *, retry_seconds: int = 0
    ) -> None:
        super().__init__(detail)
        self.kind, self.retry_seconds = kind, retry_seconds
        self.status_code = KINDS[kind][0]
        self.errors = [{"name": name, "detail": message} for name, message in (errors or {}).items()]


def answer(error: Exception, context: Mapping[str, Any]) -> Response:
    """The response to any exception of a view; REST framework's exception handler of every view of this API."""
    problem = _problem(error)
    if problem.status_code >= 500:
        logger.error("API: %s, in %s", problem.kind, type(context.get("view")).__name__, exc_info=error)
    set_rollback()
    body: dict[str, Any] = {
        "type": TYPE_PREFIX + problem.kind,
        "title": KINDS[problem.kind][1],
        "status": problem.status_code,
        "detail": str(problem.detail),
    }
    if problem.errors:
        body["errors"] = problem.errors
    headers = _headers(problem)
    return Response(body, status=problem.status_code, headers=headers, content_type=MEDIA_TYPE)


def describe(detail: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Flatten the errors of a serializer to (name of the field, sentence)."""
    if isinstance(detail, Mapping):
        for key, inner in detail.items():
            own = "" if key == api_settings.NON_FIELD_ERRORS_KEY else str(key)
            yield from describe(inner, ".".join(part for part in (name, own) if part))
    elif isinstance(detail, Sequence) and not isinstance(detail, str):
        for inner in detail:
            yield from describe(inner, name)
    else:
        yield name, str(detail)


def _problem(error: Exception) -> Problem:
    if isinstance(error, Problem):
        return error
    if isinstance(error, exceptions.ValidationError):
        errors = dict(describe(error.detail))
        sentences = "; ".join(f"{name}: {message}" if name else message for name, message in errors.items())
        return Problem("invalid-request", sentences, {name: message for name, message in errors.items() if name})
    if isinstance(error, exceptions.APIException):
        return Problem(_kind_of_status(error.status_code), str(error.detail))
    if isinstance(error, Http404):
        return Problem("unknown-endpoint", str(error) or "Nothing is there.")
    if isinstance(error, PermissionDenied):
        return Problem("forbidden", str(error) or "You may not do this.")
    if isinstance(error, RequestDataTooBig):
        return Problem("too-large", str(error))
    if isinstance(error, SuspiciousOperation | BadRequest | MultiPartParserError):
        return Problem("bad-request", str(error) or "The request is malformed.")
    if isinstance(error, DatabaseError):
        return Problem("unavailable", f"Nothing was stored. Send the same request again in {RETRY_SECONDS} seconds.")
    return Problem("internal-error", "Nothing was stored. The failure is in the server's log.")


def _kind_of_status(status: int) -> str:
    """The kind that stands for an exception of REST framework's own."""
    kinds = {401: "not-identified", 403: "forbidden", 404: "unknown-endpoint", 405: "method-not-allowed"}
    others = {413: "too-large", 415: "unsupported-media-type"}
    return (kinds | others).get(status, "bad-request" if status < 500 else "internal-error")


def _headers(problem: Problem) -> dict[str, str]:
    headers = {}
    if problem.status_code == 401:
        headers["WWW-Authenticate"] = CHALLENGE
    if problem.kind == "unavailable" or problem.retry_seconds:
        headers["Retry-After"] = str(problem.retry_seconds or RETRY_SECONDS)
    return headers
