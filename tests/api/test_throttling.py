"""How often a key, a visitor and an address may call: 429 with the wait, open without a cache, bulk reads closed."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client, RequestFactory

from recommender import capture
from recommender.api import throttling
from recommender.checks import check_settings
from recommender.identity import cookie_for, keys, tokens
from recommender.models import Visitor
from tests.api.test_api import ROOT, assert_problem

pytestmark = pytest.mark.django_db
LOCAL = "127.0.0.1"


@pytest.fixture(autouse=True)
def _limits(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = {"address": "3/min", "visitor": "4/min", "key": "5/min", "new": "2/hour", "bulk": "1/hour"}
    settings.RECOMMENDER = {**settings.RECOMMENDER, "THROTTLES": limits}
    monkeypatch.setattr(throttling, "_paused_until", 0.0)
    monkeypatch.setattr(throttling.Throttle, "timer", lambda self: 1_000_000_001.0)  # 19 s before the minute ends


class Down:
    """A cache that does not answer."""

    n_calls = 0

    def incr(self, key: str) -> int:
        self.n_calls += 1
        raise ConnectionError("no cache")

    add = incr


@pytest.fixture
def no_cache(monkeypatch: pytest.MonkeyPatch) -> Down:
    down = Down()
    monkeypatch.setattr(throttling.Throttle, "cache", down)
    return down


def statuses(n: int, path: str = "suggest", method: str = "GET", body: bytes = b"", **options: Any) -> list[int]:
    client = options.pop("client", None) or Client(enforce_csrf_checks=True)
    kind = "application/json"
    return [client.generic(method, ROOT + path, body, kind, **options).status_code for _ in range(n)]


class TestLimits:
    def test_address_without_a_key_is_limited_and_told_when_to_come_again(self) -> None:
        client = Client()
        first = client.get(ROOT + "suggest")
        assert first.headers["RateLimit"] == '"address";r=2;t=19'
        assert first.headers["RateLimit-Policy"] == '"address";q=3;w=60'
        assert statuses(3) == [200, 200, 429]
        answer = client.get(ROOT + "recommendations/trending")
        assert "in 19 seconds" in assert_problem(answer, 429, "too-many-requests")
        assert (answer.headers["Retry-After"], answer.headers["RateLimit"]) == ("19", '"address";r=0;t=19')

    def test_next_span_begins_anew(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert statuses(4)[-1] == 429
        monkeypatch.setattr(throttling.Throttle, "timer", lambda self: 1_000_000_020.0)
        assert statuses(1) == [200]

    def test_visitor_is_limited_whatever_the_address(self) -> None:
        token = tokens.issue(Visitor.objects.create()).token
        answers = [
            statuses(1, headers={"Authorization": f"Visitor {token}"}, REMOTE_ADDR=f"203.0.113.{n}")[0]
            for n in range(6)
        ]
        assert answers == [200] * 4 + [429] * 2

    def test_visitor_of_a_cookie_is_limited_too(self) -> None:
        client = Client()
        client.cookies["recommender_consent"] = "granted"
        client.cookies["recommender_visitor"] = cookie_for(Visitor.objects.create().key)
        assert [statuses(1, client=client, REMOTE_ADDR=f"203.0.113.{n}")[0] for n in range(5)] == [200] * 4 + [429]

    def test_secret_key_is_limited_altogether(self) -> None:
        key = {"Recommender-Key": keys.create_key("server", is_secret=True, scopes=["lists"])[1]}
        assert [statuses(1, headers=key, REMOTE_ADDR=f"203.0.113.{n}")[0] for n in range(6)] == [200] * 5 + [429]

    def test_publishable_key_is_limited_by_address_and_more_widely_than_nobody(self) -> None:
        key = {"Recommender-Key": keys.create_key("app", is_secret=False)[1]}
        assert statuses(6, headers=key) == [200] * 5 + [429]
        assert statuses(1, headers=key, REMOTE_ADDR="203.0.113.1") == [200]

    def test_new_visitors_of_an_address_are_limited(self) -> None:
        assert statuses(3, "visitors", "POST", b'{"consent": true}') == [201, 201, 429]
        assert Visitor.objects.count() == 2

    def test_export_is_a_bulk_read(self) -> None:
        headers = {"Authorization": f"Visitor {tokens.issue(Visitor.objects.create()).token}"}
        assert statuses(2, "me/export", headers=headers) == [200, 429]

    def test_blocks_and_beacons_are_limited_too(self) -> None:
        client = Client(headers={"Sec-Fetch-Site": "same-origin"})
        for method, path in (("get", "/recommender/blocks/trending"), ("post", "/recommender/beacon")):
            cache.clear()
            answers = [getattr(client, method)(path) for _ in range(4)]
            assert answers[2].status_code < 300
            assert answers[3].status_code == 429
            assert answers[3].headers["Retry-After"] == "19"

    def test_limit_can_be_switched_off(self, settings: Any) -> None:
        settings.RECOMMENDER = {**settings.RECOMMENDER, "THROTTLES": {"address": None}}
        answers = [Client().get(ROOT + "suggest") for _ in range(5)]
        assert {answer.status_code for answer in answers} == {200}
        assert "RateLimit" not in answers[0].headers

    @pytest.mark.parametrize(
        ("throttles", "fault"),
        [
            ("600/min", "must be a dict"),
            ({"adress": "1/min"}, "has no limit 'adress'"),
            ({"address": "many"}, "must be a rate such as"),
            ({"address": 600}, "must be a rate such as"),
        ],
    )
    def test_wrong_limits_are_found_by_a_check(self, settings: Any, throttles: Any, fault: str) -> None:
        settings.RECOMMENDER = {**settings.RECOMMENDER, "THROTTLES": throttles}
        (message,) = [one for one in check_settings(None) if one.id == "recommender.E004"]
        assert fault in message.msg


class TestWithoutCache:
    def test_pages_and_events_stay_open_and_bulk_reads_close(self, no_cache: Down) -> None:
        token = tokens.issue(Visitor.objects.create()).token
        headers = {"Authorization": f"Visitor {token}"}
        assert statuses(9, headers=headers) == [200] * 9
        event = b'[{"message_id": "a", "type": "search", "query": "tea"}]'
        assert statuses(1, "events", "POST", event, headers=headers) == [202]
        answer = Client().get(ROOT + "me/export", headers=headers)
        assert "bulk reads" in assert_problem(answer, 503, "unavailable")
        assert answer.headers["Retry-After"] == "5"

    def test_cache_that_does_not_answer_is_left_alone_for_a_while(self, no_cache: Down, caplog: Any) -> None:
        before = capture.counts["unthrottled"]
        statuses(9)
        assert no_cache.n_calls == 1
        assert capture.counts["unthrottled"] == before + 1
        assert caplog.text.count("calls are not counted") == 1


class TestAddress:
    @pytest.mark.parametrize(
        ("remote", "forwarded", "n_proxies", "address"),
        [
            ("5.6.7.8", "", None, "5.6.7.8"),
            ("5.6.7.8", "198.51.100.1", None, "5.6.7.8"),  # a client's own claim
            (LOCAL, "198.51.100.1", None, "198.51.100.1"),  # a proxy on this host
            ("", "6.6.6.6, 198.51.100.1", None, "198.51.100.1"),  # through a socket file, after a client's claim
            ("10.0.0.2", "6.6.6.6, 198.51.100.1, 10.0.0.9", 2, "198.51.100.1"),
            ("10.0.0.2", "198.51.100.1", 2, "198.51.100.1"),
            ("10.0.0.2", "198.51.100.1", 0, "10.0.0.2"),
            ("2001:db8:1:2:3:4:5:6", "", None, "2001:db8:1:2::/64"),
            ("2001:db8:1:2:ffff::1", "", None, "2001:db8:1:2::/64"),
            ("::ffff:203.0.113.7", "", None, "203.0.113.7"),
            (LOCAL, "198.51.100.1:5555", None, "198.51.100.1"),
            (LOCAL, "[2001:db8:1:2::5]:443", None, "2001:db8:1:2::/64"),
            (LOCAL, "unknown", None, "unknown"),
        ],
    )
    def test_client_is_told_by_the_shops_own_proxies_only(
        self, settings: Any, remote: str, forwarded: str, n_proxies: int | None, address: str
    ) -> None:
        settings.RECOMMENDER = {**settings.RECOMMENDER, "NUM_PROXIES": n_proxies}
        extra = {"HTTP_X_FORWARDED_FOR": forwarded} if forwarded else {}
        assert throttling.address_of(RequestFactory().get("/", REMOTE_ADDR=remote, **extra)) == address

    def test_number_of_proxies_of_rest_framework_counts_too(self, settings: Any) -> None:
        settings.REST_FRAMEWORK = {"NUM_PROXIES": 2}
        request = RequestFactory().get("/", REMOTE_ADDR=LOCAL, HTTP_X_FORWARDED_FOR="198.51.100.1, 10.0.0.9")
        assert throttling.address_of(request) == "198.51.100.1"

    def test_addresses_of_one_ipv6_customer_count_together(self) -> None:
        answers = [statuses(1, REMOTE_ADDR=f"2001:db8:1:2::{n}")[0] for n in range(5)]
        assert answers == [200] * 3 + [429] * 2

    def test_cache_holds_no_address(self, monkeypatch: pytest.MonkeyPatch) -> None:
        seen: list[str] = []
        monkeypatch.setattr(throttling.Throttle, "_counted", lambda self, key: seen.append(key) or 1)
        Client().get(ROOT + "suggest", REMOTE_ADDR="203.0.113.7")
        assert seen
        assert not any("203.0" in key for key in seen)
