"""Keys of servers and apps: made, rotated and revoked in the admin and by command; each opens only what it is for."""

from __future__ import annotations

import datetime as dt
import io
import re
import uuid
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from recommender.exceptions import ConfigurationError
from recommender.identity import keys, tokens
from recommender.models import ApiKey, AppToken, Event, Visitor, VisitorLink
from tests.api.test_api import ROOT, assert_problem

pytestmark = pytest.mark.django_db


def secret(*scopes: str) -> str:
    return keys.create_key("server", is_secret=True, scopes=scopes)[1]


def publishable() -> str:
    return keys.create_key("app", is_secret=False)[1]


def call(method: str, path: str, key: str, body: bytes = b"", **headers: str) -> Any:
    sent = {"Recommender-Key": key} | {name.replace("_", "-"): value for name, value in headers.items()}
    return Client(enforce_csrf_checks=True).generic(method, ROOT + path, body, "application/json", headers=sent)


def run(**options: Any) -> str:
    output = io.StringIO()
    call_command("recommender_keys", stdout=output, no_color=True, **options)
    return output.getvalue()


@pytest.fixture
def user() -> Any:
    """A customer who has agreed and looked at something in a browser."""
    customer = get_user_model().objects.create_user("ada")
    visitor = Visitor.objects.create(user_key=str(customer.pk))
    Event.objects.create(message_id="web", visitor=visitor, type="search", query="mug", occurred_at=timezone.now())
    return customer


class TestKey:
    def test_only_a_hash_is_stored(self) -> None:
        row, key = keys.create_key("server", is_secret=True, scopes=["lists"])
        stored = " ".join(str(value) for value in vars(ApiKey.objects.get()).values())
        assert key.startswith(f"{row.prefix}_")
        assert key not in stored
        assert key.rpartition("_")[2] not in stored
        assert keys.valid_key(key) == row

    @pytest.mark.parametrize("kind", ["other secret", "only the prefix", "empty", "long", "surrogate"])
    def test_nothing_else_is_a_key(self, kind: str) -> None:
        key = secret("lists")
        sent = {
            "other secret": key[:-1] + ("A" if key[-1] != "A" else "B"),
            "only the prefix": key[:11],
            "empty": "",
            "long": key + "x" * 9000,
            "surrogate": key[:-1] + "\udc80",
        }
        assert keys.valid_key(sent[kind]) is None

    def test_rotated_key_counts_until_the_overlap_ends(self) -> None:
        row, old = keys.create_key("app", is_secret=False)
        new = keys.rotate_key(row)
        assert keys.valid_key(old) == keys.valid_key(new) == row
        ApiKey.objects.update(previous_until=timezone.now() - dt.timedelta(seconds=1))
        assert keys.valid_key(old) is None
        assert keys.valid_key(new) == row

    def test_revoked_key_ends_at_once_with_the_one_before(self) -> None:
        row, old = keys.create_key("app", is_secret=False)
        new = keys.rotate_key(row)
        keys.revoke_key(row)
        assert keys.valid_key(old) is None
        assert keys.valid_key(new) is None
        with pytest.raises(ConfigurationError, match="Make a new one"):
            keys.rotate_key(row)

    @pytest.mark.parametrize("scopes", [[], ["admin"]])
    def test_secret_key_needs_scopes_that_exist(self, scopes: list[str]) -> None:
        with pytest.raises(ConfigurationError, match="The scopes are events, lists, profile"):
            keys.create_key("server", is_secret=True, scopes=scopes)

    def test_use_is_noted_once_an_hour(self) -> None:
        key = publishable()
        keys.valid_key(key)
        first = ApiKey.objects.get().last_used_at
        assert first is not None
        keys.valid_key(key)
        assert ApiKey.objects.get().last_used_at == first


class TestWhatItOpens:
    @pytest.mark.parametrize("sent", ["pk_00000000_x", "nonsense" * 5])
    def test_key_that_does_not_count_is_refused(self, sent: str) -> None:
        for method, path in (("GET", "search"), ("POST", "visitors"), ("GET", "me")):
            assert "recommender_keys" in assert_problem(call(method, path, sent), 401, "invalid-key")

    def test_publishable_key_opens_impersonal_lists_and_events_of_a_token(self) -> None:
        key, visitor = publishable(), Visitor.objects.create()
        assert call("GET", "search", key).status_code == 200
        body = b'[{"message_id": "a", "type": "search", "query": "tea"}]'
        assert call("POST", "events", key, body).json()["dropped"] == 1
        token = tokens.issue(visitor).token
        assert call("POST", "events", key, body, Authorization=f"Visitor {token}").json()["accepted"] == 1
        assert_problem(call("GET", "me", key), 401, "not-identified")

    def test_publishable_key_speaks_for_nobody(self, user: Any) -> None:
        for path in ("me", "search", "me/export"):
            assert_problem(call("GET", path, publishable(), Recommender_User=str(user.pk)), 401, "invalid-key")
            assert_problem(call("GET", path, "", Recommender_User=str(user.pk)), 401, "invalid-key")

    def test_secret_key_opens_only_its_scopes(self, user: Any) -> None:
        opened = {
            scope: [
                call(method, path, secret(scope), body, Recommender_User=str(user.pk)).status_code
                for method, path, body in (
                    ("POST", "events", b"[]"), ("GET", "search", b""), ("GET", "me", b""), ("DELETE", "me", b""),
                )
            ]
            for scope in ("events", "lists", "profile")
        }  # fmt: skip
        assert opened == {
            "events": [202, 403, 403, 403],
            "lists": [403, 200, 403, 403],
            "profile": [403, 403, 200, 204],
        }

    def test_server_acts_for_the_user_it_names_by_their_own_consent(self, user: Any) -> None:
        key, name = secret("events", "lists", "profile"), str(user.pk)
        assert call("GET", "me", key, Recommender_User=name).json()["counts"] == {"search": 1}
        body = b'[{"message_id": "a", "type": "search", "query": "tea"}]'
        assert call("POST", "events", key, body, Recommender_User=name).json()["accepted"] == 1
        assert call("GET", "me/export", key, Recommender_User=name).json()["events"][1]["query"] == "tea"
        Visitor.objects.update(has_consented=False)
        assert call("POST", "events", key, body, Recommender_User=name).json()["dropped"] == 1

    def test_server_without_a_user_is_nobody_whatever_cookies_it_sends(self, user: Any) -> None:
        client = Client(enforce_csrf_checks=True)
        client.force_login(user)
        headers = {"Recommender-Key": secret("profile", "events")}
        assert_problem(client.get(ROOT + "me", headers=headers), 401, "not-identified")
        body = b'[{"message_id": "a", "type": "search", "query": "tea"}]'
        answer = client.generic("POST", ROOT + "events", body, "application/json", headers=headers)
        assert answer.json()["dropped"] == 1

    def test_token_with_a_secret_key_opens_what_both_are_for(self) -> None:
        issued = tokens.issue(Visitor.objects.create())
        for scope, status in (("lists", 403), ("profile", 200)):
            answer = call("GET", "me", secret(scope), Authorization=f"Visitor {issued.token}")
            assert answer.status_code == status


class TestCommand:
    def test_key_is_made_listed_rotated_and_revoked(self) -> None:
        printed = run(create="Tills", secret=True, scopes="events, lists")
        first = re.findall(r"^sk_\S{40,}$", printed, re.MULTILINE)[0]
        row = keys.valid_key(first)
        assert row is not None
        assert row.scopes == ["events", "lists"]
        assert first not in run()
        second = re.findall(r"^sk_\S{40,}$", run(rotate=row.prefix, overlap_hours=0.0), re.MULTILINE)[0]
        assert (keys.valid_key(first), keys.valid_key(second)) == (None, row)
        assert "Tills: revoked" in run(revoke=row.prefix)
        assert keys.valid_key(second) is None

    @pytest.mark.parametrize(
        ("options", "fault"),
        [
            ({"revoke": "pk_unknown"}, "No key begins with pk_unknown"),
            ({"create": "Tills", "secret": True}, "A secret key needs a scope"),
            ({"create": "Tills", "secret": True, "scopes": "admin"}, "There is no scope 'admin'"),
        ],
    )
    def test_mistake_is_named_with_its_repair(self, options: dict[str, Any], fault: str) -> None:
        with pytest.raises(CommandError, match=fault):
            run(**options)


class TestAdmin:
    def test_key_is_made_shown_once_rotated_and_revoked(self, admin_client: Client) -> None:
        form = {"name": "Tills", "kind": "secret"}
        assert "Choose what" in admin_client.post(reverse("admin:recommender_apikey_add"), form).content.decode()
        page = admin_client.post(reverse("admin:recommender_apikey_add"), form | {"scopes": ["lists"]}, follow=True)
        first = re.findall(r"sk_[\w-]{40,}", page.content.decode())[0]
        row = keys.valid_key(first)
        assert row is not None
        assert (row.name, row.scopes, row.created_by) == ("Tills", ["lists"], page.context["user"])
        detail = reverse("admin:recommender_apikey_change", args=[row.pk])
        assert first not in admin_client.get(detail).content.decode()
        rotate = reverse("admin:recommender_apikey_rotate", args=[row.pk])
        assert rotate in admin_client.get(detail).content.decode()
        assert "Make a new key" in admin_client.get(rotate).content.decode()
        assert ApiKey.objects.get().previous_hash == ""
        second = re.findall(r"sk_[\w-]{40,}", admin_client.post(rotate, follow=True).content.decode())[0]
        assert keys.valid_key(second) == row
        assert admin_client.post(reverse("admin:recommender_apikey_revoke", args=[row.pk])).status_code == 302
        assert keys.valid_key(second) is None

    def test_staff_without_the_permission_changes_nothing(self, client: Client) -> None:
        client.force_login(get_user_model().objects.create_user("clerk", is_staff=True))
        row, key = keys.create_key("app", is_secret=False)
        for name, arguments in (("add", []), ("rotate", [row.pk]), ("revoke", [row.pk])):
            assert client.post(reverse(f"admin:recommender_apikey_{name}", args=arguments)).status_code == 403
        assert keys.valid_key(key) == row

    def test_tokens_and_links_are_listed_and_taken_back(self, admin_client: Client) -> None:
        visitor = Visitor.objects.create(user_key="7")
        row = tokens.issue(visitor, name="Pixel 8").row
        link = VisitorLink.objects.create(visitor=visitor, user_key="7", authentication="session")
        for name, action, pk in (("apptoken", "revoke", row.pk), ("visitorlink", "undo", link.pk)):
            page = reverse(f"admin:recommender_{name}_changelist")
            assert admin_client.get(page).status_code == 200
            assert admin_client.get(reverse(f"admin:recommender_{name}_change", args=[pk])).status_code == 200
            answer = admin_client.post(page, {"action": action, "_selected_action": [pk]}, follow=True)
            assert "1 " in answer.content.decode()
        assert AppToken.objects.get().revoked_at is not None
        assert VisitorLink.objects.get().unlinked_at is not None
        assert Visitor.objects.get().user_key is None
        assert uuid.UUID(str(row.key))
