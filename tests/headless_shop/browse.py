"""Two mobile apps of the depot and their users: prints as JSON what each of them did, and what was shown to them."""

import argparse
import json
import os
import random
import sys
import time
import uuid

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "depot.settings")
django.setup()

from catalogue.models import GiftCard, Product  # noqa: E402
from django.test import Client  # noqa: E402
from rest_framework.authtoken.models import Token  # noqa: E402

AGENTS = ("DepotApp/4.2 (iPhone; iOS 18.1)", "DepotApp/4.0 (Linux; Android 15; Pixel 8 Mobile)")
ADDON = "/recommender/api/v1/"


class App:
    """One installation of an app: `consent` is what its user said, None where nobody asked.

    `deeds` are what really happened, `homes` the items that each look at the home screen showed.
    """

    def __init__(self, username, *, consent, department, agent=AGENTS[0]):
        self.username, self.consent = username, consent
        self.goods = list(Product.objects.filter(department__name=department).order_by("label"))
        self.client = Client(headers={"user-agent": agent})
        self.shop_key = f"Token {Token.objects.get(user__username=username).key}"
        self.deeds, self.homes, self.visitor = [], [], None
        if consent is not None:
            self.visitor = self.addon("visitors", body={"consent": consent}, status=201)

    def shop(self, path, *, body=None, method="", status=200):
        """A call of the shop's own API, as its user; the visitor is named too, so that tracked pages count it."""
        headers = {"authorization": self.shop_key}
        if self.visitor:
            headers["recommender-visitor"] = self.visitor["token"]
        return self.call(f"/api/{path}", headers, body=body, method=method, status=status)

    def addon(self, path, *, body=None, query=None, status=200):
        """A call of the recommender's API, as the visitor."""
        headers = {"authorization": f"Visitor {self.visitor['token']}"} if self.visitor else {}
        return self.call(ADDON + path, headers, body=body, query=query, status=status)

    def call(self, path, headers, *, body=None, query=None, method="", status=200):
        method = method or ("post" if body is not None else "get")
        sent = {"data": body or {}, "content_type": "application/json"} if method != "get" else {"data": query or {}}
        answer = getattr(self.client, method)(path, headers=headers, **sent)
        assert answer.status_code == status, (method, path, answer.status_code, answer.content[:500])
        return answer.json() if answer.content else None

    def tell(self, kind, **event):
        """Send an event that only the app knows of; twice, as an app does whose first answer was lost."""
        if not self.visitor:
            return
        event = {"message_id": str(uuid.uuid4()), "type": kind, **event}
        for _ in range(2):
            receipt = self.addon("events", body=[event], status=202)
            assert not receipt["rejected"], receipt
        self.deeds.append([kind, event.get("item_id") or event["query"]])

    def home(self):
        shown = self.addon("recommendations/home", query={"limit": 8})
        self.homes.append([item["item_id"] for item in shown["items"]])
        return shown

    def tap(self, shown, index):
        """Choose one of a list that was shown; the last of it is not wanted again."""
        ranking_id, items = shown["ranking_id"], shown["items"]
        self.tell("select_item", item_id=items[index]["item_id"], ranking_id=ranking_id, position=index + 1)
        self.tell("dismiss_item", item_id=items[-1]["item_id"])

    def search(self, words):
        self.tell("search", query=words)
        return self.addon("search", query={"q": words})

    def look_at(self, product):
        self.shop(f"products/{product.pk}/")
        self.deeds.append(["view_item", f"product:{product.pk}"])

    def put(self, product, quantity=1):
        variant = product.variants.first()
        self.shop("cart/", body={"sku": variant.sku, "quantity": quantity}, status=201)
        self.deeds.append(["add_to_cart", f"product:{product.pk}"])

    def put_card(self, card):
        self.shop("cart/", body={"gift_card": str(card.pk)}, status=201)
        self.deeds.append(["add_to_cart", f"giftcard:{card.pk}"])

    def take_out(self, product):
        self.shop("cart/", body={"sku": product.variants.first().sku}, method="delete", status=204)
        self.deeds.append(["remove_from_cart", f"product:{product.pk}"])

    def order(self, *items, is_paid=True):
        """Order what is in the cart, and pay it."""
        order = self.shop("orders/", body={}, status=201)
        if is_paid:
            self.shop(f"orders/{order['id']}/pay/", body={})
            self.deeds += [["purchase", item] for item in items]

    def story(self):
        return {
            "username": self.username,
            "consent": self.consent,
            "visitor": self.visitor["visitor_id"] if self.visitor else None,
            "deeds": self.deeds,
            "homes": self.homes,
            "liked": [f"product:{product.pk}" for product in self.goods],
        }


def visit(app, chance, *, is_plain):
    """An ordinary visit: home, a search, three products, a cart with a change of mind, a gift card, an order."""
    first, second, third = chance.sample(app.goods, 3)
    app.shop("products/?page=2")
    if not is_plain:
        app.tap(app.home(), chance.randrange(4))
        app.search(first.label.lower())
    for product in (first, second, third):
        app.look_at(product)
    app.put(first, quantity=chance.randint(1, 2))
    app.put(second)
    app.take_out(second)
    bought = [f"product:{first.pk}"]
    if chance.random() < 0.3:
        card = chance.choice(list(GiftCard.objects.order_by("price")))
        app.put_card(card)
        bought.append(f"giftcard:{card.pk}")
    app.order(*bought, is_paid=chance.random() < 0.85)
    if not is_plain:
        app.home()


def wait_for_lists(seconds=120):
    """A server that has just begun to serve loads its lists aside; the apps come when it has."""
    deadline = time.monotonic() + seconds
    while not Client().get(f"{ADDON}recommendations/home").json()["bundle"]:
        assert time.monotonic() < deadline, f"no list was loaded within {seconds} seconds"
        time.sleep(0.2)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--apps", type=int, default=9)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--plain", action="store_true", help="without the recommender")
    options = parser.parse_args()
    if not options.plain:
        wait_for_lists()
    chance = random.Random(options.seed)
    departments = ["Climbing", "Shoes", "Sleeping", "Cooking", "Packs"]
    stories = []
    for number in range(options.apps):
        consent = None if options.plain or number % 4 == 3 else number % 4 != 2
        department = departments[number % len(departments)]
        app = App(f"customer{number:03}", consent=consent, department=department, agent=AGENTS[number % 2])
        for _ in range(2):
            visit(app, chance, is_plain=options.plain)
        stories.append(app.story())
    json.dump(stories, sys.stdout)


if __name__ == "__main__":
    main()
