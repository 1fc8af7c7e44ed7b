"""Driven in a process of its own: what shops with real translations and a real tree get."""

import pytest
from django.core.cache import cache
from django.test import Client
from django.utils import translation
from toys.models import Shelf, Tool, Toy

from recommender import pipeline
from recommender.catalog import catalog_for_label, live_items, sync
from recommender.models import Item
from recommender.tracking import pages

pytestmark = pytest.mark.django_db


@pytest.fixture
def shop():
    cache.clear()  # parler keeps texts there, and a test that is rolled back leaves them
    play = Shelf.objects.create(name="Spiel")
    cars = Shelf.objects.create(name="Autos", parent=play)
    car = Toy.objects.create(price=12)
    for language, title in (("de", "Feuerwehrauto"), ("en", "Fire engine")):
        car.set_current_language(language)
        car.title = title
        car.save()
    car.shelves.set([play, cars])
    hammer = Tool.objects.create(title_de="Hammer mit Holzstiel", title_en="Wooden mallet", price=9, shelf=play)
    sync.sync()
    return {"car": car, "hammer": hammer, "play": play}


def stored(label):
    return Item.objects.get(label=label)


def test_every_language_is_read_and_the_first_is_stored(shop):
    car, hammer = stored("toys.Toy"), stored("toys.Tool")
    assert (car.title, hammer.title) == ("Feuerwehrauto", "Hammer mit Holzstiel")
    assert "Fire engine" in car.text
    assert "Wooden mallet" in hammer.text
    assert car.url == f"/de/toy/{shop['car'].pk}/"


def test_deepest_branch_of_the_tree_is_the_category(shop):
    assert (stored("toys.Toy").category, stored("toys.Tool").category) == ("Autos", "Spiel")


@pytest.mark.parametrize(
    ("query", "label"),
    [("feuerwehrauto", "toys.Toy"), ("fire engine", "toys.Toy"), ("hammer", "toys.Tool"), ("mallet", "toys.Tool")],
)
def test_a_search_finds_an_item_in_either_language(shop, query, label):
    assert pipeline.search(query).entries[0].item_id == stored(label).item_id


def test_a_list_speaks_the_language_of_the_page(shop):
    items = [stored("toys.Toy"), stored("toys.Tool")]
    refs = {item.item_id: (item.label, item.object_id) for item in items}
    for language, titles, urls in (
        ("de", {"Feuerwehrauto", "Hammer mit Holzstiel"}, "/de/"),
        ("en", {"Fire engine", "Wooden mallet"}, "/en/"),
    ):
        with translation.override(language):
            live = live_items(refs)
        assert {one.title for one in live.values()} == titles
        assert all(one.url.startswith(urls) for one in live.values())
        answer = Client(headers={"accept-language": language}).get("/r/api/v1/search", {"q": "hammer"})
        assert answer.json()["items"][0]["title"] in titles


def test_a_translation_that_changes_changes_the_item(shop, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True):
        car = Toy.objects.get()
        car.set_current_language("en")
        car.title = "Rescue lorry"
        car.save()
        Tool.objects.update(title_en="unseen")  # tells nobody: the next sync finds it
        hammer = Tool.objects.get()
        hammer.title_en = "Rubber mallet"
        hammer.save()
    assert "Rescue lorry" in stored("toys.Toy").text
    assert "Rubber mallet" in stored("toys.Tool").text


def test_a_missing_translation_falls_back_and_harms_nothing(shop):
    kite = Toy.objects.create(price=3)
    kite.set_current_language("de")
    kite.title = "Drachen"
    kite.save()
    only_english = Toy.objects.create(price=3)
    only_english.set_current_language("en")
    only_english.title = "Yo-yo"
    only_english.save()
    Tool.objects.create(title_de="Zange", price=4)
    report = sync.sync()
    titles = set(Item.objects.filter(is_active=True).values_list("title", flat=True))
    assert titles == {"Feuerwehrauto", "Drachen", "Yo-yo", "Hammer mit Holzstiel", "Zange"}
    assert report.n_failed == 0
    (item,) = Item.objects.filter(title="Yo-yo")
    with translation.override("de"):
        assert live_items({item.item_id: (item.label, item.object_id)})[item.item_id].title == "Yo-yo"


def test_texts_of_many_items_are_read_at_once(shop, django_assert_max_num_queries):
    for number in range(20):
        Toy.objects.create(price=number + 1, title=f"Ball {number}")
    sync.sync()
    cache.clear()  # parler keeps texts there for a while; a shop may have none
    refs = {item.item_id: (item.label, item.object_id) for item in Item.objects.filter(label="toys.Toy")}
    with django_assert_max_num_queries(2):
        assert len(live_items(refs)) == 21


def test_object_is_found_by_a_key_that_is_translated(shop):
    catalog = catalog_for_label("toys.Toy")
    item_id = f"toy:{shop['car'].pk}"
    assert pages.item_id_named(catalog, "title", "Fire engine") == item_id
    assert pages.item_id_named(catalog, "title", "Feuerwehrauto") == item_id
    assert pages.item_id_named(catalog, "title", "Wooden mallet") == ""
