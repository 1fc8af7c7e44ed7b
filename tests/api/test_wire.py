"""The wire: gzip, wrong clocks, ids that are none, lists of others, pages that stay, answers that are known already."""

from __future__ import annotations

import dataclasses
import datetime as dt
import gzip
import itertools
import json
import uuid
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client
from django.utils import timezone

from recommender import conf, serving
from recommender.api import frozen
from recommender.identity import keys, tokens
from recommender.models import Event, Impression, Item, Visitor
from recommender.types import Ranking
from tests.api.test_api import ROOT, App, assert_problem, view
from tests.conftest import DemoShop, assert_queries

pytestmark = pytest.mark.django_db


@pytest.fixture
def app() -> App:
    return App(tokens.issue(Visitor.objects.create()).token)


def search_event(**fields: Any) -> dict[str, Any]:
    return {"message_id": uuid.uuid4().hex, "type": "search", "query": "tea"} | fields


class TestGzip:
    def send(self, app: App, body: bytes, encoding: str = "gzip") -> Any:
        headers = app.headers | {"Content-Encoding": encoding}
        return app.client.generic("POST", ROOT + "events", body, "application/json", headers=headers)

    def test_body_may_be_packed(self, app: App) -> None:
        body = json.dumps([search_event() for _ in range(150)]).encode()
        answer = self.send(app, gzip.compress(body, mtime=0))
        assert answer.json()["accepted"] == 150
        assert self.send(app, body, "identity").json()["duplicate"] == 150

    def test_packed_body_is_bounded_by_what_is_in_it(self, app: App) -> None:
        bomb = gzip.compress(b" " * (200 * conf.get("MAX_BODY_BYTES")))
        assert len(bomb) < conf.get("MAX_BODY_BYTES")
        assert_problem(self.send(app, bomb), 413, "too-large")

    @pytest.mark.parametrize(
        ("body", "encoding", "status", "kind"),
        [
            (b"[]", "gzip", 400, "bad-request"),
            (gzip.compress(b"[]", mtime=0)[:-1], "gzip", 400, "bad-request"),
            (gzip.compress(b"[]", mtime=0) + b"[]", "gzip", 400, "bad-request"),
            (b"[]", "br", 415, "unsupported-media-type"),
        ],
    )
    def test_what_is_no_gzip_is_refused(self, app: App, body: bytes, encoding: str, status: int, kind: str) -> None:
        assert_problem(self.send(app, body, encoding), status, kind)

    def test_answer_is_packed_for_whoever_asks_for_it(self, demo_shop: DemoShop) -> None:
        plain = Client().get(ROOT + "recommendations/trending")
        packed = Client().get(ROOT + "recommendations/trending", headers={"Accept-Encoding": "gzip"})
        assert "Content-Encoding" not in plain.headers
        assert packed.headers["Content-Encoding"] == "gzip"
        assert "Accept-Encoding" in packed.headers["Vary"]
        assert len(packed.content) < len(plain.content) / 2
        items = json.loads(gzip.decompress(packed.content))["items"]
        assert [entry["item_id"] for entry in items] == [entry["item_id"] for entry in plain.json()["items"]]


class TestClock:
    def sent(self, app: App, times: list[dt.datetime], sent_at: Any = None) -> Any:
        events = [search_event(occurred_at=at.isoformat()) for at in times]
        body = {"events": events} | ({"sent_at": sent_at} if sent_at is not None else {})
        return app.post("events", body)

    def stored(self) -> list[dt.datetime]:
        return list(Event.objects.order_by("pk").values_list("occurred_at", flat=True))

    @pytest.mark.parametrize("hours", [-3, 3])
    def test_clock_that_is_hours_off_keeps_order_and_distance(self, app: App, hours: int) -> None:
        now = timezone.now()
        shown = now + dt.timedelta(hours=hours)
        times = [shown - dt.timedelta(minutes=minutes) for minutes in (40, 5, 0)]
        assert self.sent(app, times, shown.isoformat()).json()["accepted"] == 3
        by_time = sorted(Event.objects.values_list("occurred_at", flat=True))
        distances = [(later - earlier).total_seconds() for earlier, later in itertools.pairwise(by_time)]
        assert distances == pytest.approx([35 * 60, 5 * 60], abs=1)
        assert abs((by_time[-1] - now).total_seconds()) < 10

    def test_without_sent_at_a_fast_clock_squeezes_events_into_one_moment(self, app: App) -> None:
        shown = timezone.now() + dt.timedelta(hours=3)
        self.sent(app, [shown - dt.timedelta(minutes=minutes) for minutes in (40, 5)])
        assert len(set(self.stored())) == 1

    def test_three_days_offline_lose_nothing(self, app: App) -> None:
        now = timezone.now()
        times = [now - dt.timedelta(hours=hours) for hours in range(72, 0, -1)]
        receipt = self.sent(app, times, now.isoformat()).json()
        assert (receipt["accepted"], receipt["rejected"], receipt["dropped"]) == (72, [], 0)
        assert sorted(self.stored()) == pytest.approx(times, abs=dt.timedelta(seconds=10))

    def test_right_clock_is_left_alone(self, app: App) -> None:
        at = timezone.now() - dt.timedelta(minutes=1)
        self.sent(app, [at], (timezone.now() - dt.timedelta(seconds=5)).isoformat())
        assert self.stored() == [at]

    def test_event_of_1990_is_refused_and_the_others_are_stored(self, app: App) -> None:
        receipt = self.sent(app, [dt.datetime(1990, 6, 1, tzinfo=dt.UTC), timezone.now()]).json()
        assert receipt["accepted"] == 1
        assert (receipt["rejected"][0]["index"], receipt["rejected"][0]["field"]) == (0, "occurred_at")
        assert "sent_at" in receipt["rejected"][0]["message"]

    @pytest.mark.parametrize("sent_at", ["1990-06-01T00:00:00Z", "9999-12-31T23:59:59-14:00", "now", 17, [], ""])
    def test_clock_that_tells_nothing_is_refused(self, app: App, sent_at: Any) -> None:
        answer = self.sent(app, [timezone.now()], sent_at)
        assert_problem(answer, 400, "invalid-request")
        assert answer.json()["errors"][0]["name"] == "sent_at"
        assert not Event.objects.exists()

    def test_times_at_the_end_of_the_calendar_break_nothing(self, app: App) -> None:
        events = [search_event(occurred_at=at) for at in ("9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z")]
        sent_at = (timezone.now() - dt.timedelta(hours=3)).isoformat()
        receipt = app.post("events", {"events": events, "sent_at": sent_at}).json()
        assert [one["field"] for one in receipt["rejected"]] == ["occurred_at", "occurred_at"]


class TestIds:
    @pytest.mark.parametrize("name", ["message_id", "item_id"])
    @pytest.mark.parametrize("value", ["undefined", "null", "None", "NaN", "[object Object]", str(uuid.UUID(int=0))])
    def test_what_programs_write_for_nothing_is_no_id(self, app: App, name: str, value: str) -> None:
        receipt = app.post("events", [view("mug") | {name: value}, search_event()]).json()
        assert receipt["accepted"] == 1
        (rejection,) = receipt["rejected"]
        assert (rejection["index"], rejection["field"]) == (0, name)
        assert "the client's variable was empty" in rejection["message"]

    def test_list_of_another_visitor_is_told_and_not_followed(self, demo_shop: DemoShop, app: App) -> None:
        other = App(tokens.issue(Visitor.objects.create()).token)
        foreign = other.get("recommendations/trending").json()
        own = app.get("recommendations/trending").json()
        item_id = own["items"][0]["item_id"]
        events = [
            view(item_id, type="select_item", ranking_id=ranking_id, position=1)
            for ranking_id in (own["ranking_id"], foreign["ranking_id"], str(uuid.uuid4()), str(uuid.UUID(int=0)))
        ]
        receipt = app.post("events", events).json()
        assert receipt["accepted"] == 4
        messages = {one["index"]: one["message"] for one in receipt["warnings"] if one["field"] == "ranking_id"}
        assert sorted(messages) == [1, 2, 3]
        assert "No list of this visitor" in messages[1]
        assert "leads back to no list" in messages[2]
        stored = dict(Event.objects.filter(source="api").values_list("message_id", "ranking_id"))
        followed = [ranking for _, ranking in sorted(stored.items(), key=lambda pair: order_of(events, pair[0]))]
        assert [str(one) for one in followed] == [own["ranking_id"], "None", events[2]["ranking_id"], "None"]

    def test_list_of_the_same_person_on_another_device_is_followed(self, demo_shop: DemoShop, app: App) -> None:
        Visitor.objects.filter(user_key=None).update(user_key="7")
        other = App(tokens.issue(Visitor.objects.create(user_key="7")).token)
        shown = other.get("recommendations/trending").json()
        event = view(shown["items"][0]["item_id"], type="select_item", ranking_id=shown["ranking_id"], position=1)
        assert app.post("events", [event]).json()["warnings"] == []
        assert str(Event.objects.get(type="select_item").ranking_id) == shown["ranking_id"]


def order_of(events: list[dict[str, Any]], stored_id: str) -> int:
    return [stored_id.endswith(event["message_id"]) for event in events].index(True)


class TestCursor:
    @pytest.fixture(autouse=True)
    def _shop(self, demo_shop: DemoShop) -> None:
        serving.reload()

    def pages(self, app: App, limit: int = 2) -> list[dict[str, Any]]:
        pages = [app.get("search", q="bag", cursor="*", limit=limit).json()]
        while pages[-1]["next_cursor"]:
            pages.append(app.get("search", cursor=pages[-1]["next_cursor"], limit=limit).json())
        return pages

    def test_pages_are_the_whole_list_once(self, app: App) -> None:
        pages = self.pages(app)
        entries = [entry for page in pages for entry in page["items"]]
        whole = app.get("search", q="bag", limit=100).json()
        assert len(pages) > 2
        assert [entry["item_id"] for entry in entries] == [entry["item_id"] for entry in whole["items"]]
        assert [entry["position"] for entry in entries] == list(range(1, len(entries) + 1))
        assert len({page["ranking_id"] for page in pages}) == len(pages) == Impression.objects.count() - 1

    def test_list_stays_while_the_shop_changes(self, app: App) -> None:
        first = app.get("search", q="bag", cursor="*", limit=4).json()
        whole = [entry["item_id"] for entry in app.get("search", q="bag", limit=100).json()["items"]]
        app.post("events", [view(item_id, type="add_to_cart") for item_id in reversed(whole[4:])])
        Item.objects.filter(item_id__in=whole[:2]).update(title="Something else", text="something else")
        serving.reload()
        second = app.get("search", cursor=first["next_cursor"], limit=4).json()
        assert [entry["item_id"] for entry in first["items"] + second["items"]] == whole[:8]

    def test_page_costs_a_query_for_prices_and_the_record_of_the_list(self, app: App) -> None:
        first = app.get("search", q="bag", cursor="*", limit=4).json()
        with assert_queries(5, at_least=2):
            app.get("search", cursor=first["next_cursor"], limit=4)

    def test_cursor_of_another_visitor_shows_nothing(self, app: App) -> None:
        cursor = app.get("search", q="bag", cursor="*", limit=4).json()["next_cursor"]
        for other in (App(), App(tokens.issue(Visitor.objects.create()).token)):
            assert_problem(other.get("search", cursor=cursor), 410, "expired-cursor")

    def test_cursor_expires_with_the_cache(self, app: App) -> None:
        cursor = app.get("search", q="bag", cursor="*", limit=4).json()["next_cursor"]
        cache.clear()
        assert "cursor=*" in assert_problem(app.get("search", cursor=cursor), 410, "expired-cursor")

    def test_cursor_of_a_version_with_other_fields_has_expired(self, app: App, monkeypatch: pytest.MonkeyPatch) -> None:
        cursor = app.get("search", q="bag", cursor="*", limit=4).json()["next_cursor"]
        newer = dataclasses.make_dataclass("newer", ["more"], bases=(Ranking,), frozen=True, kw_only=True)
        monkeypatch.setattr(frozen, "Ranking", newer)
        assert "cursor=*" in assert_problem(app.get("search", cursor=cursor), 410, "expired-cursor")

    @pytest.mark.parametrize("cursor", ["x", "0" * 32 + ".4:forged", "é" * 50])
    def test_forged_cursor_is_refused(self, app: App, cursor: str) -> None:
        assert_problem(app.get("search", cursor=cursor), 400, "invalid-request")

    def test_without_a_cache_the_client_is_told_to_page_by_offset(
        self, app: App, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: Any) -> None:
            raise ConnectionError("no cache")

        monkeypatch.setattr(frozen, "cache", type("Down", (), {"set": fail, "get": fail})())
        assert "offset" in assert_problem(app.get("search", q="bag", cursor="*"), 503, "unavailable")


class TestKnownAnswers:
    @pytest.fixture(autouse=True)
    def _shop(self, demo_shop: DemoShop) -> None:
        serving.reload()

    @pytest.mark.parametrize("path", ["recommendations/trending", "search?q=bag", "suggest?q=ba"])
    def test_impersonal_answer_is_not_sent_twice(self, path: str) -> None:
        first = Client().get(ROOT + path)
        assert {"private", "no-cache"} == set(first.headers["Cache-Control"].replace(",", "").split())
        same = Client().get(ROOT + path, headers={"If-None-Match": first.headers["ETag"]})
        assert (same.status_code, same.content) == (304, b"")
        assert Client().get(ROOT + path, headers={"If-None-Match": '"other"'}).status_code == 200

    def test_answer_that_has_changed_is_sent(self) -> None:
        first = Client().get(ROOT + "recommendations/trending")
        Item.objects.filter(item_id=first.json()["items"][0]["item_id"]).update(is_active=False)
        serving.reload()
        again = Client().get(ROOT + "recommendations/trending", headers={"If-None-Match": first.headers["ETag"]})
        assert again.status_code == 200

    def test_answer_to_a_key_without_a_user_is_impersonal_too(self) -> None:
        key = {"Recommender-Key": keys.create_key("app", is_secret=False)[1]}
        assert "ETag" in Client().get(ROOT + "suggest?q=ba", headers=key).headers

    def test_answer_of_one_person_has_none(self, app: App) -> None:
        browser = Client()
        browser.cookies["recommender_consent"] = "granted"
        for answer in (app.get("search", q="bag"), app.get("me"), browser.get(ROOT + "search?q=bag")):
            assert "ETag" not in answer.headers
            assert "no-store" in answer.headers["Cache-Control"]


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("search", {"GET", "HEAD", "OPTIONS"}),
        ("events", {"POST", "OPTIONS"}),
        ("me", {"GET", "HEAD", "PATCH", "DELETE", "OPTIONS"}),
    ],
)
def test_options_says_which_methods_there_are(path: str, allowed: set[str]) -> None:
    answer = Client(enforce_csrf_checks=True).options(ROOT + path)
    assert (answer.status_code, answer.content) == (204, b"")
    assert set(answer.headers["Allow"].split(", ")) == allowed
