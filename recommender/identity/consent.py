"""The consent cookie: where the banner's answer is stored, set, deleted and read."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponseBase

from recommender import conf

CONSENT_COOKIE = "recommender_consent"
CONSENT_GRANTED = "granted"
CONSENT_DENIED = "denied"
CONSENT_COOKIE_AGE_SECONDS = 180 * 86_400
"""Half a year, after which a browser is asked again."""


def has_consented(request: HttpRequest) -> bool:
    """The default `CONSENT`: the banner's cookie says yes."""
    return request.COOKIES.get(CONSENT_COOKIE) == CONSENT_GRANTED


def has_refused(request: HttpRequest) -> bool:
    """The banner's cookie holds another answer than yes."""
    return request.COOKIES.get(CONSENT_COOKIE, CONSENT_GRANTED) != CONSENT_GRANTED


def is_by_cookie() -> bool:
    """Does this app's own cookie hold the consent, and not a `CONSENT` of the shop's?"""
    return bool(conf.get("CONSENT") == conf.DEFAULTS["CONSENT"])


def keeps_cookie(request: HttpRequest, response: HttpResponseBase) -> bool:
    """Does the banner's cookie show, without calling `CONSENT`, that the visitor's cookie may stay? On most pages it
    does."""
    return has_consented(request) and is_by_cookie() and CONSENT_COOKIE not in response.cookies


def set_consent_cookie(response: HttpResponseBase, *, is_granted: bool) -> None:
    """Store the answer in the browser, where the banner's script reads it."""
    answer = CONSENT_GRANTED if is_granted else CONSENT_DENIED
    response.set_cookie(CONSENT_COOKIE, answer, max_age=CONSENT_COOKIE_AGE_SECONDS, samesite="Lax", path="/")


def delete_consent_cookie(response: HttpResponseBase) -> None:
    """Let the banner ask again."""
    response.delete_cookie(CONSENT_COOKIE)


def ask_again(response: HttpResponseBase) -> None:
    """Let the banner ask again, unless this response stores an answer or the consent is in a cookie of the shop's."""
    if is_by_cookie() and CONSENT_COOKIE not in response.cookies:
        delete_consent_cookie(response)


def withdraws_consent(response: HttpResponseBase) -> bool:
    """Does this response store a refusal in the browser?"""
    answer = response.cookies.get(CONSENT_COOKIE)
    return answer is not None and answer.value != CONSENT_GRANTED
