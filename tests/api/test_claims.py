"""What an app says is its claim: it takes nothing from the shop's rows or from others, and its weight has a bound."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import uuid
from typing import Any

import numpy as np
import pytest
from django.test import Client
from django.utils import timezone

from recommender import capture, datasets, identity, pipeline, serving, tracking
from recommender.capture import visitors
from recommender.datasets import cleaning, statistics
from recommender.features.shop_state import build_state
from recommender.identity import cookie_for, token_for
from recommender.models import Event, Item, ItemStatistics, Visitor
from recommender.tables import Interactions
from recommender.types import EVENT_CODES, EventType
from shopreco.shop.models import OrderLine
from tests import behaviour, planted
from tests.conftest import DemoShop

ROOT = "/recommender/api/v1/"
VIEW, CART, PURCHASE = (EVENT_CODES[kind] for kind in (EventType.VIEW_ITEM, EventType.ADD_TO_CART, EventType.PURCHASE))

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _forget_visitors() -> None:
    visitors.forget_visitors()


class App:
    """One visitor of the API."""

    def __init__(self) -> None:
        self.visitor = Visitor.objects.create()
        self.client = Client(headers={"Authorization": f"Visitor {token_for(self.visitor.key)}"})

    def send(self, *events: dict[str, Any]) -> dict[str, Any]:
        answer = self.client.post(f"{ROOT}events", json.dumps(events), "application/json")
        assert answer.status_code == 202, answer.content
        receipt: dict[str, Any] = answer.json()
        return receipt

    def exported(self) -> list[dict[str, Any]]:
        return list(self.client.get(f"{ROOT}me/export").json()["events"])


def event(message_id: str, item_id: str, kind: str = "view_item", **values: Any) -> dict[str, Any]:
    return {"message_id": message_id, "type": kind, "item_id": item_id, **values}


def read() -> tuple[Any, Any]:
    items = datasets.read_items()
    return items, datasets.clean(datasets.read_interactions(items))


# Ids


def test_claimed_order_line_keeps_no_purchase_of_the_shop_out(demo_shop: DemoShop) -> None:
    line = OrderLine.objects.order_by("pk")[0]
    message_id = f"order:shop.orderline:{line.pk}"
    Event.objects.filter(message_id=message_id).delete()
    receipt = App().send(event(message_id, line.product.stock_code, "purchase"))
    assert receipt["accepted"] == 1
    assert tracking.reconcile().n_recorded == 1
    assert Event.objects.get(message_id=message_id).source == "order"


def test_receipt_does_not_tell_which_orders_there_are(demo_shop: DemoShop) -> None:
    line = OrderLine.objects.order_by("pk")[0]
    assert Event.objects.filter(message_id=f"order:shop.orderline:{line.pk}").exists()
    ids = [f"order:shop.orderline:{pk}" for pk in (line.pk, 10**9)]
    receipt = App().send(*(event(message_id, "x", "purchase") for message_id in ids))
    assert (receipt["accepted"], receipt["duplicate"]) == (2, 0)


def test_same_id_of_two_visitors_is_two_events_and_of_one_visitor_one() -> None:
    one, other = App(), App()
    assert one.send(event("app-1", "mug"))["accepted"] == 1
    assert other.send(event("app-1", "bag"))["accepted"] == 1
    for app in (one, other):
        again = app.send(event("app-1", "mug"))
        assert (again["accepted"], again["duplicate"]) == (0, 1)


def test_export_shows_the_id_that_was_sent_however_long() -> None:
    app = App()
    for message_id in ("app-1", "x" * 128, "api:0123456789abcdef:mine", "order:shop.orderline:1"):
        app.send(event(message_id, "mug"))
    assert [one["message_id"] for one in app.exported()] == [
        "app-1", "x" * 128, "api:0123456789abcdef:mine", "order:shop.orderline:1",
    ]  # fmt: skip


def test_batch_is_stored_once_though_its_visitor_signs_in_between_two_tries(django_user_model: Any) -> None:
    client, key = Client(), uuid.uuid4()
    client.cookies["recommender_consent"], client.cookies["recommender_visitor"] = "granted", cookie_for(key)
    batch = json.dumps([event("app-1", "mug"), event("app-2", "mug")])
    assert client.post(f"{ROOT}events", batch, "application/json").json()["accepted"] == 2
    client.force_login(django_user_model.objects.create(username="ada"))
    assert client.post(f"{ROOT}events", batch, "application/json").json()["duplicate"] == 2
    assert Event.objects.count() == 2


def test_id_of_a_nobody_keeps_nothing_of_the_visitor(django_assert_num_queries: Any) -> None:
    app = App()
    app.send(event("app-1", "mug"))
    assert app.visitor.key.hex[:8] not in Event.objects.get().message_id


def test_strangers_order_id_does_not_take_the_buyers_line(demo_shop: DemoShop) -> None:
    line = OrderLine.objects.order_by("-pk").select_related("order", "product")[0]
    items, (before, _) = read()
    App().send(event("a", line.product.stock_code, "purchase", order_id=line.order.number, quantity=9))
    App().send(event("b", line.product.stock_code, "refund", order_id=line.order.number, quantity=9))
    _, (after, _) = read()
    bought = [np.flatnonzero(events.type == PURCHASE) for events in (before, after)]
    assert len(bought[0]) == len(bought[1])
    assert before.quantity[bought[0]].sum() == after.quantity[bought[1]].sum()
    claimed = after.type == CART
    assert (after.basket[claimed] == -1).all()
    assert len(items)


# Weight


def popular(limit: int = 3) -> list[str]:
    statistics.refresh_statistics()
    serving.reload()
    return [entry.item_id for entry in pipeline.recommend("home", limit=limit).entries]


def least_popular() -> str:
    return ItemStatistics.objects.filter(item__is_active=True).order_by("n_total", "item__item_id")[0].item.item_id


def calls_of_one_visitor(item_id: str) -> dict[str, list[dict[str, Any]]]:
    def many(kind: str, days_apart: float = 0) -> list[dict[str, Any]]:
        at = timezone.now()
        return [
            event(
                f"{kind}-{n}",
                item_id,
                kind,
                occurred_at=(at - dt.timedelta(days=n * days_apart, seconds=2 * n)).isoformat(),
            )
            for n in range(200)
        ]

    return {
        "purchases": many("purchase"),
        "backdated purchases": many("purchase", 0.14),
        "backdated views": many("view_item", 0.14),
        "carts": many("add_to_cart"),
        "backdated carts": many("add_to_cart", 0.14),
        "views and carts": [*many("view_item")[:100], *many("add_to_cart")[:100]],
        "orders of their own": [one | {"order_id": one["message_id"]} for one in many("purchase")],
    }


@pytest.mark.parametrize("name", sorted(calls_of_one_visitor("x")))
@pytest.mark.parametrize("headers", [{}, {"Sec-GPC": "1"}], ids=["profiled", "not profiled"])
def test_one_call_of_one_new_visitor_moves_no_item_to_the_top(
    demo_shop: DemoShop, name: str, headers: dict[str, str]
) -> None:
    usual, target = popular(), least_popular()
    assert target not in usual
    app = App()
    app.client.headers = headers
    answer = app.client.post(
        f"{ROOT}events", json.dumps(calls_of_one_visitor(target)[name]), "application/json", headers=headers
    )
    assert answer.json()["accepted"] == 200
    assert popular() == usual


def test_claimed_purchase_counts_as_a_cart_and_a_claimed_refund_takes_nothing_back() -> None:
    Item.objects.create(item_id="mug", label="", object_id="mug", title="Mug", text="mug", text_hash="mug")
    app, at = App(), timezone.now()
    app.send(event("p", "mug", "purchase", order_id="o"))
    capture.ingest(
        [capture.EventDraft("row", "purchase", at, "mug", order_id="o", source="order", visitor_key=app.visitor.key)]
    )
    app.send(event("r", "mug", "refund", order_id="o"))
    _, (interactions, _) = read()
    assert sorted(interactions.type.tolist()) == sorted(
        EVENT_CODES[kind] for kind in (EventType.ADD_TO_CART, EventType.REMOVE_FROM_CART, EventType.PURCHASE)
    )
    assert [past.type for past in history_of(app)] == ["purchase", "add_to_cart", "remove_from_cart"]
    assert [past.order_id for past in history_of(app)] == ["o", "", ""]


def history_of(app: App) -> Any:
    from django.test import RequestFactory

    request = RequestFactory().get("/", headers={"Authorization": f"Visitor {token_for(app.visitor.key)}"})
    return identity.shopper_of(request).history()


def test_app_cannot_date_an_event_far_back() -> None:
    Item.objects.create(item_id="mug", label="", object_id="mug", title="Mug", text="mug", text_hash="mug")
    App().send(event("a", "mug", occurred_at=(timezone.now() - dt.timedelta(days=300)).isoformat()))
    _, (interactions, _) = read()
    assert timezone.now().timestamp() - interactions.time[0] == pytest.approx(3 * 86_400, abs=60)


def claims(item: list[int], kind: list[int], claim: list[int]) -> Interactions:
    events = behaviour.interactions([(0, one, row / 10, -1) for row, one in enumerate(item)])
    return dataclasses.replace(events, type=np.array(kind, np.int8), claim=np.array(claim, np.int32))


def test_newest_claims_of_a_day_are_kept() -> None:
    views = claims([0] * 7 + [1], [VIEW] * 8, [0] * 8)
    assert np.flatnonzero(cleaning.excess_claims(views)).tolist() == [0, 1]
    assert not cleaning.excess_claims(claims([0] * 7, [VIEW, CART] * 3 + [VIEW], [0] * 7)).any()


def test_other_days_other_people_and_rows_of_the_shop_have_caps_of_their_own() -> None:
    assert not cleaning.excess_claims(claims([0] * 10, [VIEW] * 10, [0] * 5 + [1] * 5)).any()
    assert not cleaning.excess_claims(claims([0] * 10, [PURCHASE] * 10, [-1] * 10)).any()


def test_what_one_person_claims_of_an_item_in_a_day_counts_once_in_popularity() -> None:
    items = behaviour.table()
    events = claims([0, 0, 0, 1, 0, 2, 2], [VIEW, CART, VIEW, VIEW, VIEW, PURCHASE, PURCHASE], [0, 0, 0, 0, 1, -1, -1])
    counts = build_state(events, items, at=behaviour.DAY).counts[:3, 3]
    assert counts.tolist() == pytest.approx([0.5 + 0.2, 0.2, 2.0])


def test_what_an_ordinary_shopper_does_is_kept_whole() -> None:
    for item_id in ("mug", "bag"):
        Item.objects.create(
            item_id=item_id, label="", object_id=item_id, title=item_id, text=item_id, text_hash=item_id
        )
    key, at = uuid.uuid4(), timezone.now()
    kinds = [
        ("view_item", "mug"),
        ("view_item", "bag"),
        ("view_item", "mug"),
        ("add_to_cart", "mug"),
        ("select_item", "bag"),
    ]
    capture.ingest(
        [
            capture.EventDraft(uuid.uuid4().hex, kind, at - dt.timedelta(minutes=n), item_id, visitor_key=key)
            for n, (kind, item_id) in enumerate(kinds)
        ]
    )
    _, (interactions, report) = read()
    assert (len(interactions), report.removed) == (len(kinds), {})


def test_claims_of_a_dataset_survive_the_file(tmp_path: Any) -> None:
    from recommender.datasets import files as dataset_files

    Item.objects.create(item_id="mug", label="", object_id="mug", title="Mug", text="mug", text_hash="mug")
    App().send(*(event(str(n), "mug") for n in range(9)))
    stored = dataset_files.read_once(tmp_path)
    again = dataset_files.read_once(tmp_path)
    assert stored.recorded.interactions.claim.tolist() == again.recorded.interactions.claim.tolist() == [0] * 9


def test_honest_traffic_is_ranked_as_if_all_were_rows_of_the_shop() -> None:
    data = planted.dataset(n_visitors=60)
    events = data.recorded.interactions
    is_row = np.isin(events.type, (planted.PURCHASE, planted.REFUND))
    days = np.stack([events.visitor.astype(np.int64), (events.time // behaviour.DAY).astype(np.int64)])
    claim = np.unique(days, axis=1, return_inverse=True)[1].ravel()
    claimed = dataclasses.replace(events, claim=np.where(is_row, -1, claim).astype(np.int32))
    assert (claimed.claim >= 0).sum() > 1000
    assert not cleaning.excess_claims(claimed).any()
    counts = [build_state(one, data.items, at=data.taken_at).counts for one in (events, claimed)]
    assert np.array_equal(*counts)
