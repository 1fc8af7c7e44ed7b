"""A visitor is known by a signed id made after consent, and tied to at most one user."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser
from django.db import connection
from django.http import HttpResponse
from django.test import RequestFactory
from django.utils import timezone
from django.utils.functional import SimpleLazyObject

from recommender import identity
from recommender.identity import cookie_for, linking, shopper_of, token_for, visitor_key_from, visitor_key_from_cookie
from recommender.identity.consent import has_refused
from recommender.models import Event, Visitor
from recommender.types import Context
from tests.conftest import assert_queries

pytestmark = pytest.mark.django_db

IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148 Safari/604.1"
IPAD = "Mozilla/5.0 (iPad; CPU OS 16_6 like Mac OS X) AppleWebKit/605.1.15 Version/16.6 Mobile/15E148 Safari/604.1"
CHROME = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36"
CUBOT = "Mozilla/5.0 (Linux; Android 13; CUBOT P80) AppleWebKit/537.36 Chrome/126.0 Mobile Safari/537.36"
ANDROID_TABLET = (
    "Mozilla/5.0 (Linux; Android 13; SM-X200) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0 Safari/537.36"
)
GOOGLEBOT = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"


def asking(*, consent: str | None = "granted", key: uuid.UUID | None = None, user: Any = None, **headers: str) -> Any:
    request: Any = RequestFactory().get("/", **headers)
    if consent is not None:
        request.COOKIES["recommender_consent"] = consent
    if key is not None:
        request.COOKIES["recommender_visitor"] = cookie_for(key)
    request.user = user or AnonymousUser()
    return request


@pytest.fixture
def user() -> Any:
    return get_user_model().objects.create(username="ada")


@pytest.fixture
def other_user() -> Any:
    return get_user_model().objects.create(username="grace")


def viewed(visitor: Visitor, *item_ids: str, **values: Any) -> None:
    for item_id in item_ids:
        Event.objects.create(
            message_id=uuid.uuid4().hex,
            visitor=visitor,
            type="view_item",
            item_id=item_id,
            **{"occurred_at": timezone.now(), **values},
        )


def items_of(request: Any) -> list[str]:
    return [event.item_id for event in shopper_of(request).history()]


@pytest.mark.parametrize(("sign", "read"), [(token_for, visitor_key_from), (cookie_for, visitor_key_from_cookie)])
def test_what_was_signed_gives_the_key_back_and_a_forgery_gives_none(sign: Any, read: Any) -> None:
    key = uuid.uuid4()
    signed = sign(key)
    assert read(signed) == key
    for forged in (
        uuid.uuid4().hex + signed[32:],
        signed[:-1],
        signed + "A",
        signed.swapcase(),
        key.hex,
        "",
        "\x00",
        "é" * 60,
        ":" * 60,
        "a" * 9000,
    ):
        assert read(forged) is None


def test_cookie_is_no_token_and_a_token_no_cookie() -> None:
    key = uuid.uuid4()
    assert visitor_key_from(cookie_for(key)) is None
    assert visitor_key_from_cookie(token_for(key)) is None


@pytest.mark.parametrize(("sign", "read"), [(token_for, visitor_key_from), (cookie_for, visitor_key_from_cookie)])
def test_what_was_signed_survives_a_rotated_secret_key(settings: Any, sign: Any, read: Any) -> None:
    signed = sign(key := uuid.uuid4())
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another"
    assert read(signed) == key
    settings.SECRET_KEY_FALLBACKS = []
    assert read(signed) is None


@pytest.mark.parametrize("answer", [None, "denied", "", "GRANTED"])
def test_nobody_has_an_id_before_consent(answer: str | None, django_assert_num_queries: Any) -> None:
    shopper = shopper_of(asking(consent=answer, key=uuid.uuid4()))
    with django_assert_num_queries(0):
        assert (shopper.visitor_key, shopper.has_consented, shopper.history()) == (None, False, ())


def test_cookie_names_the_visitor_without_a_query(django_assert_num_queries: Any) -> None:
    key = uuid.uuid4()
    with django_assert_num_queries(0):
        shopper = shopper_of(asking(key=key))
        assert (shopper.visitor_key, shopper.has_consented, shopper.is_fresh) == (key, True, False)


def test_forged_cookie_is_a_fresh_visitor() -> None:
    request = asking()
    request.COOKIES["recommender_visitor"] = uuid.uuid4().hex + ":forged"
    shopper = shopper_of(request)
    assert shopper.is_fresh is False
    assert shopper.visitor_key is not None
    assert shopper.is_fresh is True
    assert shopper.history() == ()


def test_the_same_request_has_the_same_shopper() -> None:
    request = asking()
    assert shopper_of(request) is shopper_of(request)
    wrapped = type("RestRequest", (), {"_request": request})()
    assert shopper_of(wrapped) is shopper_of(request)


def test_knowing_a_consenting_visitor_leaves_the_session_alone() -> None:
    def unreachable() -> Any:
        raise AssertionError("the session was read")

    request = asking(key=uuid.uuid4())
    request.user = SimpleLazyObject(unreachable)
    shopper = shopper_of(request)
    assert shopper.visitor_key is not None
    assert shopper.has_consented
    assert shopper.recorded_user_key is None
    assert shopper.context().device == ""


def test_failing_consent_callable_means_no_consent(settings: Any, caplog: Any) -> None:
    def broken(request: Any) -> bool:
        raise RuntimeError("the consent platform is down")

    settings.RECOMMENDER = {**settings.RECOMMENDER, "CONSENT": broken}
    assert shopper_of(asking()).visitor_key is None
    assert "CONSENT" in caplog.text


def test_own_consent_callable_is_not_overruled_by_an_account(settings: Any, user: Any) -> None:
    identity.grant_consent([str(user.pk)])
    assert shopper_of(asking(consent=None, user=user)).has_consented
    settings.RECOMMENDER = {**settings.RECOMMENDER, "CONSENT": lambda request: False}
    assert not shopper_of(asking(consent=None, user=user)).has_consented


def test_account_that_consented_counts_without_the_cookie_but_not_against_a_refusal(user: Any) -> None:
    identity.grant_consent([str(user.pk)])
    shopper = shopper_of(asking(consent=None, user=user))
    assert shopper.visitor_key == identity.own_key(str(user.pk))
    assert not shopper_of(asking(consent="denied", user=user)).has_consented


def test_making_the_users_own_visitor_is_not_consent(user: Any) -> None:
    visitor = identity.visitor_of_user(str(user.pk))
    assert identity.visitor_of_user(str(user.pk)) == visitor
    assert not shopper_of(asking(consent=None, user=user)).has_consented
    assert identity.grant_consent([str(user.pk)]) == 1
    visitor.refresh_from_db()
    assert visitor.has_consented


def test_history_is_the_newest_events_oldest_first_in_one_query(
    django_assert_num_queries: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr("recommender.identity.shopper.HISTORY_LIMIT", 3)
    visitor = Visitor.objects.create()
    now = timezone.now()
    for day, item_id in enumerate(["new", "a", "b", "old"]):
        viewed(visitor, item_id, occurred_at=now - timedelta(days=day))
    shopper = shopper_of(asking(key=visitor.key))
    with django_assert_num_queries(1):
        assert [event.item_id for event in shopper.history()] == ["b", "a", "new"]
        assert shopper.history() is shopper.history()


def test_history_of_a_user_is_that_of_all_their_visitors(user: Any, other_user: Any) -> None:
    phone = Visitor.objects.create(user_key=str(user.pk))
    laptop = Visitor.objects.create(user_key=str(user.pk))
    viewed(phone, "phone")
    viewed(laptop, "laptop")
    viewed(Visitor.objects.create(user_key=str(other_user.pk)), "secret")
    viewed(Visitor.objects.create(user_key=str(user.pk), has_consented=False), "withdrawn")
    viewed(Visitor.objects.create(user_key=str(user.pk), is_profiled=False), "unprofiled")
    viewed(laptop, "prefetched", is_bot=True)
    assert items_of(asking(key=laptop.key, user=user)) == ["phone", "laptop"]
    assert items_of(asking(key=laptop.key)) == ["laptop"]


def test_cookie_of_another_user_shows_nothing_of_theirs(user: Any, other_user: Any) -> None:
    visitor = Visitor.objects.create(user_key=str(user.pk))
    viewed(visitor, "secret")
    assert items_of(asking(key=visitor.key, user=other_user)) == []


def test_account_history_costs_one_query_with_its_consent(user: Any, django_assert_num_queries: Any) -> None:
    identity.grant_consent([str(user.pk)])
    viewed(Visitor.objects.get(), "a")
    shopper = shopper_of(asking(consent=None, user=user))
    with django_assert_num_queries(1):
        assert [event.item_id for event in shopper.history()] == ["a"]
        assert shopper.has_consented
        assert shopper.visitor_key == identity.own_key(str(user.pk))


@pytest.mark.parametrize("headers", [{}, {"HTTP_USER_AGENT": GOOGLEBOT}], ids=["new visitor", "crawler"])
def test_somebody_without_a_past_has_no_history_and_costs_no_query(
    headers: dict[str, str], django_assert_num_queries: Any
) -> None:
    shopper = shopper_of(asking(**headers))
    with django_assert_num_queries(0):
        assert shopper.history() == ()


def test_page_begins_without_a_read_price() -> None:
    shopper = shopper_of(asking())
    assert (shopper.live, shopper.n_live_reads) == ({}, 0)


def test_global_privacy_control_switches_the_profile_off(django_assert_num_queries: Any) -> None:
    visitor = Visitor.objects.create()
    viewed(visitor, "a")
    shopper = shopper_of(asking(key=visitor.key, HTTP_SEC_GPC="1"))
    with django_assert_num_queries(0):
        assert (shopper.is_profiled, shopper.history()) == (False, ())


def test_app_is_known_by_its_token_and_consents_by_its_row() -> None:
    visitor = Visitor.objects.create()
    viewed(visitor, "a")
    header = {"HTTP_AUTHORIZATION": f"Visitor {token_for(visitor.key)}", "HTTP_USER_AGENT": "python-requests/2.32"}
    shopper = shopper_of(asking(consent=None, **header))
    assert (shopper.visitor_key, shopper.source, shopper.has_consented) == (visitor.key, "api", True)
    assert (shopper.is_crawler, shopper.is_bot) == (False, False)
    assert [event.item_id for event in shopper.history()] == ["a"]
    Visitor.objects.update(has_consented=False)
    shopper = shopper_of(asking(consent=None, **header))
    assert (shopper.visitor_key, shopper.has_consented, shopper.history()) == (visitor.key, False, ())


def test_app_of_a_user_sees_the_history_of_all_devices(user: Any) -> None:
    app = Visitor.objects.create(user_key=str(user.pk))
    viewed(Visitor.objects.create(user_key=str(user.pk)), "browser")
    assert items_of(asking(consent=None, HTTP_AUTHORIZATION=f"Visitor {token_for(app.key)}")) == ["browser"]


def test_app_is_known_beside_the_shops_own_authorization(user: Any) -> None:
    """A request that signs its user in by the shop's own token names the visitor in a header of its own."""
    app = Visitor.objects.create(has_consented=True)
    headers = {"HTTP_AUTHORIZATION": "Token abc", "HTTP_RECOMMENDER_VISITOR": token_for(app.key)}
    shopper = shopper_of(asking(consent=None, user=user, **headers))
    assert (shopper.visitor_key, shopper.user_key, shopper.has_consented) == (app.key, str(user.pk), True)
    headers["HTTP_AUTHORIZATION"] = f"Visitor {token_for(uuid.uuid4())}"
    own = shopper_of(asking(**headers))
    assert own.visitor_key != app.key, "the token of the API's own scheme counts first"


@pytest.mark.parametrize(
    "token", ["", "forged", "\x00", cookie_for(uuid.UUID(int=7))], ids=["empty", "forged", "NUL", "cookie"]
)
def test_forged_token_beside_an_authorization_is_as_none(token: str) -> None:
    cookie = uuid.uuid4()
    shopper = shopper_of(asking(key=cookie, HTTP_RECOMMENDER_VISITOR=token))
    assert (shopper.token, shopper.visitor_key) == (None, cookie)


@pytest.mark.parametrize("token", ["", "forged", "\x00", "0" * 32 + ":x", "é" * 50])
def test_forged_token_is_nobody(token: str) -> None:
    shopper = shopper_of(asking(key=uuid.uuid4(), HTTP_AUTHORIZATION=f"Visitor {token}"))
    assert (shopper.visitor_key, shopper.has_consented, shopper.history()) == (None, False, ())


@pytest.mark.parametrize(
    ("agent", "device", "is_bot"),
    [
        (IPHONE, "mobile", False),
        (CUBOT, "mobile", False),
        (IPAD, "tablet", False),
        (ANDROID_TABLET, "tablet", False),
        (CHROME, "desktop", False),
        ("", "", False),
        (GOOGLEBOT, "desktop", True),
        ("curl/8.5.0", "desktop", True),
        ("facebookexternalhit/1.1", "desktop", True),
    ],
)
def test_device_and_crawler_are_read_from_the_agent(agent: str, device: str, is_bot: bool) -> None:
    shopper = shopper_of(asking(HTTP_USER_AGENT=agent))
    assert (shopper.device, shopper.is_bot) == (device, is_bot)
    assert (shopper.visitor_key is None) == is_bot


@pytest.mark.parametrize("header", ["HTTP_SEC_PURPOSE", "HTTP_PURPOSE", "HTTP_X_MOZ"])
def test_prefetched_page_is_flagged_and_keeps_its_visitor(header: str) -> None:
    shopper = shopper_of(asking(key=uuid.uuid4(), HTTP_USER_AGENT=CHROME, **{header: "prefetch;prerender"}))
    assert shopper.is_bot
    assert shopper.visitor_key is not None


@pytest.mark.parametrize(
    ("accepted", "region"),
    [("en-GB,en;q=0.9", "GB"), ("zh-Hant-TW", "TW"), ("de", ""), ("*", ""), ("", ""), ("x" * 9000, "")],
)
def test_region_is_the_country_of_the_first_language(accepted: str, region: str) -> None:
    assert shopper_of(asking(HTTP_ACCEPT_LANGUAGE=accepted)).region == region


def test_login_links_the_visitor_to_the_user(client: Any, user: Any) -> None:
    identity.connect()
    request = asking(key=(key := uuid.uuid4()))
    with assert_queries(2):
        linking._on_login(request=request, user=user)
    visitor = Visitor.objects.get(key=key)
    assert visitor.user_key == str(user.pk)
    assert shopper_of(request).user_key == str(user.pk)


def test_login_of_a_second_user_gets_a_fresh_visitor(user: Any, other_user: Any) -> None:
    visitor = Visitor.objects.create(user_key=str(user.pk))
    request = asking(key=visitor.key)
    linking._on_login(request=request, user=other_user)
    visitor.refresh_from_db()
    assert visitor.user_key == str(user.pk)
    shopper = shopper_of(request)
    assert shopper.visitor_key != visitor.key
    assert shopper.is_fresh


def test_login_without_consent_leaves_no_row(user: Any) -> None:
    linking._on_login(request=asking(consent=None, key=uuid.uuid4()), user=user)
    linking._on_login(request=None, user=user)
    assert not Visitor.objects.exists()


def test_login_without_consent_in_this_browser_costs_no_query(user: Any, django_assert_num_queries: Any) -> None:
    identity.grant_consent([str(user.pk)])
    request = asking(consent=None, user=user)
    with django_assert_num_queries(0):
        linking._on_login(request=request, user=user)
    assert shopper_of(request).visitor_key == identity.own_key(str(user.pk))


def test_logout_begins_a_fresh_visitor(user: Any) -> None:
    request = asking(key=(key := uuid.uuid4()), user=user)
    assert shopper_of(request).visitor_key == key
    linking._on_logout(request=request, user=user)
    assert shopper_of(request).visitor_key not in (key, None)
    assert shopper_of(request).is_fresh


def test_link_is_reversible_and_never_moves_a_visitor_between_users() -> None:
    visitor = Visitor.objects.create()
    assert identity.link(visitor, "1")
    assert identity.link(visitor, "1")
    assert not identity.link(visitor, "2")
    visitor.refresh_from_db()
    assert visitor.user_key == "1"
    identity.unlink(visitor)
    assert identity.link(visitor, "2")
    visitor.refresh_from_db()
    assert visitor.user_key == "2"
    identity.unlink(visitor)
    assert visitor.user_key is None


def set_cookies(response: HttpResponse) -> dict[str, dict[str, Any]]:
    """The cookies of a response: the value and the attributes that are set, without the date of expiry."""
    return {
        name: {"value": morsel.value} | {key: value for key, value in morsel.items() if value and key != "expires"}
        for name, morsel in response.cookies.items()
    }


@pytest.mark.parametrize(("is_granted", "answer"), [(True, "granted"), (False, "denied")])
def test_answer_is_kept_in_the_browser_for_half_a_year(is_granted: bool, answer: str) -> None:
    response = HttpResponse()
    identity.set_consent_cookie(response, is_granted=is_granted)
    assert set_cookies(response) == {
        "recommender_consent": {"value": answer, "max-age": 15_552_000, "path": "/", "samesite": "Lax"}
    }
    assert identity.withdraws_consent(response) is not is_granted


def test_deleted_answer_lets_the_banner_ask_again() -> None:
    response = HttpResponse()
    assert not identity.withdraws_consent(response)
    identity.delete_consent_cookie(response)
    assert set_cookies(response) == {"recommender_consent": {"value": "", "path": "/"}}
    assert response.cookies["recommender_consent"]["max-age"] == 0


@pytest.mark.parametrize(
    ("answer", "consents", "refuses"),
    [(None, False, False), ("granted", True, False), ("denied", False, True), ("", False, True)],
)
def test_only_the_granted_answer_is_consent_and_only_another_one_a_refusal(
    answer: str | None, consents: bool, refuses: bool
) -> None:
    request = asking(consent=answer)
    assert (identity.has_consented(request), has_refused(request)) == (consents, refuses)
    assert shopper_of(request).refuses is refuses


def test_own_cookie_holds_the_consent_unless_the_shop_names_another_place(settings: Any) -> None:
    assert identity.is_by_cookie() is True
    settings.RECOMMENDER = {**settings.RECOMMENDER, "CONSENT": "shop.consent.given"}
    assert identity.is_by_cookie() is False


@pytest.mark.parametrize(("is_secure", "session_is_secure"), [(False, False), (True, False), (False, True)])
def test_visitors_cookie_follows_the_settings_of_the_session_cookie(
    settings: Any, is_secure: bool, session_is_secure: bool
) -> None:
    settings.RECOMMENDER = {**settings.RECOMMENDER, "COOKIE_NAME": "who", "COOKIE_AGE_DAYS": 2}
    settings.SESSION_COOKIE_DOMAIN, settings.SESSION_COOKIE_PATH = ".shop.example", "/shop"
    settings.SESSION_COOKIE_SECURE = session_is_secure
    response, key = HttpResponse(), uuid.uuid4()
    identity.set_cookie(response, key, is_secure=is_secure)
    scope = {"domain": ".shop.example", "path": "/shop", "samesite": "Lax"}
    secure = {"secure": True} if is_secure or session_is_secure else {}
    assert set_cookies(response) == {
        "who": {"value": cookie_for(key), "max-age": 172_800, "httponly": True, **scope, **secure}
    }
    response = HttpResponse()
    identity.delete_cookie(response)
    assert set_cookies(response) == {"who": {"value": "", **scope}}
    assert response.cookies["who"]["max-age"] == 0


def test_context_holds_the_moment_the_device_and_the_region() -> None:
    shopper = shopper_of(asking(HTTP_USER_AGENT=IPHONE, HTTP_ACCEPT_LANGUAGE="en-GB"))
    at = timezone.now() - timedelta(days=3)
    assert shopper.context(at) == Context(at, device="mobile", region="GB")
    before = timezone.now()
    assert before <= shopper.context().at <= timezone.now()


@pytest.mark.parametrize("purpose", ["prefetch", "PREFETCH", "prerender", "preview"])
@pytest.mark.parametrize("header", ["HTTP_SEC_PURPOSE", "HTTP_PURPOSE", "HTTP_X_PURPOSE", "HTTP_X_MOZ"])
def test_browser_that_fetches_ahead_is_a_bot_by_each_header_and_word(header: str, purpose: str) -> None:
    assert shopper_of(asking(**{header: purpose})).is_bot
    assert not shopper_of(asking(**{header: "navigate"})).is_bot


def test_words_of_two_headers_are_read_apart() -> None:
    assert not shopper_of(asking(HTTP_SEC_PURPOSE="pre", HTTP_PURPOSE="fetch")).is_bot


def test_own_visitor_of_a_user_has_the_same_key_for_ever(user: Any) -> None:
    """Stored rows depend on it."""
    assert identity.own_key("7") == uuid.UUID("7e9782f4-39b7-5976-b644-ee871e5e467f")
    assert identity.user_key_of(user) == str(user.pk)


def test_own_visitor_is_made_with_its_user_and_without_consent(django_assert_num_queries: Any) -> None:
    identity.visitor_of_user("7")
    columns = ("key", "user_key", "has_consented", "is_pseudonymous", "has_objected")
    assert list(Visitor.objects.values_list(*columns)) == [(identity.own_key("7"), "7", False, False, False)]
    with django_assert_num_queries(1):
        identity.visitor_of_user("7")


def test_granted_consent_replaces_an_objection_and_keeps_the_rest() -> None:
    first_seen_at = timezone.now() - timedelta(days=9)
    Visitor.objects.create(
        key=identity.own_key("7"), user_key="7", has_consented=False, is_pseudonymous=True, has_objected=True,
        is_profiled=False, device="mobile", first_seen_at=first_seen_at,
    )  # fmt: skip
    assert identity.grant_consent(["8", "7", "8"]) == 2
    assert identity.grant_consent([]) == 0
    columns = (
        "key", "user_key", "has_consented", "is_pseudonymous", "has_objected", "is_profiled", "device"
    )  # fmt: skip
    assert set(Visitor.objects.values_list(*columns)) == {
        (identity.own_key("7"), "7", True, False, False, False, "mobile"),
        (identity.own_key("8"), "8", True, False, False, True, ""),
    }
    assert Visitor.objects.get(user_key="7").first_seen_at == first_seen_at


@pytest.mark.parametrize("n_users", [76, 77])
def test_consent_of_many_users_takes_one_statement_and_one_to_end_erasures(n_users: int) -> None:
    n_statements = 3 if n_users > 76 and connection.vendor == "sqlite" else 2
    with assert_queries(n_statements, at_least=n_statements):
        assert identity.grant_consent([str(number) for number in range(n_users)]) == n_users


def test_login_that_cannot_be_linked_is_logged_and_gets_a_fresh_visitor(
    user: Any, monkeypatch: Any, caplog: Any
) -> None:
    visitor = Visitor.objects.create()
    monkeypatch.setattr(linking, "link", lambda visitor, user_key: 1 / 0)
    request = asking(key=visitor.key)
    linking._on_login(request=request, user=user)
    assert caplog.messages == ["a login was not linked to its visitor; a fresh visitor is used"]
    assert caplog.records[0].exc_info is not None
    shopper = shopper_of(request)
    assert shopper.visitor_key not in (None, visitor.key)
    assert (shopper.is_fresh, shopper.user_key) == (True, str(user.pk))


def test_login_keeps_the_visitor_of_the_same_user_in_one_query(user: Any) -> None:
    visitor = Visitor.objects.create(user_key=str(user.pk))
    request = asking(key=visitor.key)
    with assert_queries(1):
        linking._on_login(request=request, user=user)
    assert (shopper_of(request).visitor_key, shopper_of(request).is_fresh) == (visitor.key, False)


def test_login_of_an_app_leaves_its_visitor_unlinked(user: Any) -> None:
    app = Visitor.objects.create()
    request = asking(HTTP_AUTHORIZATION=f"Visitor {token_for(app.key)}")
    linking._on_login(request=request, user=user)
    app.refresh_from_db()
    assert app.user_key is None
    assert Visitor.objects.count() == 1
    assert (shopper_of(request).visitor_key, shopper_of(request).user_key) == (app.key, str(user.pk))


def test_logout_without_a_request_or_a_user_changes_nobody() -> None:
    request = asking(key=(key := uuid.uuid4()))
    assert shopper_of(request).visitor_key == key
    linking._on_logout(request=request, user=None)
    assert shopper_of(request).visitor_key == key
    linking._on_logout(request=None, user="ada")


@pytest.mark.parametrize(("consent", "agent"), [(None, CHROME), ("denied", CHROME), ("granted", GOOGLEBOT)])
def test_whoever_may_not_be_recorded_stays_nobody_after_a_logout(consent: str | None, agent: str) -> None:
    shopper = shopper_of(asking(consent=consent, key=uuid.uuid4(), HTTP_USER_AGENT=agent))
    shopper.start_over()
    assert (shopper.visitor_key, shopper.is_fresh) == (None, False)


def test_forgotten_shopper_is_read_again(user: Any, other_user: Any) -> None:
    for person in (user, other_user):
        identity.grant_consent([str(person.pk)])
        viewed(Visitor.objects.get(user_key=str(person.pk)), person.username)
    request = asking(consent=None, user=user)
    shopper = shopper_of(request)

    def read() -> tuple[Any, ...]:
        items = [event.item_id for event in shopper.history()]
        return shopper.has_consented, shopper.visitor_key, shopper.user_key, items

    assert read() == (True, identity.own_key(str(user.pk)), str(user.pk), ["ada"])
    request.user = other_user
    assert read()[3] == ["ada"]
    shopper.forget()
    assert read() == (True, identity.own_key(str(other_user.pk)), str(other_user.pk), ["grace"])
    request.user = AnonymousUser()
    shopper.forget()
    assert read() == (False, None, None, [])


def test_signed_in_user_sees_what_this_browser_did_before_and_nothing_of_strangers(user: Any) -> None:
    browser = Visitor.objects.create()
    viewed(browser, "before")
    viewed(Visitor.objects.create(), "stranger")
    assert items_of(asking(key=browser.key, user=user)) == ["before"]
    viewed(Visitor.objects.create(user_key=str(user.pk)), "elsewhere")
    assert items_of(asking(key=browser.key, user=user)) == ["before", "elsewhere"]
    assert items_of(asking(user=user)) == ["elsewhere"]
    assert items_of(asking()) == []


def test_token_reads_the_history_of_its_visitor_and_no_strangers() -> None:
    app = Visitor.objects.create()
    viewed(app, "own")
    viewed(Visitor.objects.create(), "stranger")
    viewed(Visitor.objects.create(user_key="7"), "of a user")
    assert items_of(asking(consent=None, HTTP_AUTHORIZATION=f"Visitor {token_for(app.key)}")) == ["own"]
    assert items_of(asking(consent=None, HTTP_AUTHORIZATION="Visitor forged")) == []


def test_personal_page_is_marked_on_djangos_request() -> None:
    request = asking()
    identity.mark_personal(type("RestRequest", (), {"_request": request})())
    assert (request.recommender_is_personal, request._cache_update_cache) == (True, False)
