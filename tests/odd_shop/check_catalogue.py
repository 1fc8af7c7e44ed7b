"""Driven in a process of its own: items of models as Django allows them."""

import datetime as dt

import pytest
from django.core.cache import cache
from django.core.management import call_command
from django.utils import timezone, translation
from wares.models import Book, CheapTicket, Detail, Good, Kind, Line, Order, Section, Stock, Ticket

from recommender import tracking
from recommender.catalog import (
    Catalog,
    catalog_for_label,
    catalog_of,
    item_id_of,
    live_items,
    register,
    sync,
    unregister,
)
from recommender.models import Event, Item

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def forget_translations():
    cache.clear()  # parler keeps texts there, and a test that is rolled back leaves them


def active(label=""):
    items = Item.objects.filter(is_active=True)
    return sorted((items.filter(label=label) if label else items).values_list("item_id", flat=True))


def shown(*item_ids):
    refs = {item.item_id: (item.label, item.object_id) for item in Item.objects.filter(item_id__in=item_ids)}
    return live_items(refs)


def section(german, english):
    new_section = Section.objects.create()
    for language, name in (("de", german), ("en", english)):
        new_section.set_current_language(language)
        new_section.name = name
        new_section.save()
    return new_section


def test_declarations_have_no_fault():
    for label in ("Good", "Book", "Ticket", "CheapTicket", "Stock"):
        assert catalog_for_label(f"wares.{label}").faults() == []


def test_parts_of_a_text_are_joined_and_a_missing_one_is_left_out():
    good = Good.objects.create(title="Mug", section=section("Becher", "Mugs"))
    Detail.objects.create(good=good, blurb="Holds <b>tea</b>")
    plain = Good.objects.create(title="Bowl")
    sync.sync()
    assert Item.objects.get(item_id=f"good:{good.pk}").text.startswith("Mug . Becher . Holds tea")
    assert Item.objects.get(item_id=f"good:{plain.pk}").text == "Bowl"


def test_method_that_returns_a_list_is_joined_and_a_misspelt_part_is_a_fault():
    class Listed(Catalog):
        text = ("title", "descripton")

    faults = Listed("wares.Good").faults()
    assert [name for name, _ in faults] == ["text"]
    assert "description" in faults[0][1]

    class Returned(Catalog):
        def text(self, good):
            return [good.title, None, good.kinds]

    good = Good.objects.create(title="Mug")
    good.kinds.add(Kind.objects.create(name="Blue"), Kind.objects.create(name="Round"))
    assert Returned("wares.Good").facts(good).text == "Mug . Blue . Round"


def test_translated_category_is_read_in_every_language_and_speaks_as_before():
    mugs = section("Becher", "Mugs")
    Good.objects.create(title="Blue", section=mugs)
    with translation.override("en"):
        sync.sync()
    item = Item.objects.get()
    assert item.category == "Becher"
    assert "Becher" in item.text
    assert "Mugs" in item.text
    good = Good.objects.select_related("section").get()
    before = good.section.get_current_language()
    with translation.override("en"):
        catalog_of(good).facts(good)
    assert good.section.get_current_language() == before


def test_renamed_translation_of_a_category_changes_the_items(django_capture_on_commit_callbacks):
    mugs = section("Becher", "Mugs")
    Good.objects.create(title="Blue", section=mugs)
    sync.sync()
    with django_capture_on_commit_callbacks(execute=True):
        mugs.set_current_language("en")
        mugs.name = "Beakers"
        mugs.save()
    assert "Beakers" in Item.objects.get().text


def test_categories_and_details_cost_no_query_per_row(django_assert_max_num_queries):
    for number in range(15):
        good = Good.objects.create(title=f"Mug {number}", section=section(f"Becher {number}", f"Mugs {number}"))
        Detail.objects.create(good=good, blurb="Holds tea")
    cache.clear()
    with django_assert_max_num_queries(30):
        sync.sync()
    item_ids = active()
    with django_assert_max_num_queries(2):
        assert len(shown(*item_ids)) == 15


def test_saved_detail_changes_its_item(django_capture_on_commit_callbacks):
    good = Good.objects.create(title="Mug")
    sync.sync()
    with django_capture_on_commit_callbacks(execute=True):
        Detail.objects.create(good=good, blurb="Holds tea")
    assert "Holds tea" in Item.objects.get().text


def test_key_of_two_columns_is_an_item(django_capture_on_commit_callbacks):
    Stock.objects.create(house=1, code="a,b", title="Lamp")
    other = Stock.objects.create(house=2, code="a", title="Rug")
    assert sync.sync().n_failed == 0
    assert active("wares.Stock") == ["stock:1,a%2Cb", "stock:2,a"]
    assert shown("stock:1,a%2Cb", "stock:2,a")["stock:1,a%2Cb"].title == "Lamp"
    sync.sync()
    assert len(active("wares.Stock")) == 2
    with django_capture_on_commit_callbacks(execute=True):
        other.title = "Carpet"
        other.save()
    assert shown("stock:2,a")["stock:2,a"].title == Item.objects.get(item_id="stock:2,a").title == "Carpet"
    with django_capture_on_commit_callbacks(execute=True):
        other.delete()
    assert active("wares.Stock") == ["stock:1,a%2Cb"]


def test_child_is_one_item_and_not_a_second_one_of_its_parent(django_capture_on_commit_callbacks):
    good, book = Good.objects.create(title="Mug"), Book.objects.create(title="Tea", author="Ada")
    sync.sync()
    assert active() == [f"book:{book.pk}", f"good:{good.pk}"]
    parent = Good.objects.get(pk=book.pk)
    assert item_id_of(parent) == item_id_of(book) == f"book:{book.pk}"
    with django_capture_on_commit_callbacks(execute=True):
        book.save()
        parent.title = "Coffee"
        parent.save()
    assert active() == [f"book:{book.pk}", f"good:{good.pk}"]
    assert Item.objects.get(item_id=f"book:{book.pk}").title == "Coffee"
    sync.sync()
    assert active() == [f"book:{book.pk}", f"good:{good.pk}"]


def test_order_of_a_child_by_its_parent_is_of_the_child_item(django_assert_max_num_queries):
    book = Book.objects.create(title="Tea", author="Ada")
    order = Order.objects.create(number="1", status="paid")
    for _ in range(10):
        Line.objects.create(order=order, good=Good.objects.get(pk=book.pk))
    with django_assert_max_num_queries(13):
        tracking.reconcile()
    assert set(Event.objects.values_list("item_id", flat=True)) == {f"book:{book.pk}"}


def test_child_of_a_catalog_alone_is_an_item_of_its_parent():
    books = catalog_for_label("wares.Book")
    unregister("wares.Book")
    try:
        book = Book.objects.create(title="Tea", author="Ada")
        sync.sync()
        assert active() == [item_id_of(book)] == [f"good:{book.pk}"]
    finally:
        register("wares.Book")(type(books))


def test_proxy_and_its_model_are_one_item_each(django_capture_on_commit_callbacks):
    dear, cheap = Ticket.objects.create(name="Box"), Ticket.objects.create(name="Stalls", is_cheap=True)
    sync.sync()
    assert active() == [f"cheapticket:{cheap.pk}", f"ticket:{dear.pk}"]
    assert item_id_of(cheap) == item_id_of(CheapTicket.objects.get()) == f"cheapticket:{cheap.pk}"
    with django_capture_on_commit_callbacks(execute=True):
        cheap.name = "Gallery"
        cheap.save()
        dear.save()
    assert active() == [f"cheapticket:{cheap.pk}", f"ticket:{dear.pk}"]
    assert Item.objects.get(item_id=f"cheapticket:{cheap.pk}").title == "Gallery"


def test_object_of_a_model_of_which_only_a_proxy_is_registered_is_followed(django_capture_on_commit_callbacks):
    tickets = catalog_for_label("wares.Ticket")
    unregister("wares.Ticket")
    try:
        with django_capture_on_commit_callbacks(execute=True):
            cheap = Ticket.objects.create(name="Stalls", is_cheap=True)
        assert active() == [item_id_of(cheap)] == [f"cheapticket:{cheap.pk}"]
    finally:
        register("wares.Ticket")(type(tickets))


@pytest.mark.parametrize(
    ("values", "is_shown"),
    [
        ({}, True), ({"live": False}, False), ({"status": "d"}, False), ({"status": "a"}, False),
        ({"status": "p"}, True),
    ],
)  # fmt: skip
def test_draft_and_what_is_not_live_are_hidden(values, is_shown):
    good = Good.objects.create(title="Mug", **values)
    sync.sync()
    assert Item.objects.get().is_active is is_shown
    assert bool(live_items({"x": ("wares.Good", str(good.pk))})) is is_shown


@pytest.mark.parametrize(("state", "is_shown"), [("active", True), ("draft", False), ("Hidden", False), ("new", True)])
def test_state_without_choices_hides_by_its_word(state, is_shown):
    Stock.objects.create(house=1, code="a", title="Lamp", state=state)
    sync.sync()
    assert Item.objects.get().is_active is is_shown


def test_price_in_words_has_an_amount_and_a_currency():
    good = Good.objects.create(title="Mug", cost="19.99 USD")
    Good.objects.create(title="Bowl", cost="1.250,50 €")
    Good.objects.create(title="Cup", cost="on request")
    sync.sync()
    prices = {item.title: (item.price and str(item.price), item.currency) for item in Item.objects.all()}
    assert {title: (price and price.rstrip("0"), code) for title, (price, code) in prices.items()} == {
        "Mug": ("19.99", "USD"), "Bowl": ("1250.5", "EUR"), "Cup": (None, ""),
    }  # fmt: skip
    live = shown(f"good:{good.pk}")[f"good:{good.pk}"]
    assert (str(live.price), live.currency) == ("19.99", "USD")


def test_long_address_of_an_image_is_stored_and_a_script_is_none():
    long = "https://cdn.example/" + "x" * 900
    Good.objects.create(title="Mug", picture=long)
    Good.objects.create(title="Bowl", picture=" java\nscript:alert(1)")
    sync.sync()
    assert dict(Item.objects.values_list("title", "image")) == {"Mug": long, "Bowl": ""}


def test_leading_category_of_several_is_the_deepest_then_the_first():
    root = Kind.objects.create(name="Kitchen")
    leaf = Kind.objects.create(name="Mugs", parent=root)
    first = Kind.objects.create(name="Gifts")
    good = Good.objects.create(title="Mug")

    class Kinds(Catalog):
        category = "kinds"

    good.kinds.set([first, root])
    assert Kinds("wares.Good").facts(good).category == "Kitchen"
    good.kinds.add(leaf)
    assert Kinds("wares.Good").facts(good).category == "Mugs"


def test_changed_finds_what_an_update_wrote_and_says_so(capsys):
    good = Good.objects.create(title="Mug", section=section("Becher", "Mugs"))
    Good.objects.create(title="Bowl")
    sync.sync()
    yesterday = timezone.now() - dt.timedelta(days=1)
    Good.objects.filter(pk=good.pk).update(title="Beaker", changed=yesterday)
    report = sync.sync_changed()
    assert (report.n_changed, report.n_undated) == (1, 1)
    assert Item.objects.get(item_id=f"good:{good.pk}").title == "Beaker"
    assert sync.sync_changed().n_undated == 0
    Good.objects.filter(pk=good.pk).update(live=False, changed=yesterday)
    call_command("recommender_sync", "--changed", "--no-vectors")
    assert not Item.objects.get(item_id=f"good:{good.pk}").is_active
    assert "1 Objekt wurde ohne neues Goods.updated oder Books.updated geändert" in capsys.readouterr().out
