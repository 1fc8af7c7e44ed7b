"""Driven in a process of its own: what a shop that nobody here designed gets from twenty lines."""

import datetime as dt
import json
import logging
from decimal import Decimal
from io import StringIO

import pytest
from django.contrib.sites.models import Site
from django.core.management import call_command
from django.db import DatabaseError, IntegrityError, OperationalError, connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone, translation
from goods.models import Article, Book, Customer, Purchase, PurchaseLine, Section, Voucher

from recommender import capture, identity, tracking
from recommender.catalog import catalog_of, item_id_of, live_items, sync
from recommender.models import Event, Impression, Item, Visitor

pytestmark = pytest.mark.django_db
CHROME = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36"


@pytest.fixture
def shop():
    """Two levels of sections, articles with a variant, two editions of one work, a voucher named as a book."""
    kitchen = Section.objects.create(name="Küche", level=0)
    mugs = Section.objects.create(name="Becher", parent=kitchen, level=1)
    objects = {}
    for n, (slug, german, english) in enumerate(
        [("becher", "Blauer Becher", "Blue mug"), ("kanne", "Teekanne", "Teapot"), ("loeffel", "Löffel", "Spoon")]
    ):
        objects[slug] = Article.objects.create(slug=slug, name_de=german, name_en=english, net=Decimal(10 + n))
        objects[slug].sections.add(kitchen, mugs)
        objects[slug].sites.add(Site.objects.get())
    objects["becher-xl"] = Article.objects.create(
        slug="becher-xl", name_de="Blauer Becher XL", name_en="Blue mug XL", net=14, parent=objects["becher"]
    )
    objects["first"] = Book.objects.create(slug="tea", title="A Book of Tea", work="W1", price=9.5)
    objects["second"] = Book.objects.create(slug="tea-2", title="A Book of Tea, second edition", work="W1", price=12)
    objects["loose"] = Book.objects.create(slug="gift", title="Gifts", price=5)
    objects["voucher"] = Voucher.objects.create(slug="gift", name="A gift")
    sync.sync()
    return objects


def browser(consent="granted", **headers):
    client = Client(headers={"user-agent": CHROME, **headers})
    if consent:
        client.cookies["recommender_consent"] = consent
    return client


def active(label):
    return dict(Item.objects.filter(label=label, is_active=True).values_list("item_id", "title"))


def events():
    return sorted(Event.objects.values_list("type", "item_id", "query", "quantity"))


def test_every_item_is_there_once_under_its_own_id(shop):
    item_ids = {f"article:{shop[slug].pk}" for slug in ("becher", "kanne", "loeffel")}
    assert set(active("goods.Article")) == item_ids
    assert active("goods.Book") == {"book:W1": "A Book of Tea", "book:gift": "Gifts"}
    assert active("goods.Voucher") == {"voucher:gift": "A gift"}


def test_category_is_the_deepest_and_the_text_has_every_language(shop):
    item = Item.objects.get(item_id=f"article:{shop['becher'].pk}")
    assert (item.category, item.title) == ("Becher", "Blauer Becher")
    assert "Blauer Becher" in item.text
    assert "Blue mug" in item.text
    with translation.override("en"):
        sync.sync()
    assert Item.objects.get(pk=item.pk).title == "Blauer Becher"


def test_variant_is_its_parent_and_an_edition_its_work(shop):
    assert item_id_of(shop["becher-xl"]) == item_id_of(shop["becher"]) == f"article:{shop['becher'].pk}"
    assert item_id_of(shop["second"]) == item_id_of(shop["first"]) == "book:W1"


def test_next_edition_stands_for_the_work_when_the_first_is_gone(shop, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True):
        shop["first"].is_deleted = True
        shop["first"].save()
    assert active("goods.Book")["book:W1"] == "A Book of Tea, second edition"
    with django_capture_on_commit_callbacks(execute=True):
        shop["second"].delete()
    assert "book:W1" not in active("goods.Book")


def test_deleted_edition_leaves_the_work_to_the_next(shop, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True):
        shop["first"].delete()
    assert active("goods.Book")["book:W1"] == "A Book of Tea, second edition"


def test_variant_that_changes_is_no_item_of_its_own(shop, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True):
        shop["becher"].name_de = "Grüner Becher"
        shop["becher"].save()
        shop["becher-xl"].save()
    assert active("goods.Article")[f"article:{shop['becher'].pk}"] == "Grüner Becher"
    assert len(active("goods.Article")) == 3


def test_soft_deleted_and_unpublished_rows_are_hidden(shop, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True):
        shop["kanne"].deleted_at = timezone.now()
        shop["kanne"].save()
        shop["loeffel"].is_published = False
        shop["loeffel"].save()
    assert set(active("goods.Article")) == {f"article:{shop['becher'].pk}"}


def test_renamed_section_and_a_section_taken_away_change_the_items(shop, django_capture_on_commit_callbacks):
    item = Item.objects.filter(item_id=f"article:{shop['becher'].pk}")
    mugs = Section.objects.get(level=1)
    with django_capture_on_commit_callbacks(execute=True):
        mugs.name = "Tassen"
        mugs.save()
    assert item.get().category == "Tassen"
    with django_capture_on_commit_callbacks(execute=True):
        shop["becher"].sections.remove(mugs)
    assert item.get().category == "Küche"
    with django_capture_on_commit_callbacks(execute=True):
        mugs.article_set.add(shop["becher"])
    assert item.get().category == "Tassen"


def test_sync_costs_a_fixed_number_of_queries(shop, django_assert_max_num_queries):
    with django_assert_max_num_queries(20):
        sync.sync()


def test_cards_of_a_list_cost_one_query(shop, django_assert_num_queries):
    refs = {f"article:{shop[slug].pk}": ("goods.Article", str(shop[slug].pk)) for slug in ("becher", "kanne")}
    with django_assert_num_queries(1):
        assert len(live_items(refs)) == 2


def test_other_sites_do_not_show_the_article(shop, settings):
    item_id = f"article:{shop['becher'].pk}"
    refs = {item_id: ("goods.Article", str(shop["becher"].pk))}
    assert set(live_items(refs)) == {item_id}
    settings.SITE_ID = 2
    assert not live_items(refs)


def test_glue_is_sound():
    assert not [fault for obj in (Article(), Book(), Voucher()) for fault in catalog_of(obj).faults()]
    output = StringIO()
    call_command("check", "--tag", "recommender", fail_level="ERROR", stderr=output)
    assert "W006" in output.getvalue()
    assert output.getvalue().count("recommender.") == 1


@pytest.mark.django_db(transaction=True)
def test_shopper_goes_from_home_to_a_paid_order_and_all_is_recorded_once(shop):
    client = browser()
    assert client.get("/de/").status_code == 200
    assert client.get("/de/find/", {"words": "Becher"}).status_code == 200
    page = client.get("/en/a/becher/")
    assert b"11.90" in page.content, "the price that only the request knows"
    assert client.get("/de/b/tea-2/").status_code == 200
    assert client.get("/de/cart/add/", {"article": "becher-xl"}).status_code == 302
    line = {"line": {"book": "tea-2", "n": 3}}
    assert client.post("/api/cart", line, content_type="application/json").status_code == 201
    visitor = identity.visitor_key_from_cookie(client.cookies["recommender_visitor"].value)
    order = client.post("/de/order/", {"mail": "guest@example.com"})["Location"].rpartition("/")[2]
    mug = f"article:{shop['becher'].pk}"
    seen = [
        ("add_to_cart", "book:W1", "", 3.0), ("add_to_cart", mug, "", 1.0), ("search", "", "Becher", 1.0),
        ("view_item", mug, "", 1.0), ("view_item", "book:W1", "", 1.0),
    ]  # fmt: skip
    assert events() == sorted(seen)
    hooked = Client().post("/pay/hook", {"order": order}, content_type="application/json")
    assert (hooked.content, hooked.cookies) == (b"ok", {})
    assert events() == sorted(seen), "an update sends no signal"
    bought = [("purchase", mug, "", 1.0), ("purchase", "book:W1", "", 3.0)]
    for _ in range(2):
        call_command("recommender_reconcile", stdout=StringIO())
        assert events() == sorted([*seen, *bought])
    assert set(Event.objects.values_list("visitor__key", flat=True)) == {visitor}
    assert set(Event.objects.filter(type="purchase").values_list("order_id", flat=True)) == {order}
    assert Impression.objects.filter(slot="home").exists()


@pytest.mark.django_db(transaction=True)
def test_saved_flag_is_followed_at_once_and_goods_that_come_back_are_a_refund(shop):
    customer = Customer.objects.create_user("ada@example.com")
    identity.grant_consent([str(customer.pk)])
    purchase = Purchase.objects.create(customer=customer)
    PurchaseLine.objects.create(purchase=purchase, article=shop["becher"], pieces=2, each=11)
    assert not Event.objects.exists(), "it is not paid"
    Client().post("/pay/hook", {"order": str(purchase.pk), "how": "save"}, content_type="application/json")
    event = Event.objects.get()
    assert (event.type, event.quantity, event.visitor.user_key) == ("purchase", 2.0, str(customer.pk))
    purchase.refresh_from_db()
    purchase.sent_back = timezone.now() - dt.timedelta(days=1)
    purchase.save()
    assert sorted(Event.objects.values_list("type", flat=True)) == ["purchase", "refund"]
    assert tracking.reconcile().n_recorded == 0


def test_customer_of_a_guest_order_is_found_by_the_address(shop, monkeypatch):
    class WithAddress(type(tracking.tracked_rows()[0])):
        email = "purchase.mail"

    monkeypatch.setattr(tracking, "_rows", {("goods.purchaseline", "order"): WithAddress("goods.PurchaseLine")})
    customer = Customer.objects.create_user("ada@example.com")
    identity.grant_consent([str(customer.pk)])
    for mail in ("ada@example.com", "nobody@example.com", ""):
        purchase = Purchase.objects.create(mail=mail, paid=True)
        PurchaseLine.objects.bulk_create([PurchaseLine(purchase=purchase, book=shop["first"], pieces=1, each=9)])
    assert tracking.reconcile().n_recorded == 3
    assert Event.objects.filter(visitor__user_key=str(customer.pk)).count() == 1
    assert Event.objects.filter(visitor=None).count() == 2


def test_order_without_user_and_visitor_counts_for_nobody(shop):
    purchase = Purchase.objects.create(paid=True, reader="forged")
    PurchaseLine.objects.bulk_create([PurchaseLine(purchase=purchase, article=shop["becher-xl"], pieces=1, each=9)])
    assert tracking.reconcile().n_recorded == 1
    assert Event.objects.get().visitor is None
    assert not Visitor.objects.exists()


def test_jinja_page_shows_a_list_under_a_strict_policy(shop):
    page = browser().get("/de/about/")
    html = page.content.decode()
    assert '<section class="recommender-list" data-slot="trending"' in html
    assert page["Content-Security-Policy"] == "default-src 'self'"
    assert "<style" not in html
    assert "style=" not in html
    assert "onclick" not in html


def test_cards_show_the_shops_own_price(shop):
    client = browser()
    client.cookies["country"] = "ch"
    assert "€10.81" in client.get("/de/").content.decode()


def test_unknown_key_in_an_address_is_no_event_and_no_error(shop, caplog):
    client = browser()
    client.get("/de/b/none/")
    client.post("/api/cart", "[", content_type="application/json")
    with pytest.raises(Article.DoesNotExist):
        client.get("/de/cart/add/", {"article": "none"})
    assert not Event.objects.exists()
    assert "recommender" not in {record.name.partition(".")[0] for record in caplog.records}


@pytest.mark.django_db(transaction=True)
def test_page_of_a_cdn_is_told_by_its_script_and_shows_nobodys_list(shop):
    cached = browser().get("/de/news/becher/")
    assert 'data-recommender-src="/r/blocks/home?limit=3&amp;language=de"' in cached.content.decode()
    assert "recommender_visitor" not in cached.cookies
    assert not Event.objects.exists()
    client = browser(**{"sec-fetch-site": "same-origin"})
    response = client.post("/r/beacon", json.dumps({"path": "/de/news/becher/?utm=x"}), content_type="text/plain")
    assert (response.status_code, Event.objects.get().item_id) == (204, f"article:{shop['becher'].pk}")
    cookie = response.cookies["recommender_visitor"].value
    assert Event.objects.get().visitor.key == identity.visitor_key_from_cookie(cookie)
    piece = client.get("/r/blocks/home?limit=3&language=de")
    assert piece["Cache-Control"] == "private, no-store"
    assert "recommender-card" in piece.content.decode()


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({"sec-fetch-site": "cross-site"}, {"path": "/de/news/becher/"}, 403),
        ({"origin": "https://evil.example"}, {"path": "/de/news/becher/"}, 403),
        ({}, {"path": "/de/news/becher/"}, 403),
        ({"sec-fetch-site": "same-origin"}, {"path": "https://evil.example/de/news/becher/"}, 204),
        ({"sec-fetch-site": "same-origin"}, {"path": "/de/a/becher/"}, 204),
        ({"sec-fetch-site": "same-origin"}, {"path": "/nowhere/"}, 204),
        ({"sec-fetch-site": "same-origin"}, ["x"], 204),
        ({"sec-fetch-site": "same-origin"}, {"path": "/" + "x" * 5000}, 204),
    ],
)
def test_beacon_of_another_page_or_of_nonsense_records_nothing(shop, headers, body, status):
    response = browser(**headers).post("/r/beacon", json.dumps(body), content_type="text/plain")
    assert response.status_code == status
    assert not Event.objects.exists()


def test_cart_is_what_the_shop_keeps_and_an_empty_one_shows_no_list(shop):
    client = browser()
    with CaptureQueriesContext(connection) as queries:
        assert "recommender-list" not in client.get("/de/cart/").content.decode()
    assert all("SAVEPOINT" in query["sql"] for query in queries), "of ATOMIC_REQUESTS"
    client.get("/de/cart/add/", {"article": "becher-xl"})
    html = client.get("/de/cart/").content.decode()
    assert "recommender-list" in html
    assert f'data-item-id="article:{shop["becher"].pk}"' not in html


@pytest.mark.parametrize("slot", ["search", "nothing", "home"])
def test_block_of_no_slot_is_not_found(shop, slot):
    assert browser().get(f"/r/blocks/{slot}?limit=0").status_code == (200 if slot == "home" else 404)


def test_without_consent_the_whole_way_leaves_no_row_but_the_order(shop):
    client = browser(consent=None)
    for path in ("/de/", "/de/find/?words=Becher", "/de/a/becher/", "/de/cart/add/?article=becher"):
        client.get(path)
    assert not Event.objects.exists()
    assert "recommender_visitor" not in client.cookies


def test_doctor_finds_nothing_but_the_known_warning(shop):
    from recommender.management import doctor

    findings = [finding for finding in doctor.examine() if finding.level != "ok"]
    assert {finding.topic for finding in findings} == {"settings", "arrivals"}, findings


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("error", [OperationalError("locked"), IntegrityError("twice"), ValueError("odd")])
def test_failing_insert_takes_nothing_of_the_shop_with_it(shop, monkeypatch, error):
    def fail(*args, **options):
        connection.cursor().execute("SELECT 1")
        raise error

    monkeypatch.setattr("recommender.capture.store", fail)
    client = browser()
    client.get("/de/a/becher/")
    client.get("/de/cart/add/", {"article": "becher"})
    assert client.post("/de/order/").status_code == 302
    assert PurchaseLine.objects.count() == 1
    assert client.get("/r/api/v1/recommendations/home").status_code == 200
    assert not Event.objects.exists()


def test_failing_insert_inside_of_a_transaction_leaves_it_usable(shop, monkeypatch):
    def fail(*args, **options):
        connection.cursor().execute("INSERT INTO recommender_event (nothing) VALUES (1)")

    monkeypatch.setattr("recommender.capture.store", fail)
    with transaction.atomic():
        Voucher.objects.create(slug="before", name="x")
        with pytest.raises(DatabaseError):
            capture.ingest([capture.EventDraft("m", "view_item", timezone.now(), item_id="a")])
        Voucher.objects.create(slug="after", name="x")
    assert Voucher.objects.filter(slug__in=["before", "after"]).count() == 2


def test_settings_of_the_host_are_neither_needed_nor_changed(settings):
    ours = logging.getLogger("recommender")
    assert (ours.handlers, ours.level, ours.propagate) == ([], logging.NOTSET, True)
    assert settings.REST_FRAMEWORK["EXCEPTION_HANDLER"] == "goods.cart.refuse"
    assert settings.DEFAULT_AUTO_FIELD.endswith(".AutoField")
    assert Event._meta.pk.__class__.__name__ == "BigAutoField"
    answer = browser().get("/r/api/v1/recommendations/nothing")
    assert (answer.status_code, answer["Content-Type"]) == (404, "application/problem+json")
