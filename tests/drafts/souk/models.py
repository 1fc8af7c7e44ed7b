"""A Persian shop: guests with an address, prices in toman, a cart in the session, a gateway that calls back."""

from django.db import models
from django.urls import reverse


class Group(models.Model):
    name = models.CharField(max_length=80)
    parent = models.ForeignKey("self", models.CASCADE, null=True, blank=True)


class Brand(models.Model):
    title = models.CharField(max_length=80)


class Kala(models.Model):
    name = models.CharField(max_length=200)
    slug = models.SlugField(allow_unicode=True)
    group = models.ForeignKey(Group, models.PROTECT)
    brand = models.ForeignKey(Brand, models.SET_NULL, null=True)
    old_price = models.PositiveIntegerField(default=0)
    price = models.PositiveIntegerField(help_text="in toman")
    wholesale_price = models.PositiveIntegerField(default=0)
    num_in_stock = models.IntegerField(null=True)
    available = models.BooleanField(default=True)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    def get_absolute_url(self):
        return reverse("kala", args=[self.pk, self.slug])


class KalaImage(models.Model):
    kala = models.ForeignKey(Kala, models.CASCADE, related_name="images")
    file = models.ImageField(upload_to="kala")


class Comment(models.Model):
    kala = models.ForeignKey(Kala, models.CASCADE)
    body = models.TextField()
    rate = models.PositiveSmallIntegerField(default=5)


class Order(models.Model):
    full_name = models.CharField(max_length=100)
    phone = models.CharField(max_length=20)
    email = models.EmailField(blank=True)
    is_paid = models.BooleanField(default=False)
    ref_id = models.CharField(max_length=60, blank=True)
    created = models.DateTimeField(auto_now_add=True)
    updated = models.DateTimeField(auto_now=True)
    sent_at = models.DateTimeField(null=True)
    refunded_at = models.DateTimeField(null=True)


class OrderItem(models.Model):
    order = models.ForeignKey(Order, models.CASCADE, related_name="items")
    kala = models.ForeignKey(Kala, models.PROTECT)
    price = models.PositiveIntegerField()
    discount = models.PositiveIntegerField(default=0)
    quantity = models.PositiveSmallIntegerField(default=1)


class Post(models.Model):
    """An article of the shop's journal: it has a title and a page, and nobody buys it."""

    title = models.CharField(max_length=200)
    slug = models.SlugField(unique=True)

    def get_absolute_url(self):
        return reverse("post", args=[self.slug])
