"""Guests in the bazaar, as browsers send them: prints as JSON what each of them did and which cookies they hold."""

import argparse
import contextlib
import datetime as dt
import json
import os
import random
import re
import sys
from unittest import mock

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "bazaar.settings")
django.setup()

from django.test import Client  # noqa: E402
from django.utils import timezone  # noqa: E402
from store.models import Order, Product  # noqa: E402

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
WORDS = {"rugs": "فرش", "tea": "چای", "spices": "زعفران", "nuts": "پسته", "books": "شاهنامه", "crafts": "میناکاری"}


class Guest:
    """One browser: `choice` is the answer to the banner, `all`, `needed` or none.

    `deeds` are what really happened; `homes` the first products that each visit of the home page showed, `hits` the
    first that each search did.
    """

    def __init__(self, name, *, choice, taste, language="fa"):
        self.name, self.choice, self.taste, self.language = name, choice, taste, language
        self.client = Client(headers={"user-agent": FIREFOX, "accept-language": language})
        self.gateway = Client(headers={"user-agent": "PayGateway/2"})
        self.deeds, self.homes, self.hits = [], [], []
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

    def come_home(self):
        self.homes.append(products_on(self.see("")))

    def look_at(self, product):
        self.see(f"product/{product.slug}/")
        self.deeds.append(["view_item", product.pk])

    def search(self, words):
        self.hits.append(products_on(self.see("search/", s=words)))
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
            confirmed = self.gateway.post("/gateway/webhook/", {"authority": authority, "result": result})
            assert confirmed.status_code == 200, confirmed.content
        order = Order.objects.get(authority=authority)
        self.see(f"thanks/{order.number}/")
        if result == "OK":
            self.deeds += [["purchase", line.product_id] for line in order.lines.all()]

    def story(self):
        cookies = {name: morsel.value for name, morsel in self.client.cookies.items()}
        answer = {name: getattr(self, name) for name in ("name", "choice", "taste", "deeds", "homes", "hits")}
        return {**answer, "cookies": cookies}


def products_on(page, most=8):
    slugs = re.findall(r"/product/([\w-]+)/", page.content.decode())
    return list(dict.fromkeys(slugs))[:most]


def goods_of(category):
    return list(Product.objects.filter(category__slug=category).order_by("pk"))


def visit(guest, chance):
    """An ordinary visit: a look around, a search, some products, a cart with a change of mind, an order."""
    goods = goods_of(guest.taste)
    guest.come_home()
    guest.see(f"category/{guest.taste}/")
    guest.search(WORDS[guest.taste])
    first, second, third = chance.sample(goods, 3)
    for product in (first, second, third):
        guest.look_at(product)
    guest.put(first, quantity=chance.randint(1, 2))
    guest.put(second)
    guest.take_out(second)
    guest.see("cart/")
    guest.order(result="NOK" if chance.random() < 0.2 else "OK")
    guest.come_home()


def come_back(guest, staple, chance):
    """A regular's visit: something of the taste, more often than not what has run out, one order."""
    goods = goods_of(guest.taste)
    liked = goods[min(int(chance.expovariate(0.3)), len(goods) - 1)]
    guest.look_at(liked)
    wanted = [liked] if chance.random() < 0.7 else []
    if chance.random() < 0.6 or not wanted:
        wanted.append(staple)
    for product in dict.fromkeys(wanted):
        guest.put(product)
    guest.order()


@contextlib.contextmanager
def as_of(days_ago):
    """The shop's clock goes as it went then."""
    now, past = timezone.now, dt.timedelta(days=days_ago)
    with mock.patch("django.utils.timezone.now", side_effect=lambda: now() - past):
        yield


def weeks_of_regulars(n_weeks, n_regulars, chance):
    """Guests who accept the banner and come back for weeks, each with a taste and something to buy again."""
    tastes, staples = list(WORDS), list(Product.objects.filter(slug__in=("tea-1", "nuts-1", "spices-12")))
    regulars = [Guest(f"regular{n}", choice="all", taste=tastes[n % len(tastes)]) for n in range(n_regulars)]
    for week in range(n_weeks, 0, -1):
        for number, guest in enumerate(regulars):
            if chance.random() < 0.8:
                with as_of(7 * week - chance.random() * 6):
                    come_back(guest, staples[number % len(staples)], chance)
    for guest in regulars:
        guest.come_home()
    return regulars


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--guests", type=int, default=9)
    parser.add_argument("--weeks", type=int, default=0, help="of regulars before the guests")
    parser.add_argument("--regulars", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    chance = random.Random(options.seed)
    regulars = weeks_of_regulars(options.weeks, options.regulars, chance) if options.weeks else []
    stories = [guest.story() for guest in regulars]
    for number in range(options.guests):
        choice = "needed" if number % 4 == 2 else None if number % 4 == 3 else "all"
        language = "en" if number % 5 == 4 else "fa"
        taste = list(WORDS)[number % len(WORDS)]
        guest = Guest(f"guest{options.seed}-{number}", choice=choice, taste=taste, language=language)
        visit(guest, chance)
        stories.append(guest.story())
    json.dump(stories, sys.stdout, ensure_ascii=False)


if __name__ == "__main__":
    main()
