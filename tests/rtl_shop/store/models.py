import secrets

from django.db import models
from django.urls import reverse
from django.utils.translation import gettext_lazy as _
from parler.models import TranslatableModel, TranslatedFields


def new_authority():
    """What the gateway calls a payment."""
    return secrets.token_hex(16)


class Category(TranslatableModel):
    slug = models.SlugField(unique=True)
    translations = TranslatedFields(name=models.CharField(_("name"), max_length=80))

    def __str__(self):
        return self.safe_translation_getter("name", any_language=True) or self.slug

    def get_absolute_url(self):
        return reverse("store:category", args=[self.slug])


class Product(TranslatableModel):
    slug = models.SlugField(unique=True)
    category = models.ForeignKey(Category, models.PROTECT, related_name="products")
    price = models.DecimalField(_("price in rial"), max_digits=12, decimal_places=0)
    photo = models.FileField(upload_to="products", blank=True)
    stock = models.PositiveIntegerField(default=0)
    published = models.BooleanField(default=True)
    translations = TranslatedFields(
        title=models.CharField(_("title"), max_length=200),
        description=models.TextField(_("description"), blank=True),
    )

    def __str__(self):
        return self.safe_translation_getter("title", any_language=True) or self.slug

    def get_absolute_url(self):
        return reverse("store:product", args=[self.slug])

    @property
    def in_stock(self):
        return self.stock > 0


class Order(models.Model):
    """Nobody has an account here: an order knows an e-mail address."""

    class Status(models.TextChoices):
        PENDING = "pending", _("waiting for payment")
        PAID = "paid", _("paid")
        FAILED = "failed", _("payment failed")

    number = models.CharField(max_length=20, unique=True)
    email = models.EmailField()
    full_name = models.CharField(max_length=120)
    address = models.TextField(blank=True)
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.PENDING)
    authority = models.CharField(max_length=40, unique=True, default=new_authority)
    created_at = models.DateTimeField()

    def __str__(self):
        return self.number


class OrderLine(models.Model):
    order = models.ForeignKey(Order, models.CASCADE, related_name="lines")
    product = models.ForeignKey(Product, models.PROTECT)
    quantity = models.PositiveSmallIntegerField(default=1)
    unit_price = models.DecimalField(max_digits=12, decimal_places=0)

    def __str__(self):
        return f"{self.quantity} × {self.product}"
