"""A shopper at the shop's own pages, by Django's test client: what a browser would send, and what then happened."""

import re
from collections import Counter
from decimal import Decimal

from django.test import Client
from django.urls import reverse
from oscar.core.loading import get_model


class Shopper:
    """Counts what was done in `happened`: (event, item id or query, quantity) -> times."""

    def __init__(self, *, has_consented=True, client=None):
        self.client = client or Client()
        self.happened = Counter()
        self.basket = Counter()
        if has_consented:
            self.client.cookies["recommender_consent"] = "granted"

    def home(self):
        """The first page."""
        return self._page(self.client.get("/", follow=True))

    def search(self, query):
        """Oscar's search page, or what stands in its place."""
        page = self._page(self.client.get(reverse("search:search"), {"q": query}))
        if query.strip():
            self.happened["search", " ".join(query.split()), 1] += 1
        return page

    def view(self, product, **parameters):
        """A product's page; a child has one of its own."""
        page = self._page(self.client.get(product.get_absolute_url(), parameters))
        self.happened["view_item", item_id(product), 1] += 1
        return page

    def add(self, product, quantity=1):
        """The form of the product's page. A child is added by its own page."""
        response = self.client.post(
            reverse("basket:add", args=[product.pk]), {"quantity": quantity, "next": product.get_absolute_url()}
        )
        assert response.status_code == 302, response.content
        self.happened["add_to_cart", item_id(product), quantity] += 1
        self.basket[product] += quantity

    def remove_first(self):
        """The basket's page, with the first line ticked for removal."""
        page = self._page(self.client.get(reverse("basket:summary"))).content.decode()
        ids = re.findall(r'name="form-\d+-id" value="(\d+)"', page)
        lines = get_model("basket", "Line").objects.in_bulk(ids)
        data = {"form-TOTAL_FORMS": len(ids), "form-INITIAL_FORMS": len(ids), "form-0-DELETE": "on"}
        for n, pk in enumerate(ids):
            data |= {f"form-{n}-id": pk, f"form-{n}-quantity": lines[int(pk)].quantity}
        assert self.client.post(reverse("basket:summary"), data).status_code == 302
        line = lines[int(ids[0])]
        self.happened["remove_from_cart", item_id(line.product), line.quantity] += 1
        self.basket.pop(line.product)

    def order(self):
        """The whole guest checkout, page by page, up to the thank-you page; returns the number of the order."""
        post, follow = self.client.post, {"follow": True}
        self._page(post(reverse("checkout:index"), {"username": "ada@example.com", "options": "anonymous"}, **follow))
        address = {
            "first_name": "Ada", "last_name": "Lovelace", "line1": "12 St James's Square", "line4": "London",
            "postcode": "SW1Y 4JH", "country": "GB",
        }  # fmt: skip
        page = self._page(post(reverse("checkout:shipping-address"), address, **follow))
        assert page.request["PATH_INFO"] == reverse("checkout:payment-details"), page.request
        self._page(self.client.get(reverse("checkout:preview")))
        thanks = self._page(post(reverse("checkout:preview"), {"action": "place_order"}, **follow))
        assert thanks.request["PATH_INFO"] == reverse("checkout:thank-you"), thanks.request
        for product, quantity in self.basket.items():
            self.happened["purchase", item_id(product), quantity] += 1
        self.basket.clear()
        order = get_model("order", "Order").objects.latest("pk")
        assert order.number in thanks.content.decode()
        return order.number

    def _page(self, response):
        assert response.status_code == 200, (response.status_code, response.request, response.content[:2000])
        return response


def item_id(product):
    return f"product:{product.parent_id or product.pk}"


def recorded(**which):
    """What was recorded of the shopper's doings, as `happened` counts it."""
    from recommender.models import Event

    events = Event.objects.exclude(type__in=("view_item_list", "select_item")).filter(**which)
    rows = events.values_list("type", "item_id", "query", "quantity")
    return Counter((kind, item or query, int(quantity)) for kind, item, query, quantity in rows)


def titles_of(response, slot):
    """Titles of the cards of one list of a page."""
    matching = re.search(rf'data-slot="{slot}".*?</section>', response.content.decode(), re.DOTALL)
    return re.findall(r'recommender-card__title"[^>]*>([^<]*)<', matching[0]) if matching else []


def past_order():
    """Somebody bought an Emma before we came."""
    shopper = Shopper()
    shopper.add(get_model("catalogue", "Product").objects.get(upc="novel-0"))
    shopper.order()


def walk():
    """From home to order as one script; what a shopper with consent does is recorded once each."""
    from recommender import serving

    serving.loaded()  # as in a server that has been up for a moment
    from recommender.models import Event
    from recommender.tracking import reconcile

    teapot = get_model("catalogue", "Product").objects.get(upc="pot-0")
    shopper = Shopper()
    assert titles_of(shopper.home(), "home"), "the home page shows no list"
    shopper.search("teapot")
    shopper.view(teapot)
    shopper.add(teapot, 2)
    number = shopper.order()
    for _ in range(2):
        reconcile()
    matching = recorded(visitor__isnull=False)
    assert matching == shopper.happened, (matching, shopper.happened)
    assert set(shopper.happened.values()) == {1}
    purchase = Event.objects.get(type="purchase", visitor__isnull=False)
    assert (purchase.quantity, purchase.price, purchase.order_id) == (2, Decimal(20), number)
    assert purchase.visitor_id == Event.objects.get(type="search").visitor_id is not None
    own, strangers = (titles_of(one.home(), "home") for one in (shopper, Shopper(has_consented=False)))
    assert own, "the home page shows no list"
    assert own != strangers, "the list is nobody's own"
    return shopper
