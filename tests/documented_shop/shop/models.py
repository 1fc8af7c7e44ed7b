from django.conf import settings
from django.db import models
from django.urls import reverse


class Category(models.Model):
    name = models.CharField(max_length=80)


class Product(models.Model):
    name = models.CharField(max_length=200)
    slug = models.SlugField(unique=True)
    sku = models.CharField(max_length=20, unique=True)
    price = models.DecimalField(max_digits=9, decimal_places=2)
    category = models.ForeignKey(Category, models.CASCADE)
    is_active = models.BooleanField(default=True)

    def get_absolute_url(self):
        return reverse("shop:product", args=[self.slug])


class Book(models.Model):
    title = models.CharField(max_length=200)
    price = models.DecimalField(max_digits=9, decimal_places=2, default=5)


class Voucher(models.Model):
    name = models.CharField(max_length=200)


class Article(models.Model):
    name = models.CharField(max_length=200)
    parent = models.ForeignKey("self", models.CASCADE, null=True)


class Order(models.Model):
    number = models.CharField(max_length=20)
    customer = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True)
    email = models.EmailField(blank=True)
    visitor = models.CharField(max_length=200, blank=True)
    status = models.CharField(max_length=20, default="new")
    placed_at = models.DateTimeField(auto_now_add=True)
    paid_at = models.DateTimeField(null=True)
    returned_at = models.DateTimeField(null=True)


class OrderLine(models.Model):
    order = models.ForeignKey(Order, models.CASCADE, related_name="lines")
    product = models.ForeignKey(Product, models.PROTECT)
    quantity = models.PositiveIntegerField(default=1)
    price = models.DecimalField(max_digits=9, decimal_places=2)
    n_returned = models.PositiveIntegerField(default=0)
