"""The queue of answers to grade: contested ones of common queries first, one key each, and undo."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import Client

from recommender import serving
from recommender.models import Item, Judgement, QueryStatistics
from recommender.serving.labelling import contested
from tests.admin.test_experiments import clerk
from tests.serving.conftest import untrained  # noqa: F401
from tests.serving.small_shop import SmallShop

pytestmark = pytest.mark.django_db

QUEUE, JUDGEMENTS = "/admin/recommender/judgement/queue/", "/admin/recommender/judgement/"


@pytest.fixture
def shop(untrained: Any, monkeypatch: pytest.MonkeyPatch) -> Any:  # noqa: F811
    """Served with vectors; matching words know nothing of meaning."""
    small = SmallShop(
        ("red umbrella", "rain", "", 9.0), ("parasol for the garden", "garden", "", 30.0),
        ("blue mug", "kitchen", "", 4.0),
        ("umbrella stand", "hall", "", 25.0), ("rain coat", "rain", "", 50.0),
    )  # fmt: skip
    served = small.served(untrained)
    monkeypatch.setattr(serving, "current", lambda: served)
    monkeypatch.setattr("recommender.serving.live_entries.live_items", lambda refs: dict.fromkeys(refs, live()))
    return served


def live() -> Any:
    from recommender.types import Live

    return Live("A title", image="/i.png")


def searched(query: str, n: int = 10, *, clicked: bool = False) -> None:
    QueryStatistics.objects.create(query=query, n_visitors=n, n_searches=n, items=[["i0", 3]] if clicked else [])


def shown(client: Client) -> tuple[str, str]:
    """The query and the item that are to be graded."""
    text = client.get(QUEUE).content.decode()
    pairs = re.findall(r'name="(?:query|item_id)" value="([^"]*)"', text)
    return (pairs[0], pairs[1]) if pairs else ("", "")


def press(client: Client, answer: str) -> Any:
    query, item_id = shown(client)
    return client.post(QUEUE, {"query": query, "item_id": item_id, "grade": answer}, follow=True)


def test_answer_that_one_order_shows_alone_is_contested_most(shop: Any) -> None:
    answers = contested("umbrella", shop)
    assert answers[0].disagreement >= answers[-1].disagreement
    for answer in answers:
        if answer.by_ranker == answer.by_words:
            assert answer.disagreement == 0
        if answer.by_words is None and answer.by_ranker == 1:
            assert answer.disagreement == 1.0


def test_queries_without_clicks_come_first_and_then_the_common_ones(admin_client: Client, shop: Any) -> None:
    searched("rain", 500, clicked=True)
    searched("umbrella", 20)
    assert shown(admin_client)[0] == "umbrella"


def test_one_key_grades_and_the_next_pair_comes(admin_client: Client, shop: Any) -> None:
    searched("Umbrella")
    before = shown(admin_client)
    press(admin_client, "2")
    row = Judgement.objects.get()
    assert (row.query, row.item_id) == ("umbrella", before[1])
    assert row.grade == pytest.approx(2 / 3)
    assert row.source.startswith("user ")
    assert shown(admin_client) != before


def test_last_grade_is_taken_back_and_its_pair_comes_again(admin_client: Client, shop: Any) -> None:
    searched("umbrella")
    before = shown(admin_client)
    press(admin_client, "0")
    assert "<kbd>u</kbd>" in admin_client.get(QUEUE).content.decode()
    press(admin_client, "undo")
    assert not Judgement.objects.exists()
    assert shown(admin_client) == before
    assert "There is no grade to take back" in press(admin_client, "undo").content.decode()


def test_skipped_pair_comes_no_more_in_this_session(admin_client: Client, shop: Any) -> None:
    searched("umbrella")
    before = shown(admin_client)
    press(admin_client, "skip")
    assert shown(admin_client) != before
    assert not Judgement.objects.exists()


def test_queue_ends_with_a_sentence(admin_client: Client, shop: Any) -> None:
    assert "Nothing is left to grade." in admin_client.get(QUEUE).content.decode()


def test_wrong_key_grades_nothing_and_says_so(admin_client: Client, shop: Any) -> None:
    searched("umbrella")
    assert "Nothing was graded" in press(admin_client, "9").content.decode()
    assert not Judgement.objects.exists()


def test_another_persons_grade_cannot_be_taken_back(admin_client: Client, shop: Any) -> None:
    searched("umbrella")
    press(admin_client, "3")
    other = clerk("add_judgement")
    other.post(QUEUE, {"grade": "undo"})
    assert Judgement.objects.count() == 1


def test_queue_needs_its_permission(shop: Any) -> None:
    assert clerk("view_judgement").get(QUEUE).status_code == 403


def make_item() -> None:
    Item.objects.create(item_id="i0", label="", object_id="0", title="t", text="t", text_hash="")


def test_case_and_spaces_of_a_query_make_no_second_row(admin_client: Client) -> None:
    make_item()
    for query, grade in (("Red  Mug", "0.2"), ("red mug", "1")):
        admin_client.post(JUDGEMENTS + "add/", {"query": query, "item_id": "i0", "grade": grade})
    row = Judgement.objects.get()
    assert (row.query, row.grade) == ("red mug", 1.0)


def test_query_of_ten_thousand_characters_is_refused(admin_client: Client) -> None:
    make_item()
    response = admin_client.post(JUDGEMENTS + "add/", {"query": "x" * 10_000, "item_id": "i0", "grade": "1"})
    assert "at most 255 characters" in response.content.decode()
    admin_client.post(QUEUE, {"query": "x" * 10_000, "item_id": "i0", "grade": "1"})
    assert len(Judgement.objects.get().query) == 255
