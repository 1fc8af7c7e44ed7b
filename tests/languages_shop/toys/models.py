from django.db import models
from django.urls import reverse
from mptt.models import MPTTModel, TreeForeignKey
from parler.models import TranslatableModel, TranslatedFields


class Shelf(MPTTModel):
    name = models.CharField(max_length=80)
    parent = TreeForeignKey("self", models.CASCADE, null=True, related_name="children")


class Toy(TranslatableModel):
    """Its texts lie in rows of their own, one for each language: parler."""

    translations = TranslatedFields(
        title=models.CharField(max_length=200), description=models.TextField(blank=True, default="")
    )
    price = models.DecimalField(max_digits=9, decimal_places=2)
    shelves = models.ManyToManyField(Shelf)

    def get_absolute_url(self):
        return reverse("toy", args=[self.pk])


class Tool(models.Model):
    """Its texts lie in columns, title_de and title_en: modeltranslation."""

    title = models.CharField(max_length=200)
    description = models.TextField(blank=True, default="")
    price = models.DecimalField(max_digits=9, decimal_places=2)
    shelf = TreeForeignKey(Shelf, models.CASCADE, null=True)

    def get_absolute_url(self):
        return reverse("tool", args=[self.pk])
