"""The API from outside: what an app and a browser get, what is stored, and that no input makes it fail."""

from __future__ import annotations

import json
import uuid
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import DatabaseError
from django.test import Client
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recommender import capture, pipeline, serving
from recommender.api.guard import MAX_DEPTH
from recommender.api.parameters import MAX_EXCLUDED_ITEMS
from recommender.identity import cookie_for
from recommender.models import Event, Impression, Item, Visitor
from shopreco.shop.recommendations import Products
from tests.conftest import DemoShop, assert_queries

ROOT = "/recommender/api/v1/"
PROBLEM = "application/problem+json"
STRANGE_QUERIES = [
    "", " ", "x" * 10_000, "🎄🧵", "红色的杯子", "'; DROP TABLE x; --", '"a" AND NEAR(b* NOT c:', "%", "\ud800",
]  # fmt: skip
FIELDS = (
    "message_id", "type", "item_id", "query", "occurred_at", "quantity", "price", "currency", "order_id", "ranking_id",
    "position", "extra",
)  # fmt: skip
STRANGE_VALUES = [
    "9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00", "view_item", "search", "1e9999", "nan", "Infinity",
    "1e-9999", "00000000-0000-0000-0000-000000000000", "2026-01-01", "\u202e", "🧵",
]  # fmt: skip

pytestmark = pytest.mark.django_db


class App:
    """A mobile client: JSON in and out, and a token once it has one."""

    def __init__(self, token: str = "") -> None:
        self.client = Client(enforce_csrf_checks=True)
        self.headers = {"Authorization": f"Visitor {token}"} if token else {}

    def get(self, path: str, **parameters: Any) -> Any:
        return self.client.get(ROOT + path, parameters, headers=self.headers)

    def send(self, method: str, path: str, body: Any, content_type: str = "application/json") -> Any:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.client.generic(method, ROOT + path, content, content_type, headers=self.headers)

    def post(self, path: str, body: Any) -> Any:
        return self.send("POST", path, body)


@pytest.fixture
def app(demo_shop: DemoShop) -> App:
    """An app whose shopper has agreed."""
    return signed_up(consent=True)


@pytest.fixture
def item_id(demo_shop: DemoShop) -> str:
    return Item.objects.filter(is_active=True).order_by("item_id")[0].item_id


def signed_up(*, consent: bool) -> App:
    answer = App().post("visitors", {"consent": consent})
    assert answer.status_code == 201, answer.content
    return App(answer.json()["token"])


def view(item_id: str, **fields: Any) -> dict[str, Any]:
    return {"message_id": uuid.uuid4().hex, "type": "view_item", "item_id": item_id} | fields


def assert_problem(answer: Any, status: int, kind: str) -> str:
    assert answer.status_code == status, answer.content
    assert answer.headers["Content-Type"] == PROBLEM
    body = answer.json()
    assert body["status"] == status
    assert body["type"] == f"urn:shopreco:problem:{kind}"
    assert body["title"]
    return str(body["detail"])


class TestVisitors:
    def test_visitor_is_stored_with_the_consent_that_was_given(self) -> None:
        answer = App().post("visitors", {"consent": False})
        visitor = Visitor.objects.get()
        assert answer.json()["visitor_id"] == str(visitor.key)
        assert visitor.has_consented is False

    def test_consent_must_be_said(self) -> None:
        detail = assert_problem(App().post("visitors", {}), 400, "invalid-request")
        assert "consent" in detail
        assert not Visitor.objects.exists()

    @pytest.mark.parametrize("token", ["", "x", "0" * 32 + ":forged", "é" * 50, "a" * 5000])
    def test_forged_token_is_refused_and_the_repair_is_named(self, token: str) -> None:
        for method, path in (("GET", "search"), ("POST", "events"), ("DELETE", "me")):
            answer = App(token or " ").send(method, path, b"")
            assert "POST visitors" in assert_problem(answer, 401, "invalid-token")
            assert answer.headers["WWW-Authenticate"].startswith("Visitor")


class TestEvents:
    def test_events_are_stored_once_and_all_are_accounted_for(self, app: App, item_id: str) -> None:
        event = view(item_id)
        app.post("events", [event])
        sent = [event, view(item_id, quantity=2), {"type": "view_item"}, view(item_id), view(item_id, type="nonsense")]
        answer = app.post("events", {"events": sent})
        assert answer.status_code == 202
        receipt = answer.json()
        assert (receipt["accepted"], receipt["duplicate"], receipt["dropped"]) == (2, 1, 0)
        assert [(refused["index"], refused["field"]) for refused in receipt["rejected"]] == [
            (2, "message_id"),
            (4, "type"),
        ]
        assert Event.objects.filter(source="api").count() == 3

    def test_event_keeps_what_was_sent(self, app: App, item_id: str) -> None:
        ranking_id = uuid.uuid4()
        event = view(
            item_id, type="add_to_cart", occurred_at="2026-03-01T09:30:00+01:00", quantity=3, price="12.755",
            currency="gbp", ranking_id=str(ranking_id), position=4,
        )  # fmt: skip
        assert app.post("events", [event]).json()["accepted"] == 1
        stored = Event.objects.get(source="api")
        assert stored.occurred_at.isoformat() == "2026-03-01T08:30:00+00:00"
        assert (stored.quantity, stored.price, stored.currency) == (3, Decimal("12.76"), "GBP")
        assert (stored.ranking_id, stored.position, stored.source) == (ranking_id, 4, "api")
        assert stored.visitor is not None

    @pytest.mark.parametrize("agent", ["python-requests/2.32", "okhttp/4.12", "curl/8.5"])
    def test_app_is_no_crawler_whatever_its_library_says(self, app: App, item_id: str, agent: str) -> None:
        app.headers["User-Agent"] = agent
        app.post("events", [view(item_id)])
        stored = Event.objects.get(source="api")
        assert stored.visitor is not None
        assert not stored.is_bot

    def test_without_consent_everything_is_dropped_and_said(self, demo_shop: DemoShop, item_id: str) -> None:
        for app in (signed_up(consent=False), App()):
            receipt = app.post("events", [view(item_id), view(item_id)]).json()
            assert (receipt["accepted"], receipt["dropped"]) == (0, 2)
            assert "consent" in receipt["message"]
        assert not Event.objects.filter(source="api").exists()

    def test_fault_of_one_event_names_its_field(self, app: App, item_id: str) -> None:
        faulty = {
            "occurred_at": "yesterday", "quantity": -1, "price": "much", "currency": "pounds", "ranking_id": "12",
            "position": 0, "message_id": "", "item_id": "x" * 200,
        }  # fmt: skip
        sent = [view(item_id) | {field: value} for field, value in faulty.items()]
        refused = app.post("events", sent).json()["rejected"]
        assert [one["field"] for one in refused] == list(faulty)
        assert all(one["message"] for one in refused)

    def test_search_without_query_and_view_without_item_are_refused(self, app: App) -> None:
        sent = [{"message_id": "a", "type": "search"}, {"message_id": "b", "type": "view_item"}]
        refused = app.post("events", sent).json()["rejected"]
        assert [one["field"] for one in refused] == ["query", "item_id"]

    def test_too_many_events_are_refused_whole(self, app: App, settings: Any) -> None:
        settings.RECOMMENDER = {**settings.RECOMMENDER, "MAX_EVENTS_PER_CALL": 2}
        detail = assert_problem(app.post("events", [{}] * 3), 413, "too-large")
        assert "at most 2" in detail

    def test_no_events_is_an_empty_receipt(self, app: App) -> None:
        assert app.post("events", []).json()["accepted"] == 0

    def test_database_failure_is_a_503_that_asks_to_send_again(
        self, app: App, item_id: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: Any, **__: Any) -> None:
            raise DatabaseError("gone")

        monkeypatch.setattr("recommender.api.recording.ingest", fail)
        answer = app.post("events", [view(item_id)])
        assert_problem(answer, 503, "unavailable")
        assert int(answer.headers["Retry-After"]) > 0

    @pytest.mark.django_db(transaction=True)
    def test_202_means_committed(self, live_demo_shop: DemoShop) -> None:
        from django.db import connections

        app = signed_up(consent=True)
        event = view(Item.objects.order_by("item_id")[0].item_id)
        assert app.post("events", [event]).status_code == 202
        connections["default"].close()  # what was not committed is lost with the connection
        assert Event.objects.filter(message_id__endswith=event["message_id"]).exists()


class TestBodies:
    @pytest.mark.parametrize(
        ("body", "word"),
        [
            (b"", "list of events"),
            (b"{", "not JSON"),
            (b"[1,]", "not JSON"),
            (b"\xff\xfe", "UTF-8"),
            (b"[NaN]", "NaN"),
            (b"[-Infinity]", "Infinity"),
            (b"[1e999]", "number"),
            (b"[" + b"9" * 5000 + b"]", "number"),
            (b"[18446744073709551616]", "number"),
            (b'["\\ud800"]', "surrogate"),
            (b'[{"\\u0000": 1}]', "NUL"),
            (b"[" * 100_000, "nested"),
            (b'{"a":' * 20_000 + b"1" + b"}" * 20_000, "nested"),
            (b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), "nested"),
            (b'"events"', "list of events"),
            (b'{"events": {}}', "list of events"),
            (b"null", "list of events"),
        ],
    )
    def test_unsound_body_is_a_400_that_says_why(self, app: App, body: bytes, word: str) -> None:
        answer = app.send("POST", "events", body)
        assert answer.status_code == 400, answer.content
        assert answer.headers["Content-Type"] == PROBLEM
        assert word in answer.json()["detail"]

    def test_deepest_allowed_nesting_is_read(self, app: App) -> None:
        answer = app.send("POST", "events", b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)
        assert answer.status_code == 202
        assert len(answer.json()["rejected"]) == 1

    def test_duplicate_keys_and_a_byte_order_mark_are_fine(self, app: App) -> None:
        assert app.send("POST", "events", b'\xef\xbb\xbf{"events": [1], "events": []}').json()["rejected"] == []

    def test_oversized_body_is_a_413(self, app: App, settings: Any) -> None:
        assert_problem(app.send("POST", "events", b"[" + b" " * 262_144 + b"]"), 413, "too-large")
        settings.RECOMMENDER = {**settings.RECOMMENDER, "MAX_BODY_BYTES": 10}
        assert "10 bytes" in assert_problem(app.send("POST", "events", b" " * 11), 413, "too-large")
        assert app.send("POST", "events", b"[       ]").status_code == 202

    @pytest.mark.parametrize(
        "content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""]
    )
    def test_other_media_types_are_a_415(self, app: App, content_type: str) -> None:
        for client in (app, App()):
            answer = client.send("POST", "events", b"a=b", content_type)
            assert "application/json" in assert_problem(answer, 415, "unsupported-media-type")

    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(body=st.binary(max_size=300))
    def test_no_bytes_make_it_fail(self, app: App, body: bytes) -> None:
        assert app.send("POST", "events", body).status_code in (202, 400)

    @settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        body=st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
            max_leaves=20,
        )
    )
    def test_no_json_makes_it_fail(self, app: App, body: Any) -> None:
        for method, path in (("POST", "events"), ("POST", "visitors"), ("PATCH", "me")):
            assert app.send(method, path, body).status_code < 500

    @settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        event=st.fixed_dictionaries(
            {},
            optional={
                name: st.one_of(
                    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=300), st.lists(st.text()),
                    st.sampled_from(STRANGE_VALUES),
                )
                for name in FIELDS
            },
        )
    )  # fmt: skip
    def test_no_event_makes_it_fail_and_each_is_accounted_for(self, app: App, event: dict[str, Any]) -> None:
        sound = {"message_id": uuid.uuid4().hex, "type": "view_item", "item_id": "1"}
        answer = app.post("events", [event, {**sound, **event}])
        assert answer.status_code in (202, 400), answer.content
        if answer.status_code == 202:
            receipt = answer.json()
            assert receipt["accepted"] + receipt["duplicate"] + len(receipt["rejected"]) + receipt["dropped"] == 2


class TestLists:
    def test_search_finds_and_shows_what_a_card_needs(self, app: App) -> None:
        title = Item.objects.filter(is_active=True).order_by("item_id")[0].title
        answer = app.get("search", q=title)
        assert answer.status_code == 200
        body = answer.json()
        assert body["slot"] == "search"
        assert body["query"] == title
        assert body["n_found"] >= 1
        assert body["items"][0]["title"] == title
        first = body["items"][0]
        assert (first["position"], first["currency"], first["available"]) == (1, "GBP", True)
        assert isinstance(first["price"], str)
        assert Item.objects.filter(item_id=first["item_id"]).exists()

    def test_list_is_recorded_before_it_is_answered(self, app: App) -> None:
        body = app.get("recommendations/trending", limit=3).json()
        shown = Impression.objects.get(ranking_id=body["ranking_id"])
        assert shown.item_ids == [item["item_id"] for item in body["items"]]
        assert len(shown.item_ids) == 3
        assert shown.visitor is not None

    def test_without_consent_a_list_is_answered_and_nothing_recorded(self, demo_shop: DemoShop) -> None:
        body = App().get("recommendations/trending").json()
        assert body["items"]
        assert not Impression.objects.exists()

    def test_list_that_cannot_be_recorded_is_answered_all_the_same(
        self, app: App, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def fail(*_: Any, **__: Any) -> None:
            raise DatabaseError("gone")

        monkeypatch.setattr(capture, "ingest", fail)
        assert app.get("recommendations/trending").json()["items"]
        assert "not recorded" in caplog.text

    def test_offset_continues_the_same_list(self, app: App) -> None:
        whole = app.get("search", q="heart", limit=6).json()["items"]
        rest = app.get("search", q="heart", limit=3, offset=3).json()["items"]
        assert [item["item_id"] for item in rest] == [item["item_id"] for item in whole[3:6]]
        assert rest == [] or rest[0]["position"] == 4

    def test_event_changes_the_very_next_list(self, app: App, item_id: str) -> None:
        assert app.get("recommendations/recently_viewed").json()["items"] == []
        app.post("events", [view(item_id)])
        after = app.get("recommendations/recently_viewed").json()["items"]
        assert [item["item_id"] for item in after] == [item_id]

    @pytest.mark.parametrize(
        "slot", ["home", "similar", "bought_together", "cart", "recently_viewed", "buy_again", "trending"]
    )
    def test_every_slot_answers(self, app: App, item_id: str, slot: str) -> None:
        answer = app.get(f"recommendations/{slot}", item_id=item_id, cart=f"{item_id}, unknown,", limit=4)
        assert answer.status_code == 200
        assert answer.json()["slot"] == slot
        assert len(answer.json()["items"]) <= 4

    def test_unknown_slot_names_the_nearest(self, app: App) -> None:
        detail = assert_problem(app.get("recommendations/simular"), 404, "unknown-slot")
        assert "'similar'" in detail
        assert "search?q=" in assert_problem(app.get("recommendations/search"), 404, "unknown-slot")

    def test_unknown_item_is_a_404_that_names_the_parameter(self, app: App) -> None:
        answer = app.get("recommendations/similar", item_id="no-such-item")
        assert "item_id" in assert_problem(answer, 404, "unknown-item")
        assert answer.json()["errors"][0]["name"] == "item_id"

    def test_slot_beside_an_item_needs_one(self, app: App) -> None:
        for slot in ("similar", "bought_together"):
            assert "item_id" in assert_problem(app.get(f"recommendations/{slot}"), 400, "invalid-request")

    def test_item_of_a_moment_ago_is_known_before_memory_has_it(self, app: App, item_id: str) -> None:
        serving.reload()
        row = Item.objects.get(item_id=item_id)
        row.pk, row.item_id = None, "made-just-now"
        row.save()
        assert app.get("recommendations/similar", item_id="made-just-now").status_code == 200

    @pytest.mark.parametrize("limit", ["0", "-1", "101", "ten", "1.5", "9" * 5000, "\x00", "٣٣٣"])
    def test_bad_limit_is_a_400_that_names_it(self, app: App, limit: str) -> None:
        for path in ("search", "recommendations/home", "suggest"):
            answer = app.get(path, q="x", limit=limit)
            assert "limit" in assert_problem(answer, 400, "invalid-request")

    def test_excluded_items_are_not_listed_and_others_fill_the_list(self, app: App) -> None:
        shown = [item["item_id"] for item in app.get("recommendations/trending", limit=8).json()["items"]]
        answer = app.get("recommendations/trending", limit=8, exclude=f"{', '.join(shown)}, unknown,")
        others = [item["item_id"] for item in answer.json()["items"]]
        assert len(others) == 8
        assert not set(others) & set(shown)

    def test_too_many_excluded_items_are_a_400(self, app: App) -> None:
        ids = ",".join(map(str, range(MAX_EXCLUDED_ITEMS + 1)))
        detail = assert_problem(app.get("recommendations/home", exclude=ids), 400, "invalid-request")
        assert "exclude" in detail
        assert app.get("recommendations/home", exclude=ids.rpartition(",")[0]).status_code == 200

    def test_new_only_leaves_out_what_the_shopper_has_seen(self, app: App, item_id: str) -> None:
        app.post("events", [view(item_id)])
        for new_only, is_listed in ((0, True), (1, False)):
            body = app.get("recommendations/trending", limit=100, new_only=new_only).json()
            assert (item_id in [item["item_id"] for item in body["items"]]) == is_listed

    @pytest.mark.parametrize("name", ["utm_source", "format", "gclid", "_"])
    def test_parameters_that_clients_add_everywhere_have_no_effect(self, app: App, name: str) -> None:
        answer = app.get("search", q="bag", **{name: "html"})
        assert answer.status_code == 200
        assert answer.headers["Content-Type"] == "application/json"

    @pytest.mark.parametrize(
        ("path", "name", "nearest"),
        [
            ("search", "categori", "category"),
            ("search", "Brand", "brand"),
            ("search", "minprice", "min_price"),
            ("suggest", "limits", "limit"),
            ("recommendations/home", "itemid", "item_id"),
            ("recommendations/home", "x" * 10_000, ""),
            ("me", "since", ""),
            ("me/export", "q", ""),
        ],
    )
    def test_unknown_parameter_is_a_400_that_names_the_nearest_and_all(
        self, app: App, path: str, name: str, nearest: str
    ) -> None:
        answer = app.get(path, **{name: "1"})
        detail = assert_problem(answer, 400, "invalid-request")
        assert answer.json()["errors"][0]["name"] == name[:128]
        assert f"Did you mean '{nearest}'?" in detail if nearest else "Did you mean" not in detail
        assert ("There are: none." if path.startswith("me") else "limit") in detail
        assert len(detail) < 600

    def test_unknown_parameters_of_one_address_are_all_named(self, app: App) -> None:
        errors = app.get("search", q="bag", offest="1", limt="2").json()["errors"]
        assert [error["name"] for error in errors] == ["limt", "offest"]

    @pytest.mark.parametrize("sort", ["price", "-price"])
    def test_search_is_in_the_order_that_was_asked_for(self, app: App, sort: str) -> None:
        answer = app.get("search", q="bag", sort=sort, limit=100).json()
        prices = [Decimal(item["price"]) for item in answer["items"] if not item["is_near"]]
        assert answer["sort"] == sort
        assert len(set(prices)) > 2
        assert prices == sorted(prices, reverse=sort == "-price")

    @pytest.mark.parametrize(
        ("sort", "nearest"),
        [("prices", "price"), ("Popular", "popular"), ("new", ""), ("y" * 10_000, ""), ("🧵", "")],
    )
    def test_order_that_does_not_exist_is_a_400_that_names_the_nearest_and_all(
        self, app: App, sort: str, nearest: str
    ) -> None:
        detail = assert_problem(app.get("search", q="bag", sort=sort), 400, "invalid-request")
        assert detail.startswith("sort: There is no such value.")
        assert (f"Did you mean '{nearest}'?" in detail) is bool(nearest)
        assert detail.endswith("There are: relevance, price, -price, newest, popular, name.")

    def test_facets_are_counted_where_they_are_asked_for_and_each_count_is_true(
        self, app: App, demo_shop: DemoShop
    ) -> None:
        demo_shop.spread_over_categories()
        assert app.get("search", q="bag").json()["facets"] == []
        facets = app.get("search", q="bag", facets="category, price").json()["facets"]
        assert [facet["name"] for facet in facets] == ["category", "price"]
        for facet in facets:
            for value in facet["values"]:
                assert app.get("search", q="bag", **value["parameters"]).json()["n_found"] == value["n_items"] > 0

    def test_several_values_of_one_filter_add_up(self, app: App, demo_shop: DemoShop) -> None:
        demo_shop.spread_over_categories()
        (facet,) = app.get("search", q="bag", facets="category").json()["facets"]
        first, second = facet["values"][:2]
        answer = app.get("search", q="bag", category=[first["text"], second["text"], ""], facets="category").json()
        assert answer["n_found"] == first["n_items"] + second["n_items"]
        applied = [value["text"] for value in answer["facets"][0]["values"] if value["is_applied"]]
        assert applied == [first["text"], second["text"]]

    @pytest.mark.parametrize(
        ("facets", "detail"),
        [
            ("categories", "'categories': There is no such value. Did you mean 'category'? There are: all, category"),
            ("brand,colour", "'colour': There is no such value. There are: all, category, brand, price, available."),
            ("x" * 10_000, "There is no such value."),
        ],
    )
    def test_facet_that_does_not_exist_is_a_400_that_names_the_nearest_and_all(
        self, app: App, facets: str, detail: str
    ) -> None:
        assert detail in assert_problem(app.get("search", q="bag", facets=facets), 400, "invalid-request")

    @pytest.mark.parametrize(
        ("sent", "detail"),
        [
            ({"min_price": "50", "max_price": "10"}, "min_price: It is above max_price: 50 is more than 10."),
            ({"brand": "x" * 10_000}, "brand: Ensure this field has no more than 255 characters."),
            ({"category": ["x"] * 51}, "category: Ensure this field has no more than 50 elements."),
            ({"max_price": "10 USD"}, "max_price: A valid number is required."),
        ],
    )
    def test_filter_that_no_item_can_pass_is_a_400(self, app: App, sent: dict[str, Any], detail: str) -> None:
        assert assert_problem(app.get("search", q="bag", **sent), 400, "invalid-request") == detail

    def test_attribute_of_the_shops_items_is_a_parameter_and_a_facet(
        self, app: App, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert_problem(app.get("search", q="bag", colour="red"), 400, "invalid-request")
        for item in Item.objects.all():
            item.attributes = {"colour": "red" if item.pk % 2 else "blue", "limit": "1"}
            item.save(update_fields=["attributes", "updated_at"])
        serving.reload()
        monkeypatch.setattr(Products, "attributes", {"colour": "title", "limit": "title"})
        answer = app.get("search", q="bag", facets="all").json()
        (colours,) = [facet for facet in answer["facets"] if facet["name"] == "colour"]
        assert {value["text"] for value in colours["values"]} == {"red", "blue"}
        for value in colours["values"]:
            assert app.get("search", q="bag", colour=value["text"]).json()["n_found"] == value["n_items"] > 0
        detail = assert_problem(app.get("search", q="bag", facets="limit"), 400, "invalid-request")
        assert detail.endswith("There are: all, category, brand, price, available, colour.")
        assert_problem(app.get("search", q="bag", color="red"), 400, "invalid-request")

    @pytest.mark.parametrize(("path", "name"), [("search", "available"), ("recommendations/home", "new_only")])
    def test_switch_that_is_neither_on_nor_off_is_a_400_that_names_both(self, app: App, path: str, name: str) -> None:
        assert assert_problem(app.get(path, **{name: "maybe"}), 400, "invalid-request") == f"{name}: Send 1 or 0."

    @pytest.mark.parametrize(
        "query",
        [
            "",
            " ",
            "x" * 10_000,
            "🎄🧵",
            "红色的杯子",
            "'; DROP TABLE shop_product; --",
            '"a" AND NEAR(b* NOT c:',
            "%",
            "\ud800",
        ],
    )
    def test_strange_queries_are_answered(self, app: App, query: str) -> None:
        encoded = query.encode("utf-8", "surrogatepass")
        for path in ("search", "suggest"):
            assert app.client.get(ROOT + path, {"q": encoded}, headers=app.headers).status_code == 200

    def test_nul_in_a_query_is_a_400(self, app: App) -> None:
        assert_problem(app.get("search", q="a\x00b"), 400, "invalid-request")

    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(query=st.text(max_size=60), slot=st.text(max_size=20), item=st.text(max_size=20), cart=st.text(max_size=40))
    def test_no_parameters_make_it_fail(self, app: App, query: str, slot: str, item: str, cart: str) -> None:
        from urllib.parse import quote

        assert app.get("search", q=query, limit=2, offset=query).status_code < 500
        assert app.get("suggest", q=query).status_code < 500
        assert app.get("recommendations/home", item_id=item, cart=cart).status_code < 500
        assert app.get(f"recommendations/{quote(slot, safe='')}").status_code < 500

    def test_suggestions_complete_a_prefix(self, app: App) -> None:
        word = Item.objects.filter(is_active=True).order_by("item_id")[0].title.split()[0]
        body = app.get("suggest", q=word[:4], limit=3).json()
        assert body["query"] == word[:4]
        assert 1 <= len(body["suggestions"]) <= 3
        assert {"text", "kind", "item_id", "url"} == set(body["suggestions"][0])

    def test_answers_are_kept_by_no_cache(self, app: App) -> None:
        answer = app.get("recommendations/home")
        assert {"private", "no-store"} <= set(answer.headers["Cache-Control"].replace(",", "").split())
        assert {"Authorization", "Cookie"} <= {part.strip() for part in answer.headers["Vary"].split(",")}

    def test_stranger_costs_one_query(self, demo_shop: DemoShop) -> None:
        serving.reload()
        with assert_queries(1):
            App().get("search", q="bag")
        with assert_queries(0):
            App().get("suggest", q="bag")


class TestMe:
    def test_profile_says_what_is_stored_and_what_it_means(self, app: App, item_id: str) -> None:
        app.post("events", [view(item_id), view(item_id), view(item_id, type="add_to_cart")])
        profile = app.get("me").json()
        assert profile["counts"] == {"view_item": 2, "add_to_cart": 1}
        assert (profile["consent"], profile["profiling"], profile["user"]) == (True, True, None)
        assert profile["headline"]
        assert profile["interests"][0]["text"] == "1 put in the cart, 2 viewed"

    def test_choices_are_stored_and_obeyed(self, app: App, item_id: str) -> None:
        app.post("events", [view(item_id)])
        profile = app.send("PATCH", "me", {"profiling": False}).json()
        assert (profile["consent"], profile["profiling"]) == (True, False)
        assert app.get("recommendations/recently_viewed").json()["items"] == []
        assert app.send("PATCH", "me", {"consent": False, "profiling": True}).json()["consent"] is False
        assert app.post("events", [view(item_id)]).json()["dropped"] == 1
        assert app.send("PATCH", "me", {"consent": True}).json()["consent"] is True
        assert app.post("events", [view(item_id)]).json()["accepted"] == 1

    def test_export_holds_everything(self, app: App, item_id: str) -> None:
        event = view(item_id, price="1.50", currency="GBP")
        app.post("events", [event])
        ranking_id = app.get("recommendations/trending").json()["ranking_id"]
        everything = app.get("me/export").json()
        assert [one["message_id"] for one in everything["events"]] == [event["message_id"]]
        assert everything["events"][0]["price"] == "1.50"
        assert [one["ranking_id"] for one in everything["impressions"]] == [ranking_id]
        assert everything["visitors"][0]["has_consented"] is True

    def test_erasure_leaves_nothing(self, app: App, item_id: str) -> None:
        app.post("events", [view(item_id)])
        app.get("recommendations/trending")
        visitor = Visitor.objects.get(user_key=None)
        assert app.send("DELETE", "me", b"").status_code == 204
        assert not Visitor.objects.filter(pk=visitor.pk).exists()
        assert not Event.objects.filter(source="api").exists()
        assert not Impression.objects.exists()
        assert app.get("me").json()["counts"] == {}
        assert app.post("events", [view(item_id)]).json()["dropped"] == 1

    def test_erased_visitor_can_agree_again(self, app: App, item_id: str) -> None:
        app.send("DELETE", "me", b"")
        assert app.send("PATCH", "me", {"consent": True}).json()["consent"] is True
        assert app.post("events", [view(item_id)]).json()["accepted"] == 1

    def test_nobody_is_told_how_to_identify(self) -> None:
        for method, path in (("GET", "me"), ("GET", "me/export"), ("DELETE", "me"), ("PATCH", "me")):
            answer = App().send(method, path, b"{}" if method == "PATCH" else b"")
            assert "POST visitors" in assert_problem(answer, 401, "not-identified")


class TestBrowser:
    def browser(self, key: uuid.UUID | None = None, *, answer: str = "granted") -> Client:
        client = Client(enforce_csrf_checks=True)
        client.cookies["recommender_consent"] = answer
        if key is not None:
            client.cookies["recommender_visitor"] = cookie_for(key)
        return client

    def post(self, client: Client, body: Any, **headers: str) -> Any:
        return client.post(ROOT + "events", json.dumps(body), "application/json", headers=headers)

    def test_cookie_needs_proof_against_forgery(self, demo_shop: DemoShop, item_id: str) -> None:
        client = self.browser(uuid.uuid4())
        assert "CSRF" in assert_problem(self.post(client, [view(item_id)]), 403, "forbidden")
        assert not Event.objects.filter(source="api").exists()
        client.cookies["csrftoken"] = "a" * 32
        answer = self.post(client, [view(item_id)], **{"X-CSRFToken": "a" * 32})
        assert answer.json()["accepted"] == 1

    def test_browser_sees_and_erases_its_own(self, demo_shop: DemoShop, item_id: str) -> None:
        visitor = Visitor.objects.create()
        Event.objects.create(
            message_id="m", visitor=visitor, type="view_item", item_id=item_id, occurred_at=timezone.now()
        )
        client = self.browser(visitor.key)
        assert client.get(ROOT + "me").json()["counts"] == {"view_item": 1}
        client.cookies["csrftoken"] = "a" * 32
        answer = client.delete(ROOT + "me", headers={"X-CSRFToken": "a" * 32})
        assert answer.status_code == 204
        assert answer.cookies["recommender_visitor"].value == ""
        assert not Visitor.objects.filter(pk=visitor.pk).exists()

    def test_cookie_sent_as_a_token_opens_nothing(self, demo_shop: DemoShop) -> None:
        client = self.browser()
        client.force_login(demo_shop.customer().user)
        item = Item.objects.filter(is_active=True, url__startswith="/item/")[0]
        cookie = client.get(item.url).cookies["recommender_visitor"].value
        assert client.get(ROOT + "me").json()["user"]
        for method, path in (*(("GET", path) for path in ("me", "me/export")), ("PATCH", "me"), ("DELETE", "me")):
            assert_problem(App(cookie).send(method, path, b""), 401, "invalid-token")
        assert client.get(ROOT + "me").json()["user"]

    def test_signed_in_user_sees_their_orders(self, demo_shop: DemoShop) -> None:
        customer = demo_shop.customer()
        client = Client()
        client.force_login(customer.user)
        profile = client.get(ROOT + "me").json()
        assert profile["user"] == str(customer.user.pk)
        assert profile["counts"]["purchase"] > 0

    def test_cookie_alone_does_not_open_an_account(self, demo_shop: DemoShop) -> None:
        visitor = Visitor.objects.create(user_key=str(demo_shop.customer().user.pk))
        client = self.browser(visitor.key)
        assert_problem(client.get(ROOT + "me/export"), 401, "not-identified")
        other = get_user_model().objects.create_user("somebody-else")
        client.force_login(other)
        assert client.get(ROOT + "me/export").json()["events"] == []

    def test_choice_of_a_browser_is_its_cookie_too(self) -> None:
        visitor = Visitor.objects.create()
        client = self.browser(visitor.key)
        client.cookies["csrftoken"] = "a" * 32
        answer = client.patch(
            ROOT + "me", json.dumps({"consent": False}), "application/json", headers={"X-CSRFToken": "a" * 32}
        )
        assert answer.json()["consent"] is False
        assert answer.cookies["recommender_consent"].value == "denied"

    def test_browser_that_asks_for_html_gets_json(self, demo_shop: DemoShop) -> None:
        answer = Client().get(ROOT + "recommendations/home", headers={"Accept": "text/html"})
        assert answer.headers["Content-Type"] == "application/json"


class TestProblems:
    def test_other_methods_are_a_405_that_allows(self, app: App) -> None:
        answer = app.send("DELETE", "search", b"")
        assert_problem(answer, 405, "method-not-allowed")
        assert "GET" in answer.headers["Allow"]
        assert_problem(app.get("events"), 405, "method-not-allowed")

    @pytest.mark.parametrize("path", ["", "nothing", "search/", "me/", "recommendations", "recommendations/home/x"])
    def test_unknown_endpoint_is_a_problem_too(self, app: App, path: str) -> None:
        for method in ("GET", "POST"):
            answer = app.send(method, path, b"{}" if method == "POST" else b"")
            assert "search" in assert_problem(answer, 404, "unknown-endpoint")

    def test_unforeseen_failure_is_a_problem_and_a_log_entry(
        self, app: App, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def fail(*_: Any, **__: Any) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(pipeline, "suggest", fail)
        assert_problem(app.get("suggest", q="a"), 500, "internal-error")
        assert "ZeroDivisionError" in caplog.text

    def test_settings_of_the_host_do_not_matter(self, app: App, settings: Any) -> None:
        settings.REST_FRAMEWORK = {
            "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAdminUser"],
            "DEFAULT_AUTHENTICATION_CLASSES": [],
            "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.BrowsableAPIRenderer"],
            "DEFAULT_PARSER_CLASSES": [],
            "EXCEPTION_HANDLER": "nowhere.at.all",
            "COERCE_DECIMAL_TO_STRING": False,
            "DATETIME_FORMAT": "%d",
            "UNAUTHENTICATED_USER": None,
            "NON_FIELD_ERRORS_KEY": "__all__",
        }
        body = app.get("recommendations/trending").json()
        assert isinstance(body["items"][0]["price"], str)
        assert_problem(app.get("search", limit="x"), 400, "invalid-request")
        assert app.post("events", [17]).json()["rejected"][0]["field"] == ""
