"""What is sold over the counter: rows of another system, with the same keys as those of the web."""

from django.db import models
from django.urls import reverse


class Product(models.Model):
    name = models.CharField(max_length=200)
    barcode = models.CharField(max_length=20, unique=True)
    unit_price = models.FloatField()
    in_stock = models.BooleanField(default=True)

    def get_absolute_url(self):
        return reverse("counter:product", args=[self.barcode])


class Sale(models.Model):
    sold_at = models.DateTimeField()
    cashier = models.CharField(max_length=20, blank=True)
    total = models.FloatField(default=0)


class SaleLine(models.Model):
    sale = models.ForeignKey(Sale, models.CASCADE)
    product = models.ForeignKey(Product, models.PROTECT)
    amount = models.FloatField(help_text="for all pieces")
    qty = models.IntegerField(default=1)
