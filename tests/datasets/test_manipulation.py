"""New visitors by the hundred move no list and raise an alarm; true trends stay; a shop without orders has lists."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from recommender import datasets, pipeline, serving
from recommender.capture import retention
from recommender.datasets import queries, statistics
from recommender.datasets.impressions import read_impressions
from recommender.management import doctor
from recommender.ml.context.visits import examples
from recommender.ml.histories import Histories
from recommender.models import Alarm, Event, Impression, Item, ItemStatistics, QueryStatistics, Segment, Visitor
from recommender.personas import segmentation
from recommender.retrieval.lexical.index import LexicalIndex
from tests.conftest import DemoShop

pytestmark = pytest.mark.django_db

N_ATTACKERS = 400


def claims(rows: Iterable[tuple[Visitor, str, str]], *, source: str = "api", **values: Any) -> None:
    """Store (visitor, type, item or query) as received a minute ago."""
    at = timezone.now() - dt.timedelta(minutes=1)
    Event.objects.bulk_create(
        Event(
            message_id=uuid.uuid4().hex, visitor=visitor, type=kind, source=source, occurred_at=at, received_at=at,
            **{"query" if kind == "search" else "item_id": subject}, **values,
        )
        for visitor, kind, subject in rows
    )  # fmt: skip


def visitors(n: int = N_ATTACKERS) -> list[Visitor]:
    return Visitor.objects.bulk_create(Visitor() for _ in range(n))


def item(item_id: str) -> None:
    Item.objects.create(item_id=item_id, label="", object_id=item_id, title=item_id, text=item_id, text_hash=item_id)


def listed(slot: str = "trending", limit: int = 8, **question: Any) -> list[str]:
    statistics.refresh_statistics()
    serving.reload()
    return [entry.item_id for entry in pipeline.recommend(slot, limit=limit, **question).entries]


def seldom_sold() -> str:
    return ItemStatistics.objects.filter(item__is_active=True).order_by("n_total", "item__item_id")[0].item.item_id


def attack(target: str, beside: str) -> None:
    people = visitors()
    claims((visitor, kind, one) for visitor in people for kind in ("view_item", "purchase") for one in (target, beside))


def test_hundreds_of_new_visitors_count_no_more_than_three(demo_shop: DemoShop) -> None:
    target, beside = seldom_sold(), demo_shop.product().stock_code
    statistics.refresh_statistics()
    before = ItemStatistics.objects.get(item__item_id=target).n_total
    attack(target, beside)
    statistics.refresh_statistics()
    after = ItemStatistics.objects.get(item__item_id=target).n_total
    assert after - before == pytest.approx(3 * 0.5 * 0.25)  # three carts of visitors on their first day


def test_hundreds_of_new_visitors_stand_an_item_beside_no_other(demo_shop: DemoShop) -> None:
    bestseller, target = demo_shop.product().stock_code, seldom_sold()
    slots: dict[str, dict[str, Any]] = {"similar": {"item_id": bestseller}, "cart": {"cart_item_ids": (bestseller,)}}
    before = {slot: listed(slot, **question) for slot, question in slots.items()}
    attack(target, bestseller)
    after = {slot: listed(slot, **question) for slot, question in slots.items()}
    assert all(target not in one for one in (*before.values(), *after.values()))
    assert target not in dict(ItemStatistics.objects.get(item__item_id=bestseller).sequel_neighbours[:20])


def test_day_of_a_claim_is_that_of_its_receipt_and_of_an_order_that_of_the_order() -> None:
    item("mug")
    [visitor] = visitors(1)
    claims([(visitor, "view_item", "mug")])
    claims([(visitor, "purchase", "mug")], source="order", order_id="o")
    Event.objects.update(occurred_at=timezone.now() - dt.timedelta(days=2))
    recorded = datasets.read_interactions(datasets.read_items()).interactions
    came = int((timezone.now() - dt.timedelta(minutes=1)).timestamp() // 86_400)
    assert dict(zip((recorded.claim >= 0).tolist(), recorded.day.tolist(), strict=True)) == {
        True: came,
        False: int(recorded.time[0] // 86_400),
    }


def test_true_bestseller_of_one_day_is_at_the_top(demo_shop: DemoShop) -> None:
    target, at = seldom_sold(), timezone.now()
    assert target not in listed()
    claims(((visitor, "purchase", target) for visitor in visitors(40)), source="order", order_id=str(at))
    claims((visitor, "view_item", target) for visitor in visitors(100))
    assert listed()[0] == target
    assert not Alarm.objects.filter(item_id=target).exists()


def test_burst_raises_one_alarm_that_staff_can_read_and_mark_as_seen(
    demo_shop: DemoShop, admin_client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    target = seldom_sold()
    attack(target, demo_shop.product().stock_code)
    statistics.refresh_statistics()
    alarm = Alarm.objects.get(item_id=target, kind="look", n_days=1)
    assert alarm.n_people == N_ATTACKERS
    assert alarm.limit < 10
    n_alarms = Alarm.objects.count()
    statistics.refresh_statistics()
    assert Alarm.objects.count() == n_alarms
    assert caplog.text.count("new alarms") == 1
    assert [finding.level for finding in doctor.examine() if finding.topic == "alarms"] == ["warning"]
    page = admin_client.get(reverse("admin:recommender_alarm_changelist"))
    assert Item.objects.get(item_id=target).title in page.content.decode()
    chosen = {"action": "mark_seen", "_selected_action": list(Alarm.objects.values_list("pk", flat=True))}
    admin_client.post(reverse("admin:recommender_alarm_changelist"), chosen)
    assert not Alarm.objects.filter(seen_at=None).exists()
    assert not [finding for finding in doctor.examine() if finding.topic == "alarms"]
    statistics.refresh_statistics()
    assert not Alarm.objects.filter(seen_at=None).exists()


def test_alarms_are_deleted_with_events_of_their_age(demo_shop: DemoShop) -> None:
    attack(seldom_sold(), demo_shop.product().stock_code)
    statistics.refresh_statistics()
    retention.purge(at=timezone.now() + dt.timedelta(days=366))
    assert not Alarm.objects.exists()


def test_alarm_of_a_month_stays_one_alarm_while_it_goes_on(demo_shop: DemoShop) -> None:
    target, people = seldom_sold(), visitors(300)
    claims((visitor, "view_item", target) for visitor in people)
    for number, event in enumerate(Event.objects.filter(source="api").order_by("pk")):
        event.occurred_at = event.received_at = event.received_at - dt.timedelta(days=number % 25 + 1)
        event.save()
    statistics.refresh_statistics(at=timezone.now() - dt.timedelta(days=1))
    claims((visitor, "view_item", target) for visitor in visitors(5))
    statistics.refresh_statistics()
    assert Alarm.objects.filter(item_id=target, n_days=30).count() == 1


def test_shop_whose_only_source_is_the_api_gets_its_lists() -> None:
    for name in ("mug", "bag", "cup"):
        item(name)
    people = visitors(30)
    claims((visitor, "view_item", "mug") for visitor in people)
    claims((visitor, "purchase", "bag") for visitor in people[:20])
    claims((visitor, "view_item", "cup") for visitor in people[:5])
    statistics.refresh_statistics()
    counts = dict(ItemStatistics.objects.values_list("item__item_id", "n_30"))
    assert counts == pytest.approx({"bag": 10.0, "mug": 6.0, "cup": 1.0})
    assert len(ItemStatistics.objects.get(item__item_id="bag").visitor_neighbours) == 2


def test_claim_of_somebody_who_never_bought_is_no_sale(demo_shop: DemoShop) -> None:
    target = seldom_sold()
    statistics.refresh_statistics()
    last = ItemStatistics.objects.get(item__item_id=target).last_event_at
    claims([(visitor, "view_item", target) for visitor in visitors(1)])
    statistics.refresh_statistics()
    assert ItemStatistics.objects.get(item__item_id=target).last_event_at == last
    buyer = Event.objects.filter(type="purchase", visitor__isnull=False).order_by("-pk")[0].visitor
    claims([(buyer, "view_item", target)])
    statistics.refresh_statistics()
    assert ItemStatistics.objects.get(item__item_id=target).last_event_at != last


def test_hundreds_of_new_visitors_shape_no_segment(demo_shop: DemoShop) -> None:
    target, beside = seldom_sold(), demo_shop.product().stock_code

    def liked() -> float:
        segmentation.refresh()
        return sum(segment.item_counts.get(target, 0) for segment in Segment.objects.filter(retired_at=None))

    before = liked()
    attack(target, beside)
    assert before <= liked() <= before + 6 * 0.5 * 0.25
    assert sum(Segment.objects.filter(retired_at=None).values_list("n_people", flat=True)) < N_ATTACKERS / 4


def test_bombed_query_counts_no_more_people_than_are_likely(demo_shop: DemoShop) -> None:
    target = seldom_sold()
    claims(row for visitor in visitors() for row in ((visitor, "search", "best gift"), (visitor, "view_item", target)))
    queries.learn_queries()
    bombed = QueryStatistics.objects.filter(query="best gift").values_list("n_visitors", flat=True)
    assert all(n < 10 for n in bombed)


def test_clicks_of_a_burst_are_no_outcome_of_the_lists(demo_shop: DemoShop) -> None:
    target, at = seldom_sold(), timezone.now() - dt.timedelta(days=2)
    people = visitors()
    lists = [uuid.uuid4() for _ in people]
    Impression.objects.bulk_create(
        Impression(ranking_id=one, visitor=visitor, slot="home", item_ids=[target], rung="lexical", occurred_at=at)
        for one, visitor in zip(lists, people, strict=True)
    )
    buyer = Event.objects.filter(type="purchase", visitor__isnull=False).order_by("-pk")[0]
    Event.objects.filter(pk=buyer.pk).update(ranking_id=lists[0])
    Event.objects.bulk_create(
        Event(
            message_id=uuid.uuid4().hex, visitor=visitor, type="select_item", source="api", item_id=target,
            ranking_id=one, occurred_at=at + dt.timedelta(minutes=1), received_at=at + dt.timedelta(minutes=1),
        )
        for one, visitor in zip(lists, people, strict=True)
    )  # fmt: skip
    shown = read_impressions(datasets.read_items())
    assert len(shown) == N_ATTACKERS
    assert 0 < np.isfinite(shown.clicked).sum() < N_ATTACKERS


def test_dismissed_item_is_no_target_of_the_context_model() -> None:
    from recommender.types import EVENT_CODES, EventType
    from tests.behaviour import interactions

    events = interactions([(0, 0, 1.0, -1), (0, 1, 3.0, -1), (0, 2, 3.01, -1), (0, 3, 3.02, -1)])
    kinds = [EventType.VIEW_ITEM, EventType.VIEW_ITEM, EventType.DISMISS_ITEM, EventType.REMOVE_FROM_CART]
    events.type[:] = [EVENT_CODES[kind] for kind in kinds]
    built = examples(Histories(events), since=0, until=1e9, new_weight=1.0, most=9, seed=0, n_items=5)
    assert {row for target in built.target for row in target.tolist()} <= {0, 1}


def test_word_that_a_title_repeats_counts_once() -> None:
    index = LexicalIndex.build(["mug mug red mug", "red mug", "blue bowl"])
    hits = index.search("mug ", 3)
    assert hits.scores[0] == pytest.approx(hits.scores[1])
