"""Guests in the bazaar, as browsers send them: prints as JSON what each of them did and which cookies they hold."""

import argparse
import json
import os
import random
import sys

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "bazaar.settings")
django.setup()

from django.test import Client  # noqa: E402
from store.models import Order, Product  # noqa: E402

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
WORDS = {"rugs": "فرش", "tea": "چای", "spices": "زعفران", "nuts": "پسته", "books": "شاهنامه", "crafts": "میناکاری"}


class Guest:
    """One browser: `choice` is the answer to the banner, `all`, `needed` or none; `deeds` are what really happened."""

    def __init__(self, name, *, choice, language="fa", gateway=None):
        self.name, self.choice, self.language = name, choice, language
        self.client = Client(headers={"user-agent": FIREFOX, "accept-language": language})
        self.gateway = gateway or Client(headers={"user-agent": "PayGateway/2"})
        self.deeds = []
        if choice:
            self.send("cookies/", choice=choice)

    def see(self, path, **query):
        page = self.client.get(f"/{self.language}/{path}", query)
        assert page.status_code == 200, (path, page.status_code)
        return page

    def send(self, path, **form):
        answer = self.client.post(f"/{self.language}/{path}", form)
        assert answer.status_code == 302, (path, answer.status_code, answer.content[:500])
        return answer

    def look_at(self, product):
        self.see(f"product/{product.slug}/")
        self.deeds.append(["view_item", product.pk])

    def search(self, words):
        self.see("search/", s=words)
        self.deeds.append(["search", words])

    def put(self, product, quantity=1):
        self.send(f"cart/add/{product.slug}/", quantity=quantity)
        self.deeds.append(["add_to_cart", product.pk])

    def take_out(self, product):
        self.send(f"cart/remove/{product.pk}/")
        self.deeds.append(["remove_from_cart", product.pk])

    def order(self, result="OK"):
        """Check out, go to the gateway, and let the gateway call the shop: twice, as gateways do."""
        answer = self.send("checkout/", email=f"{self.name}@post.example", full_name=self.name, address="تهران")
        authority = answer["Location"].rpartition("/")[2]
        for _ in range(2):
            told = self.gateway.post("/gateway/webhook/", {"authority": authority, "result": result})
            assert told.status_code == 200, told.content
        order = Order.objects.get(authority=authority)
        self.see(f"thanks/{order.number}/")
        if result == "OK":
            self.deeds += [["purchase", line.product_id] for line in order.lines.all()]

    def story(self):
        cookies = {name: morsel.value for name, morsel in self.client.cookies.items()}
        return {"name": self.name, "choice": self.choice, "deeds": self.deeds, "cookies": cookies}


def visit(guest, category, chance):
    """An ordinary visit: a look around, a search, some products, a cart with a change of mind, an order."""
    goods = list(Product.objects.filter(category__slug=category).order_by("pk"))
    guest.see("")
    guest.see(f"category/{category}/")
    guest.search(WORDS.get(category, "چرم"))
    first, second, third = chance.sample(goods, 3)
    for product in (first, second, third):
        guest.look_at(product)
    guest.put(first, quantity=chance.randint(1, 2))
    guest.put(second)
    guest.take_out(second)
    guest.see("cart/")
    guest.order(result="NOK" if chance.random() < 0.2 else "OK")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--guests", type=int, default=9)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    chance = random.Random(options.seed)
    stories = []
    for number in range(options.guests):
        choice = "needed" if number % 4 == 2 else None if number % 4 == 3 else "all"
        language = "en" if number % 5 == 4 else "fa"
        guest = Guest(f"guest{options.seed}-{number}", choice=choice, language=language)
        visit(guest, list(WORDS)[number % len(WORDS)], chance)
        stories.append(guest.story())
    json.dump(stories, sys.stdout, ensure_ascii=False)


if __name__ == "__main__":
    main()
