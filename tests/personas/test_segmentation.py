"""Segments in the database and in the admin: stable from run to run, named in words, and gone with consent."""

from __future__ import annotations

import datetime as dt
import uuid
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.utils import timezone

from recommender import datasets, tasks
from recommender.capture import erasure, privacy
from recommender.models import Event, Item, Segment, Visitor
from recommender.personas import segmentation
from recommender.personas.segments import Trait
from recommender.personas.wording import segment_in_words
from tests.personas.test_segments import BAGS, CHRISTMAS, CLOCKS, TEXTS

pytestmark = pytest.mark.django_db
SEGMENTS = "/admin/recommender/segment/"
NOW = dt.datetime(2026, 5, 1, 12, tzinfo=dt.UTC)
"""A Friday."""


@pytest.fixture(autouse=True)
def _catalogue() -> None:
    Item.objects.bulk_create(
        Item(
            item_id=f"item:{n}", label="", object_id=str(n), title=text, text=text, text_hash="",
            price=Decimal((1, 5, 50)[n // 6]),
        )
        for n, text in enumerate(TEXTS)
    )  # fmt: skip


def shoppers(n_each: int = 20, *, first: int = 0) -> list[Visitor]:
    """Visitor v likes kind v % 3, and has bought of it on three days at nine in the morning."""
    visitors = [Visitor.objects.create(last_seen_at=NOW) for _ in range(3 * n_each)]
    rows = []
    for number, visitor in enumerate(visitors):
        goods = (CHRISTMAS, BAGS, CLOCKS)[number % 3]
        for days in (4, 11, 18):
            at = NOW - dt.timedelta(days=days, hours=3)
            rows += [bought(visitor, goods[(number + n) % 6], at) for n in range(3)]
    Event.objects.bulk_create(rows)
    return visitors


def bought(visitor: Visitor, item: int, at: dt.datetime, kind: str = "purchase") -> Event:
    source = "order" if kind in ("purchase", "refund") else "page"
    return Event(
        message_id=uuid.uuid4().hex, visitor=visitor, type=kind, item_id=f"item:{item}", occurred_at=at, source=source
    )


def numbers() -> dict[int, int | None]:
    return dict(Visitor.objects.values_list("pk", "segment__number"))


def grouped() -> list[Visitor]:
    visitors = shoppers(60)
    segmentation.refresh(at=NOW)
    return visitors


def test_visitors_are_assigned_to_segments_named_in_words() -> None:
    visitors = grouped()
    names = [Segment.objects.get(pk=Visitor.objects.get(pk=visitor.pk).segment_id).name for visitor in visitors[:3]]
    assert [name.split(",")[0].split(" and ")[0] for name in names] == ["Christmas", "Bag", "Clock"]
    assert "low price" in names[0]
    assert "high price" in names[2]
    assert sorted(Segment.objects.values_list("n_people", flat=True)) == [60, 60, 60]


def test_segments_keep_number_name_and_members_when_more_visitors_come() -> None:
    visitors = grouped()
    before, names = numbers(), dict(Segment.objects.values_list("number", "name"))
    more = shoppers(5)
    segmentation.refresh(at=NOW + dt.timedelta(hours=1))
    assert dict(Segment.objects.values_list("number", "name")) == names
    after = numbers()
    assert {visitor.pk: after[visitor.pk] for visitor in visitors} == before
    assert [after[visitor.pk] for visitor in more[:3]] == [before[visitor.pk] for visitor in visitors[:3]]


def test_name_of_the_merchandiser_s_own_stays(admin_client: Client) -> None:
    grouped()
    segment = Segment.objects.order_by("number")[0]
    response = admin_client.post(f"{SEGMENTS}{segment.pk}/change/", {"own_name": "Early birds"}, follow=True)
    assert response.status_code == 200
    segmentation.refresh(at=NOW + dt.timedelta(hours=1))
    segment.refresh_from_db()
    assert str(segment) == "Early birds"
    assert segment.name
    page = admin_client.get(SEGMENTS).content.decode()
    assert "Early birds" in page
    assert "33%" in page


def test_page_of_a_segment_shows_what_distinguishes_it_and_examples(admin_client: Client) -> None:
    visitors = grouped()
    visitor = Visitor.objects.get(pk=visitors[0].pk)
    page = admin_client.get(f"{SEGMENTS}{visitor.segment_id}/change/").content.decode()
    assert "christmas" in page
    assert "low price" in page
    assert any(TEXTS[item] in page for item in CHRISTMAS)
    assert not any(TEXTS[item] in page for item in CLOCKS)
    assert "/admin/recommender/persona/" in page


def test_who_may_only_look_cannot_rename() -> None:
    grouped()
    user = User.objects.create_user("ada", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename="view_segment"))
    client = Client()
    client.force_login(user)
    segment = Segment.objects.order_by("number")[0]
    assert client.get(SEGMENTS).status_code == 200
    assert client.post(f"{SEGMENTS}{segment.pk}/change/", {"own_name": "x"}).status_code == 403


def test_personas_and_visitors_can_be_filtered_by_segment(admin_client: Client) -> None:
    visitors = grouped()
    number = numbers()[visitors[0].pk]
    for model in ("persona", "visitor"):
        visible = admin_client.get(f"/admin/recommender/{model}/", {"segment": number}).context["cl"].result_list
        assert {visitor.pk % 3 for visitor in visible} == {visitors[0].pk % 3}
        assert admin_client.get(f"/admin/recommender/{model}/", {"segment": "' OR 1"}).status_code == 200


def test_one_event_is_enough_to_be_in_a_segment() -> None:
    visitors = grouped()
    newcomer = Visitor.objects.create()
    Event.objects.bulk_create([bought(newcomer, CLOCKS[0], NOW - dt.timedelta(minutes=1), "view_item")])
    segmentation.assign_segments(newcomer.pk, newcomer.pk, at=NOW)
    assert numbers()[newcomer.pk] == numbers()[visitors[2].pk]
    assert segmentation.segment_of(newcomer.key) == segmentation.segment_of(visitors[2].key)
    assert segmentation.segment_of(uuid.uuid4()) is None


def test_all_browsers_of_a_user_are_in_the_segment_of_the_person() -> None:
    visitors = grouped()
    phone = Visitor.objects.create(user_key="7")
    Visitor.objects.filter(pk=visitors[1].pk).update(user_key="7")
    Event.objects.bulk_create([bought(phone, CLOCKS[0], NOW - dt.timedelta(days=300), "view_item")])
    segmentation.assign_segments(phone.pk, phone.pk, at=NOW)
    assert numbers()[phone.pk] == numbers()[visitors[1].pk]


@pytest.mark.parametrize("change", [privacy.set_profiling, privacy.set_consent])
def test_who_withdraws_leaves_the_segment_at_once_and_stays_out(change: Any) -> None:
    visitor = grouped()[0]
    change(False, visitor_key=visitor.key)
    assert numbers()[visitor.pk] is None
    segmentation.refresh(at=NOW)
    assert numbers()[visitor.pk] is None


def test_refund_of_everything_takes_a_visitor_out_of_the_segment() -> None:
    grouped()
    visitor = Visitor.objects.create()
    Event.objects.bulk_create([bought(visitor, 0, NOW - dt.timedelta(days=2))])
    segmentation.assign_segments(visitor.pk, visitor.pk, at=NOW)
    assert numbers()[visitor.pk] is not None
    Event.objects.bulk_create([bought(visitor, 0, NOW - dt.timedelta(days=1), "refund")])
    segmentation.assign_segments(visitor.pk, visitor.pk, at=NOW)
    assert numbers()[visitor.pk] is None


def test_erasure_leaves_neither_membership_nor_counts() -> None:
    visitors = grouped()
    loner = Visitor.objects.create(last_seen_at=NOW)
    Item.objects.create(item_id="odd", label="", object_id="odd", title="odd thing", text="odd thing", text_hash="")
    at = NOW - dt.timedelta(days=3)
    Event.objects.bulk_create([bought(loner, 0, at), Event(
        message_id="odd", visitor=loner, type="purchase", item_id="odd", occurred_at=at, source="order")])  # fmt: skip
    segmentation.refresh(at=NOW)
    assert any("odd" in segment.item_counts for segment in Segment.objects.all())
    erasure.erase(visitor_key=loner.key)
    segmentation.refresh(at=NOW)
    assert not any("odd" in segment.item_counts for segment in Segment.objects.all())
    assert len(numbers()) == len(visitors)


def test_erasure_of_everybody_retires_the_segments_and_their_numbers() -> None:
    for visitor in grouped():
        erasure.erase(visitor_key=visitor.key)
    assert segmentation.refresh(at=NOW) == 0
    assert not Segment.objects.filter(retired_at=None).exists()
    grouped()
    assert min(Segment.objects.filter(retired_at=None).values_list("number", flat=True)) == 4


def test_export_names_the_segment() -> None:
    visitor = grouped()[0]
    exported = privacy.export(visitor_key=visitor.key)["visitors"][0]["segment"]
    assert exported == Segment.objects.get(number=numbers()[visitor.pk]).name


def test_stored_segments_are_the_ones_that_were_built() -> None:
    grouped()
    segments = segmentation.stored_segments(datasets.read_items())
    assert segments is not None
    assert segments.centroids.shape == (3, len(segments.axes))
    assert sum(sum(segment.item_counts.values()) for segment in Segment.objects.all()) == pytest.approx(180 * 9)
    assert segments.mean == pytest.approx(segments.centroids.mean(axis=0), abs=0.01)


def test_task_groups_once_and_hands_out_every_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segmentation, "CHUNK_SIZE", 50)
    visitors = shoppers(60)
    sent: list[tuple[Any, ...]] = []
    monkeypatch.setattr(tasks, "publish", lambda task, *args: sent.append((task.name, *args)))
    tasks.refresh_segments()
    assert [name for name, *_ in sent] == ["recommender.assign_segments"] * 4
    for _, first, last in sent:
        tasks.assign_segments(first, last)
        tasks.assign_segments(first, last)
    assert all(number for number in numbers().values())
    sent.clear()
    Event.objects.update(received_at=timezone.now() - dt.timedelta(days=1))
    tasks.refresh_segments()
    assert sent == []
    assert len(visitors) == len(numbers())


def test_number_of_queries_of_a_chunk_does_not_grow_with_its_visitors(django_assert_max_num_queries: Any) -> None:
    visitors = grouped()
    with django_assert_max_num_queries(18):
        segmentation.assign_segments(visitors[0].pk, visitors[-1].pk, at=NOW)


def test_few_visitors_are_no_segment() -> None:
    shoppers(2)
    assert segmentation.refresh(at=NOW) == 0
    assert set(numbers().values()) == {None}


def test_segment_without_taste_is_named_by_a_habit_or_as_mixed() -> None:
    often = Trait(("orders", "often"), 0.9, 0.2)
    assert segment_in_words([often], {}) == "Order often"
    assert segment_in_words([Trait(("orders", "often"), 0.22, 0.2)], {}) == "A bit of everything"
