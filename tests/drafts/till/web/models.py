"""What is sold over the web: its own products and orders."""

from django.conf import settings
from django.db import models
from django.urls import reverse


class Product(models.Model):
    title = models.CharField(max_length=200)
    price = models.DecimalField(max_digits=8, decimal_places=2)
    category = models.CharField(max_length=40, blank=True)
    author = models.CharField(max_length=80, blank=True)
    image = models.URLField(blank=True)
    is_deleted = models.BooleanField(default=False)

    def get_absolute_url(self):
        return reverse("web:product", kwargs={"product_pk": self.pk})


class Order(models.Model):
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True)
    products = models.ManyToManyField(Product)
    paid_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)
    total = models.DecimalField(max_digits=8, decimal_places=2, default=0)


class PhoneOrder(models.Model):
    """An order that was typed in: its lines are JSON."""

    email = models.EmailField()
    items = models.JSONField(default=list)
    is_paid = models.BooleanField(default=False)
    created_at = models.DateTimeField(auto_now_add=True)
