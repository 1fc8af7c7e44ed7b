"""A consenting browser in the documented shop, and what then holds: every recorded item exists, and home is its own."""

import json
import re

from django.test import Client

from shop.stock import MUGS

CHROME = "Mozilla/5.0 (X11; Linux x86_64) Chrome/126.0 Safari/537.36"


def browser():
    client = Client(headers={"user-agent": CHROME, "host": "localhost", "sec-fetch-site": "same-origin"})
    client.cookies["recommender_consent"] = "granted"
    return client


def titles(client, path, slot):
    html = client.get(path).content.decode()
    match = re.search(rf'data-slot="{slot}".*?</section>', html, re.DOTALL)
    return re.findall(r'recommender-card__title"[^>]*>([^<]*)<', match[0]) if match else []


def look_around():
    """From product pages to a personal home page and a search."""
    from recommender import serving
    from recommender.models import Event, Item

    assert serving.loaded().is_loaded
    ours, stranger = browser(), browser()
    for slug in ("red-mug", "blue-mug"):
        assert ours.get(f"/p/{slug}/").status_code == 200
    views = list(Event.objects.filter(type="view_item").values_list("item_id", flat=True))
    assert len(views) == 2, views
    assert Item.objects.filter(item_id__in=views).count() == 2, f"no items are called {views}"
    own, common = titles(ours, "/", "home"), titles(stranger, "/", "home")
    assert own, "the home page shows no list"
    assert own[0] in MUGS, (own, "what is like the mugs that were looked at leads")
    assert sum(title in MUGS for title in own[:4]) > sum(title in MUGS for title in common[:4]), (own, common)
    assert set(titles(ours, "/search/?q=mug", "search")) >= set(MUGS[:3])
    assert Event.objects.filter(type="search", query="mug").exists()
    return ours


def buy_at_the_form(client):
    """A form puts it into the cart, whose page shows what goes with it; an order that is paid later is a purchase."""
    from recommender.models import Event
    from shop.models import Product

    boots = Product.objects.get(slug="rain-boots")
    assert not titles(client, "/cart/", "cart"), "nothing goes with an empty cart"
    assert client.post("/cart/form/", {"id": boots.pk, "n": 2}).status_code == 302
    in_cart = titles(client, "/cart/", "cart")
    assert in_cart
    assert boots.name not in in_cart
    number = client.get("/order/").content.decode()
    client.post("/paid/", {"order": number})
    events = Event.objects.filter(type__in=("add_to_cart", "purchase")).order_by("type")
    assert list(events.values_list("type", "item_id", "quantity")) == [
        ("add_to_cart", f"product:{boots.pk}", 2),
        ("purchase", f"product:{boots.pk}", 2),
    ]


def buy(client):
    """By each kind of cart, an order, and the payment provider's call."""
    from recommender.models import Event, Item
    from shop.models import Product

    rake, boots, lamp = (Product.objects.get(slug=slug) for slug in ("leaf-rake", "rain-boots", "desk-lamp"))
    assert client.get("/cart/add/", {"p": rake.slug}).status_code == 302
    assert client.post("/cart/form/", {"id": boots.pk, "n": 2}).status_code == 302
    line = {"line": {"sku": lamp.sku, "n": 3}}
    assert client.post("/cart/api/", line, content_type="application/json").status_code == 201
    added = dict(Event.objects.filter(type="add_to_cart").values_list("item_id", "quantity"))
    assert added == {f"product:{rake.pk}": 1, f"product:{boots.pk}": 2, f"product:{lamp.pk}": 3}
    number = client.get("/order/").content.decode()
    assert not Event.objects.filter(type="purchase").exists(), "it is not paid"
    assert Client(headers={"host": "localhost"}).post("/paid/", {"order": number}).status_code == 200
    bought = set(Event.objects.filter(type="purchase").values_list("item_id", flat=True))
    assert bought == set(added)
    assert Item.objects.filter(item_id__in=bought).count() == 3


def read_news(client):
    """A page of a CDN, told by its script; and a page by Jinja2, with the shop's own price on its cards."""
    from recommender.models import Event

    page = client.get("/news/oak-table/").content.decode()
    assert 'data-beacon="/recommender/beacon"' in page
    assert "data-recommender-src" in page
    n_views = Event.objects.filter(type="view_item").count()
    client.post("/recommender/beacon", json.dumps({"path": "/news/oak-table/"}), content_type="text/plain")
    assert Event.objects.filter(type="view_item").count() == n_views + 1
    about = client.get("/about/").content.decode()
    assert "recommender-card" in about
    assert "only " in about


def no_event_is_lost():
    from recommender.models import Event, Item

    items = set(Item.objects.values_list("item_id", flat=True))
    strays = [
        item_id for item_id in Event.objects.values_list("item_id", flat=True) if item_id and item_id not in items
    ]
    assert not strays, strays
