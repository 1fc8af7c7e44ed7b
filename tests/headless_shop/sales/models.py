import uuid

from django.conf import settings
from django.contrib.contenttypes.fields import GenericForeignKey
from django.contrib.contenttypes.models import ContentType
from django.db import models
from django.utils import timezone


class Sellable(models.Model):
    """A variant or a gift card, by a generic key; the keys are of different types, so they are text."""

    content_type = models.ForeignKey(ContentType, models.PROTECT)
    object_id = models.CharField(max_length=64)
    thing = GenericForeignKey("content_type", "object_id")
    quantity = models.PositiveIntegerField(default=1)

    class Meta:
        abstract = True


class CartLine(Sellable):
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="cart_lines")


class Order(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    reference = models.CharField(max_length=20, unique=True)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="orders")
    placed_at = models.DateTimeField(default=timezone.now)
    paid_at = models.DateTimeField(null=True, blank=True)

    def __str__(self):
        return self.reference


class OrderLine(Sellable):
    order = models.ForeignKey(Order, models.CASCADE, related_name="lines")
    amount = models.DecimalField(max_digits=8, decimal_places=2, help_text="for all pieces")
