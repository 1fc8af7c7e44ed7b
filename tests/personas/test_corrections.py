"""Staff pin and mute the interests of a person: it is shown, undone, exported, erased, and holds from the next list."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from recommender import pipeline, serving
from recommender.admin.people import seen_as
from recommender.capture import erasure, privacy
from recommender.catalog import sync
from recommender.exceptions import RecommenderError
from recommender.identity import shopper_of
from recommender.models import Event, Item, ItemStatistics, Persona, Visitor
from recommender.models.corrections import MUTED, PINNED, UNCORRECTED, Correction, Corrections, corrections_of, merged
from recommender.personas import ActionCounts, Interest, segmentation
from recommender.personas.corrections import MOST_CORRECTIONS, correct, corrected, take_back
from shopreco.shop.models import Product
from tests.admin.test_experiments import clerk
from tests.conftest import assert_queries

pytestmark = pytest.mark.django_db

NOW = dt.datetime(2026, 6, 30, 12, 0, tzinfo=dt.UTC)


def correction(interest: str, what: str = PINNED, minutes: float = 0, by: str = "") -> Correction:
    return Correction(interest, what, NOW + dt.timedelta(minutes=minutes), by)


def interest(name: str, share: float) -> Interest:
    return Interest(name, ActionCounts(n_viewed=1), share, NOW)


@pytest.fixture
def person() -> Visitor:
    """Somebody who looked at tea, with another browser, in a shop of tea and soap."""
    wares = {"tea": "Tea", "chai": "Tea", "soap": "Soap", "gel": "Soap"}
    for name in wares:
        Product.objects.create(stock_code=name, title=name.title(), price=1)
    sync.sync()
    for number, (name, category) in enumerate(wares.items()):
        Item.objects.filter(item_id=name).update(category=category)
        ItemStatistics.objects.create(item=Item.objects.get(item_id=name), n_30=10 - number, n_total=10)
    visitor = Visitor.objects.create(user_key="7")
    Visitor.objects.create(user_key="7")
    for number in range(3):
        Event.objects.create(
            message_id=f"v{number}", visitor=visitor, type="view_item", item_id="tea", occurred_at=timezone.now(),
        )  # fmt: skip
    serving.reload()
    return visitor


def page(client: Client, visitor: Visitor) -> str:
    return client.get(f"/admin/recommender/persona/{visitor.pk}/change/").content.decode()


def step(client: Client, visitor: Visitor, interest_name: str, what: str) -> Any:
    query = {"interest": interest_name, "what": what}
    address = f"/admin/recommender/persona/{visitor.pk}/correct/"
    assert client.get(address, query).status_code == 200
    return client.post(f"{address}?interest={interest_name}&what={what}", follow=True)


def home(visitor: Visitor) -> list[str]:
    visitor.refresh_from_db()
    return [entry.item_id for entry in pipeline.recommend("home", shopper=seen_as(visitor), limit=4)]


def test_pinned_interest_leads_and_weighs_as_much_as_the_strongest() -> None:
    interests = (interest("Tea", 0.6), interest("Soap", 0.1), interest("Bags", 0.3))
    rows = corrected(interests, Corrections(("Soap", "Boats"), ("Bags",)), at=NOW, most=6)
    assert [(row.name, row.share) for row in rows] == [("Soap", 0.6), ("Boats", 0.6), ("Tea", 0.6)]
    assert corrected(interests, UNCORRECTED, at=NOW, most=6) is interests


def test_later_correction_of_an_interest_replaces_the_earlier(person: Visitor) -> None:
    pks = list(Visitor.objects.values_list("pk", flat=True))
    correct(pks, correction("Tea", PINNED))
    correct(pks, correction("Tea", MUTED, 1))
    correct(pks, correction("Soap", PINNED, 2))
    columns = Visitor.objects.values_list("corrections", flat=True)
    assert corrections_of(columns) == Corrections(("Soap",), ("Tea",))
    take_back(pks, "Tea")
    take_back(pks, "Soap")
    assert set(Visitor.objects.values_list("corrections", flat=True)) == {None}
    with pytest.raises(RecommenderError, match="neither pinned nor muted"):
        take_back(pks, "Tea")


def test_browsers_that_were_corrected_apart_are_merged_by_time() -> None:
    one, two = [correction("Tea", PINNED, 1).stored()], [correction("Tea", MUTED, 2).stored()]
    assert [entry.what for entry in merged([one, two])] == [entry.what for entry in merged([two, one])] == [MUTED]


def test_too_many_and_nameless_corrections_are_refused(person: Visitor) -> None:
    with pytest.raises(RecommenderError, match="Name an interest"):
        correct([person.pk], correction(" "))
    for number in range(MOST_CORRECTIONS):
        correct([person.pk], correction(f"{number}"))
    with pytest.raises(RecommenderError, match="Take one back"):
        correct([person.pk], correction("one more"))


def test_muting_shows_in_the_very_next_list_and_is_undone(person: Visitor, admin_client: Client) -> None:
    before = home(person)
    assert "chai" in before
    assert step(admin_client, person, "Tea", "muted").status_code == 200
    assert set(home(person)) == {"soap", "gel"}
    text = page(admin_client, person)
    assert "by admin" in text
    assert "muted" in text
    step(admin_client, person, "Tea", "undone")
    assert home(person) == before
    assert "by admin" not in page(admin_client, person)


def test_pinning_shows_in_the_very_next_list_of_the_shopper_too(person: Visitor, admin_client: Client, rf: Any) -> None:
    step(admin_client, person, "Soap", "pinned")
    assert home(person)[0] in {"soap", "gel"}
    request = rf.get("/")
    request.user = User(pk=7)
    request.COOKIES = {}
    shopper = shopper_of(request)
    with assert_queries(2):
        assert shopper.history()
    assert shopper.corrections == Corrections(("Soap",), ())


def test_corrections_hold_for_all_browsers_and_survive_a_recomputation(person: Visitor, admin_client: Client) -> None:
    step(admin_client, person, "Soap", "pinned")
    segmentation.refresh()
    assert {bool(column) for column in Visitor.objects.values_list("corrections", flat=True)} == {True}


def test_export_has_the_corrections_without_who_made_them(person: Visitor, admin_client: Client) -> None:
    step(admin_client, person, "Tea", "muted")
    stored = privacy.export(user_key="7")["visitors"][0]["corrections"]
    assert [(entry["interest"], entry["what"], set(entry)) for entry in stored] == [
        ("Tea", "muted", {"interest", "what", "at"})
    ]


def test_erasure_takes_the_corrections_and_every_trace_of_them(person: Visitor, admin_client: Client) -> None:
    step(admin_client, person, "Tea", "muted")
    entry = LogEntry.objects.get()
    assert "Tea" not in entry.change_message
    assert entry.object_repr == "user 7"
    erasure.erase(user_key="7")
    assert not Persona.objects.filter(user_key="7").exists()
    entry.refresh_from_db()
    assert entry.object_repr.startswith("person ")


def test_step_needs_its_permission(person: Visitor) -> None:
    viewer = clerk("view_persona")
    assert viewer.post(f"/admin/recommender/persona/{person.pk}/correct/?interest=Tea&what=muted").status_code == 403
    assert "/correct/" not in page(viewer, person)
    assert not Visitor.objects.exclude(corrections=None).exists()
