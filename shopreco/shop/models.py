"""The shop's own tables: what it sells, to whom, and what was ordered."""

from __future__ import annotations

from decimal import Decimal
from typing import ClassVar

from django.conf import settings
from django.db import models
from django.urls import reverse
from django.utils import timezone

from shopreco.shop.languages import title_in_language


class Department(models.Model):
    name = models.CharField(max_length=80, unique=True)
    slug = models.SlugField(max_length=80, unique=True)

    class Meta:
        ordering: ClassVar[list[str]] = ["name"]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("shop:department", args=[self.slug])


class Product(models.Model):
    stock_code = models.CharField(max_length=20, unique=True)
    title = models.CharField(max_length=200)
    price = models.DecimalField(max_digits=10, decimal_places=2)
    department = models.ForeignKey(Department, models.SET_NULL, null=True, blank=True, related_name="products")
    stock = models.PositiveIntegerField(default=0)
    is_visible = models.BooleanField(default=True)
    n_sold = models.PositiveIntegerField(default=0, db_index=True, help_text="Orders of the last month it was in.")
    first_seen = models.DateField(default=timezone.localdate)
    updated_at = models.DateTimeField(auto_now=True, db_index=True)

    def __str__(self) -> str:
        return self.title

    def get_absolute_url(self) -> str:
        return reverse("shop:product", args=[self.stock_code])

    @property
    def localised_title(self) -> str:
        """The title in the language of the page."""
        return title_in_language(self.stock_code, self.title)


class Customer(models.Model):
    """A person with an account; somebody who only checks out is a guest and has none."""

    user = models.OneToOneField(settings.AUTH_USER_MODEL, models.CASCADE, related_name="customer")
    code = models.CharField(max_length=20, unique=True)
    country = models.CharField(max_length=60, blank=True)

    def __str__(self) -> str:
        return self.code


class Order(models.Model):
    """A purchase, or a cancellation of one: goods that came back, with positive quantities."""

    number = models.CharField(max_length=20, unique=True)
    customer = models.ForeignKey(Customer, models.SET_NULL, null=True, blank=True, related_name="orders")
    placed_at = models.DateTimeField(default=timezone.now, db_index=True)
    is_cancellation = models.BooleanField(default=False)
    name = models.CharField(max_length=120, blank=True)
    email = models.EmailField(blank=True)

    class Meta:
        ordering: ClassVar[list[str]] = ["-placed_at"]

    def __str__(self) -> str:
        return self.number

    @property
    def total(self) -> Decimal:
        """Sum over the lines. One query, none where the lines are prefetched."""
        return sum((line.total for line in self.lines.all()), Decimal(0))


class OrderLine(models.Model):
    order = models.ForeignKey(Order, models.CASCADE, related_name="lines")
    product = models.ForeignKey(Product, models.PROTECT, related_name="order_lines")
    quantity = models.PositiveIntegerField(default=1)
    unit_price = models.DecimalField(max_digits=10, decimal_places=2)

    def __str__(self) -> str:
        return f"{self.quantity} x {self.product_id}"

    @property
    def total(self) -> Decimal:
        return self.quantity * self.unit_price
