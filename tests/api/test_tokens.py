"""An app's tokens: they expire, are refreshed, listed and revoked, open only what they were issued for, and end with a
sign-out. `POST me/link` makes web and app one profile."""

from __future__ import annotations

import datetime as dt
import json
import time
import uuid
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core import signing
from django.test import Client
from django.utils import timezone
from rest_framework.authentication import BaseAuthentication

from recommender import identity, serving
from recommender.capture import retention
from recommender.identity import cookie_for, token_for, tokens
from recommender.models import AppToken, Event, Visitor, VisitorLink
from recommender.tracking import odd_values
from tests.api.test_api import ROOT, App, assert_problem
from tests.conftest import assert_queries

pytestmark = pytest.mark.django_db
CSRF = "a" * 32


class Jwt(BaseAuthentication):
    """Stands for the shop's own token authentication: `Authorization: Bearer <username>`."""

    def authenticate(self, request: Any) -> tuple[Any, Any] | None:
        scheme, _, name = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
        return (get_user_model().objects.get(username=name), None) if scheme == "Bearer" else None


def signed_up(**body: Any) -> dict[str, Any]:
    answer = App().post("visitors", {"consent": True} | body)
    assert answer.status_code == 201, answer.content
    issued: dict[str, Any] = answer.json()
    return issued


def app_of(issued: dict[str, Any]) -> App:
    return App(issued["token"])


def refreshed(issued: dict[str, Any]) -> Any:
    return App().post("tokens/refresh", {"refresh_token": issued["refresh_token"]})


def search_event() -> dict[str, Any]:
    return {"message_id": uuid.uuid4().hex, "type": "search", "query": "tea"}


def later(monkeypatch: pytest.MonkeyPatch, **passed: float) -> None:
    """Move the clock of Python and of Django."""
    at = timezone.now() + dt.timedelta(**passed)
    monkeypatch.setattr(time, "time", at.timestamp)
    monkeypatch.setattr(timezone, "now", lambda: at)


def unlimited_token(visitor: Visitor) -> str:
    """As apps got it before tokens expired."""
    return signing.Signer(salt="recommender.visitor.token").sign(visitor.key.hex)


@pytest.fixture
def user() -> Any:
    return get_user_model().objects.create_user("ada", password="first")


@pytest.fixture
def jwt(settings: Any) -> None:
    settings.REST_FRAMEWORK = {"DEFAULT_AUTHENTICATION_CLASSES": ["tests.api.test_tokens.Jwt"]}


def link(issued: dict[str, Any], user: Any) -> Any:
    """As an app does that signs its user in with the shop's own token."""
    headers = {"Authorization": f"Bearer {user.username}", "Recommender-Visitor": issued["token"]}
    return post_link(Client(enforce_csrf_checks=True), headers)


def post_link(client: Client, headers: dict[str, str]) -> Any:
    return client.generic("POST", ROOT + "me/link", headers=headers)


class TestExpiry:
    def test_token_counts_an_hour_and_then_names_the_repair(self, monkeypatch: pytest.MonkeyPatch) -> None:
        app = app_of(signed_up())
        later(monkeypatch, minutes=59)
        assert app.get("me").status_code == 200
        later(monkeypatch, minutes=2)
        for method, path in (("GET", "search"), ("POST", "events"), ("GET", "me"), ("DELETE", "me")):
            assert "tokens/refresh" in assert_problem(app.send(method, path, b""), 401, "expired-token")

    def test_expired_token_in_the_apps_own_header_is_told_too(self, monkeypatch: pytest.MonkeyPatch) -> None:
        issued = signed_up()
        later(monkeypatch, minutes=61)
        answer = Client().get(ROOT + "search", headers={"Recommender-Visitor": issued["token"]})
        assert_problem(answer, 401, "expired-token")

    def test_page_records_nothing_under_an_expired_or_revoked_token(self, rf: Any) -> None:
        visitor = Visitor.objects.create()
        row = tokens.issue(visitor).row
        past = token_for(visitor.key, token_key=row.key, until=timezone.now() - dt.timedelta(seconds=1))
        assert identity.shopper_of(rf.get("/", HTTP_RECOMMENDER_VISITOR=past)).token is None
        now = token_for(visitor.key, token_key=row.key)
        assert identity.shopper_of(rf.get("/", HTTP_RECOMMENDER_VISITOR=now)).has_consented
        tokens.revoke(AppToken.objects.all())
        revoked = identity.shopper_of(rf.get("/", HTTP_RECOMMENDER_VISITOR=now))
        assert (revoked.has_consented, revoked.is_profiled) == (False, False)

    def test_order_finds_the_visitor_of_a_token_that_has_expired_since(self) -> None:
        key = uuid.uuid4()
        past = token_for(key, until=timezone.now() - dt.timedelta(days=3))
        assert odd_values.visitor_key(past) == key

    def test_unlimited_token_works_until_its_end_and_says_when(self, monkeypatch: pytest.MonkeyPatch) -> None:
        app = App(unlimited_token(Visitor.objects.create()))
        answer = app.get("me")
        assert answer.status_code == 200
        assert answer.headers["Deprecation"] == "@1795824000"
        assert answer.headers["Sunset"] == "Tue, 01 Jun 2027 00:00:00 GMT"
        assert "Deprecation" not in app_of(signed_up()).get("me").headers
        monkeypatch.setattr(tokens, "UNLIMITED_UNTIL", timezone.now() - dt.timedelta(seconds=1))
        assert_problem(app.get("me"), 401, "expired-token")

    def test_token_that_ended_long_ago_is_deleted(self) -> None:
        past, present = (tokens.issue(Visitor.objects.create()).row for _ in range(2))
        AppToken.objects.filter(pk=past.pk).update(expires_at=timezone.now() - dt.timedelta(days=31))
        retention.purge(at=timezone.now())
        assert list(AppToken.objects.all()) == [present]

    def test_unlimited_token_is_revoked_too(self) -> None:
        app = App(unlimited_token(Visitor.objects.create()))
        assert app.send("DELETE", "me/tokens/current", b"").status_code == 204
        assert_problem(app.get("me"), 401, "invalid-token")


class TestRefresh:
    def test_refresh_gives_the_next_pair_of_the_same_visitor(self, monkeypatch: pytest.MonkeyPatch) -> None:
        issued = signed_up(name="Pixel 8")
        later(monkeypatch, days=179)
        following = refreshed(issued).json()
        assert following["token_id"] == issued["token_id"]
        assert following["refresh_token"] != issued["refresh_token"]
        assert following["refresh_expires_at"] > issued["refresh_expires_at"]
        assert app_of(following).get("me").json()["visitor_id"] == issued["visitor_id"]

    def test_refresh_token_of_an_app_that_was_not_used_ends(self, monkeypatch: pytest.MonkeyPatch) -> None:
        issued = signed_up()
        later(monkeypatch, days=181)
        assert "POST visitors" in assert_problem(refreshed(issued), 401, "invalid-token")

    def test_lost_answer_is_given_again(self) -> None:
        issued = signed_up()
        first, again = refreshed(issued).json(), refreshed(issued).json()
        assert first["refresh_token"] == again["refresh_token"]
        assert refreshed(again).status_code == 200

    @pytest.mark.parametrize("n_refreshes", [1, 2])
    def test_refresh_token_that_was_used_before_ends_everything(
        self, monkeypatch: pytest.MonkeyPatch, n_refreshes: int
    ) -> None:
        stolen = newest = signed_up()
        for _ in range(n_refreshes):
            newest = refreshed(newest).json()
        if n_refreshes == 1:
            later(monkeypatch, minutes=61)
            newest = newest | {
                "token": token_for(uuid.UUID(stolen["visitor_id"]), token_key=uuid.UUID(stolen["token_id"]))
            }
        assert "used before" in assert_problem(refreshed(stolen), 401, "invalid-token")
        assert_problem(refreshed(newest), 401, "invalid-token")
        assert_problem(app_of(newest).get("me"), 401, "invalid-token")

    @pytest.mark.parametrize("kind", ["token", "cookie", "nonsense"])
    def test_nothing_else_is_a_refresh_token(self, kind: str) -> None:
        issued = signed_up()
        sent = {"token": issued["token"], "cookie": cookie_for(uuid.UUID(issued["visitor_id"])), "nonsense": "x" * 60}
        assert_problem(refreshed({"refresh_token": sent[kind]}), 401, "invalid-token")
        for method, path in (("GET", "me"), ("GET", "search")):
            assert_problem(App(issued["refresh_token"]).send(method, path, b""), 401, "invalid-token")


class TestScopes:
    def test_token_opens_only_what_it_was_issued_for(self) -> None:
        opened = {
            scope: {
                name: app.send(method, path, body).status_code
                for name, method, path, body in (
                    ("events", "POST", "events", [search_event()]),
                    ("lists", "GET", "search", b""),
                    ("profile", "GET", "me", b""),
                    ("export", "GET", "me/export", b""),
                    ("tokens", "GET", "me/tokens", b""),
                    ("suggest", "GET", "suggest", b""),
                )
            }
            for scope in ("events", "lists", "profile")
            for app in [app_of(signed_up(scopes=[scope]))]
        }
        nothing = {"events": 403, "lists": 403, "profile": 403, "export": 403, "tokens": 403, "suggest": 200}
        assert opened == {
            "events": nothing | {"events": 202},
            "lists": nothing | {"lists": 200},
            "profile": nothing | {"profile": 200, "export": 200, "tokens": 200},
        }

    def test_scope_is_kept_by_a_refresh(self) -> None:
        following = refreshed(signed_up(scopes=["events"])).json()
        assert following["scopes"] == ["events"]
        detail = assert_problem(app_of(following).get("me"), 403, "out-of-scope")
        assert detail == "This needs a token for 'profile'; yours was issued for: events."

    def test_scope_that_does_not_exist_is_refused(self) -> None:
        assert_problem(App().post("visitors", {"consent": True, "scopes": ["admin"]}), 400, "invalid-request")
        assert not Visitor.objects.exists()


class TestListed:
    def test_tokens_are_listed_and_revoked_one_by_one(self) -> None:
        issued = signed_up(name="Pixel 8")
        tablet = tokens.issue(Visitor.objects.get(), name="Tablet")
        listed = app_of(issued).get("me/tokens").json()["tokens"]
        assert {(one["name"], one["is_current"]) for one in listed} == {("Pixel 8", True), ("Tablet", False)}
        path = f"me/tokens/{tablet.row.key}"
        assert app_of(issued).send("DELETE", path, b"").status_code == 204
        assert_problem(App(tablet.token).get("me"), 401, "invalid-token")
        assert_problem(app_of(issued).send("DELETE", path, b""), 404, "unknown-token")
        assert_problem(app_of(issued).send("DELETE", "me/tokens/nonsense", b""), 404, "unknown-token")

    def test_nobody_sees_or_revokes_the_tokens_of_others(self) -> None:
        own, other = signed_up(), signed_up()
        assert [one["token_id"] for one in app_of(own).get("me/tokens").json()["tokens"]] == [own["token_id"]]
        assert_problem(app_of(own).send("DELETE", f"me/tokens/{other['token_id']}", b""), 404, "unknown-token")
        assert app_of(other).get("me").status_code == 200

    def test_sign_out_everywhere_ends_all(self) -> None:
        issued = signed_up()
        assert app_of(issued).send("DELETE", "me/tokens", b"").status_code == 204
        assert_problem(app_of(issued).get("me"), 401, "invalid-token")
        assert_problem(refreshed(issued), 401, "invalid-token")

    def test_sign_out_ends_token_and_refresh_token_of_any_scope(self) -> None:
        issued = signed_up(scopes=["events"])
        assert app_of(issued).send("DELETE", "me/tokens/current", b"").status_code == 204
        assert_problem(app_of(issued).post("events", [search_event()]), 401, "invalid-token")
        assert_problem(refreshed(issued), 401, "invalid-token")

    def test_token_costs_no_query_of_its_own(self) -> None:
        app = app_of(signed_up())
        serving.reload()
        with assert_queries(2, at_least=2):  # the visitor with its token, and the history
            app.get("search")


@pytest.mark.usefixtures("jwt")
class TestLink:
    def test_web_and_app_are_one_profile_after_the_link(self, user: Any) -> None:
        web, issued = Visitor.objects.create(user_key=str(user.pk)), signed_up()
        Event.objects.create(message_id="web", visitor=web, type="search", query="mug", occurred_at=timezone.now())
        assert app_of(issued).post("events", [search_event()]).json()["accepted"] == 1
        assert app_of(issued).get("me").json()["counts"] == {"search": 1}
        answer = link(issued, user)
        assert (answer.status_code, answer.json()["user"]) == (201, str(user.pk))
        assert app_of(issued).get("me").json()["counts"] == {"search": 2}
        browser = Client()
        browser.force_login(user)
        assert browser.get(ROOT + "me").json()["counts"] == {"search": 2}
        assert [one["token_id"] for one in browser.get(ROOT + "me/tokens").json()["tokens"]] == [issued["token_id"]]

    def test_session_links_too_and_needs_its_csrf_token(self, user: Any) -> None:
        issued, browser = signed_up(), Client(enforce_csrf_checks=True)
        browser.force_login(user)
        headers = {"Recommender-Visitor": issued["token"]}
        assert_problem(post_link(browser, headers), 403, "forbidden")
        browser.cookies["csrftoken"] = CSRF
        answer = post_link(browser, headers | {"X-CSRFToken": CSRF})
        assert answer.status_code == 201, answer.content
        assert VisitorLink.objects.get().authentication == "session"

    def test_link_is_on_record_and_can_be_undone(self, user: Any) -> None:
        issued = signed_up()
        link(issued, user)
        assert link(issued, user).status_code == 201
        record = VisitorLink.objects.get()
        assert (record.user_key, record.authentication, record.unlinked_at) == (str(user.pk), "Jwt", None)
        Visitor.objects.create(user_key=str(user.pk))
        assert app_of(issued).send("DELETE", "me/link", b"").status_code == 204
        record.refresh_from_db()
        assert record.unlinked_at is not None
        assert app_of(issued).get("me").json()["user"] is None
        assert_problem(app_of(issued).send("DELETE", "me/link", b""), 404, "not-linked")

    def test_visitor_never_goes_from_user_to_user(self, user: Any) -> None:
        issued, other = signed_up(), get_user_model().objects.create_user("bob")
        link(issued, user)
        assert "me/tokens/current" in assert_problem(link(issued, other), 409, "linked-to-another")
        assert Visitor.objects.get().user_key == str(user.pk)

    def test_nobody_signed_in_links_nothing(self, user: Any) -> None:
        issued = signed_up()
        assert_problem(app_of(issued).send("POST", "me/link", b""), 401, "not-identified")
        headers = {"Authorization": f"Bearer {user.username}"}
        assert_problem(post_link(Client(), headers), 401, "invalid-token")
        assert not VisitorLink.objects.exists()

    def test_token_does_not_open_an_account_that_an_order_tied_its_visitor_to(self, user: Any) -> None:
        issued = signed_up()
        Visitor.objects.update(user_key=str(user.pk))
        for method, path in (("GET", "me"), ("GET", "me/export"), ("DELETE", "me"), ("GET", "me/tokens")):
            detail = assert_problem(app_of(issued).send(method, path, b""), 403, "not-signed-in")
            assert "POST me/link" in detail
        link(issued, user)
        assert app_of(issued).get("me/export").status_code == 200

    def test_sign_out_of_the_session_that_linked_ends_the_token(self, user: Any) -> None:
        issued, other, browser = signed_up(), signed_up(), Client()
        browser.force_login(user)
        browser.cookies["csrftoken"] = CSRF
        for one in (issued, other):
            headers = {"Recommender-Visitor": one["token"], "X-CSRFToken": CSRF}
            assert post_link(browser, headers).status_code == 201
        elsewhere = signed_up()
        link(elsewhere, user)
        browser.logout()
        for one in (issued, other):
            assert_problem(app_of(one).get("me"), 401, "invalid-token")
            assert_problem(refreshed(one), 401, "invalid-token")
        assert app_of(elsewhere).get("me").status_code == 200

    @pytest.mark.parametrize("change", ["password", "is_active", "delete"])
    def test_account_that_changed_its_password_or_closed_ends_the_refresh_token(self, user: Any, change: str) -> None:
        issued = signed_up()
        link(issued, user)
        following = refreshed(issued).json()
        if change == "password":
            user.set_password("second")
        user.is_active = change != "is_active"
        user.delete() if change == "delete" else user.save()
        assert "account" in assert_problem(refreshed(following), 401, "invalid-token")

    def test_export_names_tokens_and_links(self, user: Any) -> None:
        issued = signed_up(name="Pixel 8")
        link(issued, user)
        everything = json.loads(app_of(issued).get("me/export").content)
        assert [one["name"] for one in everything["tokens"]] == ["Pixel 8"]
        assert [one["user_key"] for one in everything["links"]] == [str(user.pk)]
        assert app_of(issued).send("DELETE", "me", b"").status_code == 204
        assert not AppToken.objects.exists()
        assert not VisitorLink.objects.exists()
