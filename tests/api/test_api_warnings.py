"""What the API says of events that it has stored, and that will teach nothing."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from django.test import Client

from recommender.api.receipts import strays
from recommender.identity import token_for
from recommender.models import Event, Item, Visitor
from tests.conftest import DemoShop

pytestmark = pytest.mark.django_db


def sent(*events: dict[str, Any]) -> dict[str, Any]:
    client = Client(headers={"Authorization": f"Visitor {token_for(Visitor.objects.create().key)}"})
    answer = client.post("/recommender/api/v1/events", json.dumps(events), "application/json")
    assert answer.status_code == 202, answer.content
    receipt: dict[str, Any] = answer.json()
    return receipt


def view(item_id: str, **more: Any) -> dict[str, Any]:
    return {"message_id": uuid.uuid4().hex, "type": "view_item", "item_id": item_id, **more}


def test_event_of_an_item_that_does_not_exist_is_stored_and_warned_of(demo_shop: DemoShop) -> None:
    item_id = Item.objects.filter(is_active=True)[0].item_id
    search = {"message_id": "s", "type": "search", "query": "tea"}
    receipt = sent(view(item_id), {"type": "view_item"}, view("nowhere"), search, view("nowhere-else"))
    assert (receipt["accepted"], [one["index"] for one in receipt["rejected"]]) == (4, [1])
    assert [(one["index"], one["field"]) for one in receipt["warnings"]] == [(2, "item_id"), (4, "item_id")]
    assert "No item has this id" in receipt["warnings"][0]["message"]
    assert "see warnings" in receipt["message"]
    assert Event.objects.filter(item_id="nowhere").exists()


def test_warning_names_the_item_that_was_likely_meant(demo_shop: DemoShop) -> None:
    item = Item.objects.filter(is_active=True)[0]
    assert item.object_id != item.item_id
    (warning,) = sent(view(item.object_id))["warnings"]
    assert f"Did you mean {item.item_id!r}?" in warning["message"]


def test_warning_without_a_likely_item_shows_what_ids_look_like(demo_shop: DemoShop) -> None:
    (warning,) = sent(view("nowhere"))["warnings"]
    assert any(
        f"such as {item_id!r}" in warning["message"] for item_id in Item.objects.values_list("item_id", flat=True)
    )


def test_item_that_was_taken_out_of_the_shop_and_one_that_is_new_exist(demo_shop: DemoShop) -> None:
    Item.objects.filter(pk=Item.objects.filter(is_active=True)[0].pk).update(is_active=False)
    Item.objects.create(item_id="new", label="shop.Product", object_id="new", title="New", text="new", text_hash="n")
    gone = Item.objects.filter(is_active=False)[0]
    receipt = sent(view(gone.item_id), view("new"))
    assert receipt["warnings"] == []
    assert "warnings" not in receipt["message"]


def test_field_of_an_event_that_there_is_not_is_warned_of(demo_shop: DemoShop) -> None:
    item_id = Item.objects.filter(is_active=True)[0].item_id
    receipt = sent(view(item_id, rankingid=str(uuid.uuid4()), screen="home"), view(item_id))
    assert receipt["accepted"] == 2
    assert [(one["index"], one["field"]) for one in receipt["warnings"]] == [(0, "rankingid"), (0, "screen")]
    assert "Did you mean 'ranking_id'?" in receipt["warnings"][0]["message"]


def test_look_up_costs_one_query_and_two_for_strays(demo_shop: DemoShop, django_assert_num_queries: Any) -> None:
    item_ids = list(Item.objects.values_list("item_id", flat=True)[:5])
    with django_assert_num_queries(1):
        assert strays(item_ids) == {}
    with django_assert_num_queries(3):
        assert set(strays(["nowhere", *item_ids])) == {"nowhere"}
