"""Fill an empty depot: its goods, its customers and the orders of its past."""

import datetime as dt
import random
from decimal import Decimal

from catalogue.models import Department, GiftCard, Product, Variant
from django.contrib.auth.models import User
from django.core.management.base import BaseCommand
from django.db import transaction
from django.utils import timezone
from rest_framework.authtoken.models import Token

from sales import goods
from sales.models import Order, OrderLine

DAYS = 300


class Command(BaseCommand):
    help = __doc__

    def add_arguments(self, parser):
        parser.add_argument("--orders", type=int, default=600)
        parser.add_argument("--customers", type=int, default=120)
        parser.add_argument("--seed", type=int, default=5)

    @transaction.atomic
    def handle(self, **options):
        self.chance = random.Random(options["seed"])
        fill_goods()
        self.products = {product.label: product for product in Product.objects.prefetch_related("variants")}
        self.cards = list(GiftCard.objects.order_by("price"))
        users = [add_customer(number) for number in range(options["customers"])]
        for number in range(options["orders"]):
            customer = number % len(users)
            days_ago = DAYS * (1 - (number + self.chance.random()) / options["orders"])
            at = timezone.now() - dt.timedelta(days=days_ago, minutes=1)
            self.order(f"P{number:06}", users[customer], customer, at)
        self.stdout.write(f"{len(self.products)} products, {Order.objects.count()} orders")

    def order(self, reference, user, customer, at):
        paid_at = None if self.chance.random() < 0.04 else at + dt.timedelta(minutes=5)
        order = Order.objects.create(reference=reference, user=user, placed_at=at, paid_at=paid_at)
        for label in self.basket(customer):
            variants = list(self.products[label].variants.all())
            thing = variants[customer % len(variants)]
            quantity = self.chance.randint(1, 3) if label in goods.STAPLES else 1
            OrderLine.objects.create(order=order, thing=thing, quantity=quantity, amount=thing.price * quantity)
        if self.chance.random() < 0.04:
            card = self.chance.choice(self.cards)
            OrderLine.objects.create(order=order, thing=card, quantity=1, amount=card.price)

    def basket(self, customer):
        """The customer's staple, something of the customer's taste, and what goes with it."""
        basket = {goods.STAPLES[customer % len(goods.STAPLES)]} if self.chance.random() < 0.4 else set()
        taste = goods.TASTES[customer % len(goods.TASTES)]
        for department in self.chance.choices(taste, (3, 2), k=self.chance.randint(1, 2)):
            labels = [label for label, product in self.products.items() if product.department.name == department]
            basket.add(labels[min(int(self.chance.expovariate(0.35)), len(labels) - 1)])
        if self.chance.random() < 0.05:
            basket.add(self.chance.choice(list(self.products)))
        for one, other in goods.PAIRS:
            if one in basket and self.chance.random() < 0.7:
                basket.add(other)
        return sorted(basket)


def fill_goods():
    for number, (department, label, maker, price, sizes) in enumerate(goods.rows()):
        product = Product.objects.create(
            label=label,
            maker=maker,
            department=Department.objects.get_or_create(name=department)[0],
            blurb=goods.BLURBS[department],
        )
        for step, size in enumerate(sizes):
            sku = f"SKU{number:03}-{step}"
            Variant.objects.create(product=product, sku=sku, size=size, price=Decimal(price) + step, stock=9 + number)
    for name, price in goods.GIFT_CARDS:
        GiftCard.objects.create(name=name, price=price)


def add_customer(number):
    user = User(username=f"customer{number:03}", email=f"customer{number:03}@post.example")
    user.set_unusable_password()
    user.save()
    Token.objects.create(user=user)
    return user
