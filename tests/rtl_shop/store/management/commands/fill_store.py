"""Fill an empty bazaar: its goods, and the orders of its past."""

import datetime as dt
import random

from django.core.management.base import BaseCommand
from django.db import transaction
from django.utils import timezone

from store.goods import CATEGORIES, DESCRIPTIONS, PAIRS, STAPLES, rows
from store.models import Category, Order, OrderLine, Product

TASTES = [("rugs", "crafts"), ("tea", "nuts"), ("books", "crafts"), ("kitchen", "spices"), ("clothes", "rugs")]
DAYS = 300


class Command(BaseCommand):
    help = __doc__

    def add_arguments(self, parser):
        parser.add_argument("--orders", type=int, default=600)
        parser.add_argument("--customers", type=int, default=120)
        parser.add_argument("--seed", type=int, default=7)

    @transaction.atomic
    def handle(self, **options):
        self.chance = random.Random(options["seed"])
        self.goods = fill_goods()
        for number in range(options["orders"]):
            customer = number % options["customers"]
            days_ago = DAYS * (1 - (number + self.chance.random()) / options["orders"])
            self.order(number, customer, timezone.now() - dt.timedelta(days=days_ago, minutes=1))
        self.stdout.write(f"{Product.objects.count()} products, {Order.objects.count()} orders")

    def order(self, number, customer, at):
        failed = number % 23 == 22
        order = Order.objects.create(
            number=f"A{number:06}",
            email=f"customer{customer:03}@post.example",
            full_name=f"مشتری {customer}",
            status=Order.Status.FAILED if failed else Order.Status.PAID,
            created_at=at,
        )
        for key, quantity in self.basket(customer).items():
            product = self.goods[key]
            OrderLine.objects.create(order=order, product=product, quantity=quantity, unit_price=product.price)

    def basket(self, customer):
        """The customer's staple, something of the customer's taste, and what goes with it."""
        mine = STAPLES[customer % len(STAPLES)]
        basket = {mine: self.chance.randint(1, 3)} if self.chance.random() < 0.5 else {}
        for category in self.chance.choices(TASTES[customer % len(TASTES)], (3, 2), k=self.chance.randint(1, 2)):
            basket[category, min(int(self.chance.expovariate(0.25)), 11)] = 1
        if self.chance.random() < 0.05:  # a gift for somebody else
            basket[self.chance.choice(list(self.goods))] = 1
        for one, other in PAIRS:
            if one in basket and self.chance.random() < 0.7:
                basket[other] = 1
        return basket


def fill_goods():
    """Every product by its category and place."""
    categories, goods = {}, {}
    for slug, (persian, english) in CATEGORIES.items():
        categories[slug] = Category(slug=slug)
        translate(categories[slug], fa={"name": persian}, en={"name": english})
    for slug, category, number, persian, english, price in rows():
        product = Product(slug=slug, category=categories[category], price=price, stock=5 + len(persian))
        description_fa, description_en = DESCRIPTIONS[category]
        translate(
            product,
            fa={"title": persian, "description": description_fa},
            en={"title": english, "description": description_en},
        )
        goods[category, number] = product
    return goods


def translate(thing, **languages):
    for language, texts in languages.items():
        thing.set_current_language(language)
        for name, text in texts.items():
            setattr(thing, name, text)
    thing.save()
