import uuid

from django.contrib.auth.models import AbstractBaseUser, BaseUserManager
from django.db import models
from django.urls import reverse
from django.utils.translation import get_language


class CustomerManager(BaseUserManager):
    def create_user(self, mail, password=None):
        customer = self.model(mail=mail)
        customer.set_password(password)
        customer.save()
        return customer


class Customer(AbstractBaseUser):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    mail = models.EmailField(unique=True)
    USERNAME_FIELD = EMAIL_FIELD = "mail"
    objects = CustomerManager()


class Section(models.Model):
    """A tree, with the depth in a column, as mptt and treebeard keep it."""

    name = models.CharField(max_length=80)
    parent = models.ForeignKey("self", models.CASCADE, null=True)
    level = models.IntegerField(default=0)


class Article(models.Model):
    """Two languages in columns, as modeltranslation keeps them; a variant points to the article that it is one of."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    slug = models.SlugField(unique=True)
    name_de = models.CharField(max_length=200)
    name_en = models.CharField(max_length=200)
    net = models.DecimalField(max_digits=9, decimal_places=2)
    photo = models.URLField(blank=True)
    sections = models.ManyToManyField(Section)
    parent = models.ForeignKey("self", models.CASCADE, null=True, related_name="variants")
    sites = models.ManyToManyField("sites.Site")
    is_published = models.BooleanField(default=True)
    deleted_at = models.DateTimeField(null=True)

    @property
    def name(self):
        return getattr(self, f"name_{get_language() or 'de'}", self.name_de)

    def get_absolute_url(self):
        return reverse("article", args=[self.slug])


class Book(models.Model):
    """Keyed by a slug; editions of one work are rows with the same number."""

    slug = models.SlugField(primary_key=True)
    title = models.CharField(max_length=200)
    work = models.CharField(max_length=20, blank=True)
    price = models.FloatField()
    currency = models.CharField(max_length=3, default="EUR")
    is_deleted = models.BooleanField(default=False)

    def get_absolute_url(self):
        return reverse("book", args=[self.pk])


class Voucher(models.Model):
    """Keyed by a slug too, so that a voucher and a book may have the same primary key."""

    slug = models.SlugField(primary_key=True)
    name = models.CharField(max_length=200)

    def get_absolute_url(self):
        return reverse("voucher", args=[self.pk])


class Purchase(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    customer = models.ForeignKey(Customer, models.SET_NULL, null=True)
    mail = models.EmailField(blank=True)
    paid = models.BooleanField(default=False)
    sent_back = models.DateTimeField(null=True)
    placed = models.DateTimeField(auto_now_add=True)
    reader = models.CharField(max_length=200, blank=True)


class PurchaseLine(models.Model):
    purchase = models.ForeignKey(Purchase, models.CASCADE, related_name="lines")
    article = models.ForeignKey(Article, models.PROTECT, null=True)
    book = models.ForeignKey(Book, models.PROTECT, null=True)
    pieces = models.PositiveIntegerField()
    each = models.DecimalField(max_digits=9, decimal_places=2)

    @property
    def thing(self):
        return self.article or self.book
