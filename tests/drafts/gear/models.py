"""A shop that is an API: members with UUIDs, products with variants, lines that point to anything by generic keys."""

import uuid

from django.contrib.auth.models import AbstractBaseUser
from django.contrib.contenttypes.fields import GenericForeignKey
from django.contrib.contenttypes.models import ContentType
from django.db import models


class Member(AbstractBaseUser):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    email = models.EmailField(unique=True)
    USERNAME_FIELD = "email"


class Client(models.Model):
    """What the shop knows of a member."""

    member = models.OneToOneField(Member, models.CASCADE)
    phone = models.CharField(max_length=20, blank=True)


class Department(models.Model):
    title = models.CharField(max_length=80)


class Product(models.Model):
    uuid = models.UUIDField(default=uuid.uuid4, unique=True)
    title = models.CharField(max_length=200)
    description = models.TextField(blank=True)
    department = models.ForeignKey(Department, models.PROTECT)
    manufacturer = models.CharField(max_length=80, blank=True)
    status = models.CharField(max_length=10, choices=[("draft", "Draft"), ("published", "Published")], default="draft")
    picture = models.URLField(blank=True)


class ProductVariant(models.Model):
    product = models.ForeignKey(Product, models.CASCADE, related_name="variants")
    sku = models.CharField(max_length=40, unique=True)
    colour = models.CharField(max_length=20, blank=True)
    cost_price = models.DecimalField(max_digits=8, decimal_places=2, default=0)
    selling_price = models.DecimalField(max_digits=8, decimal_places=2)
    stock = models.IntegerField(default=0)


class Course(models.Model):
    """The other thing that is sold; its keys are those of products."""

    name = models.CharField(max_length=100)
    code = models.SlugField(unique=True)
    price = models.DecimalField("price in GBP", max_digits=8, decimal_places=2)
    is_active = models.BooleanField(default=True)


class Review(models.Model):
    product = models.ForeignKey(Product, models.CASCADE)
    title = models.CharField(max_length=80)
    rating = models.IntegerField(default=5)


class Basket(models.Model):
    client = models.ForeignKey(Client, models.CASCADE, null=True)
    created_at = models.DateTimeField(auto_now_add=True)
    status = models.CharField(max_length=10, default="open")


class BasketEntry(models.Model):
    basket = models.ForeignKey(Basket, models.CASCADE)
    content_type = models.ForeignKey(ContentType, models.CASCADE)
    object_id = models.PositiveBigIntegerField()
    thing = GenericForeignKey()
    quantity = models.PositiveIntegerField(default=1)


class SalesOrder(models.Model):
    class State(models.IntegerChoices):
        PENDING = 0, "Awaiting payment"
        PAID = 1, "Paid"
        SHIPPED = 2, "Shipped"
        FAILED = 3, "Payment failed"
        REFUNDED = 4, "Refunded"

    client = models.ForeignKey(Client, models.SET_NULL, null=True)
    contact_email = models.EmailField(blank=True)
    state = models.PositiveSmallIntegerField(choices=State, default=State.PENDING)
    currency = models.CharField(max_length=3, default="GBP")
    total = models.DecimalField(max_digits=8, decimal_places=2, default=0)
    placed_on = models.DateTimeField()
    shipped_on = models.DateTimeField(null=True)


class SalesOrderEntry(models.Model):
    sales_order = models.ForeignKey(SalesOrder, models.CASCADE)
    content_type = models.ForeignKey(ContentType, models.CASCADE)
    object_id = models.PositiveBigIntegerField()
    thing = GenericForeignKey()
    qty = models.PositiveIntegerField(default=1)
    line_total = models.DecimalField(max_digits=8, decimal_places=2)
