"""The recommender's copy of the catalogue: texts, vectors and statistics of items, by opaque string ids."""

from collections.abc import Mapping
from decimal import Decimal

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

Margins = Mapping[tuple[str, str], Decimal]
"""By item and currency what the shop earns with one."""


class Item(models.Model):
    """The recommender's copy of one object of the shop. Price and stock are always read from the shop's own row."""

    item_id = models.CharField(_("item id"), max_length=128, unique=True)
    label = models.CharField(_("model"), max_length=100, help_text=_("The shop's model, as app_label.Model."))
    object_id = models.CharField(_("object id"), max_length=128)
    title = models.CharField(_("title"), max_length=500)
    text = models.TextField(_("text"), help_text=_("What the encoder and the lexical index read."))
    category = models.CharField(_("category"), max_length=255, blank=True)
    brand = models.CharField(_("brand"), max_length=255, blank=True)
    price = models.DecimalField(_("indicative price"), max_digits=15, decimal_places=3, null=True, blank=True)
    currency = models.CharField(_("currency"), max_length=3, blank=True)
    margin = models.DecimalField(
        _("margin"),
        max_digits=15,
        decimal_places=3,
        null=True,
        blank=True,
        help_text=_("What the shop earns with one, in the currency of the price. Never shown to shoppers."),
    )
    url = models.CharField(_("URL"), max_length=2000, blank=True)
    image = models.CharField(_("image"), max_length=2000, blank=True)
    attributes = models.JSONField(_("attributes"), default=dict, blank=True)
    is_available = models.BooleanField(_("in stock"), default=True)
    is_active = models.BooleanField(_("active"), default=True, help_text=_("Hidden or deleted items are inactive."))
    text_hash = models.CharField(_("text hash"), max_length=32)
    source_hash = models.CharField(
        _("source hash"),
        max_length=32,
        blank=True,
        help_text=_("Hash of the object's own columns when they were last read."),
    )
    first_seen_at = models.DateTimeField(_("first seen"), default=timezone.now)
    updated_at = models.DateTimeField(_("updated"), default=timezone.now, db_index=True)

    class Meta:
        verbose_name = _("item")
        verbose_name_plural = _("items")
        indexes = [models.Index(fields=["label", "object_id"], name="recommender_item_object")]

    def __str__(self) -> str:
        return self.title or self.item_id


class PriceChange(models.Model):
    """A price that an item had until it changed; its present price is on its own row."""

    item = models.ForeignKey(Item, models.CASCADE, related_name="past_prices")
    price = models.DecimalField(_("price"), max_digits=15, decimal_places=3)
    currency = models.CharField(_("currency"), max_length=3, blank=True)
    ended_at = models.DateTimeField(_("until"), default=timezone.now, db_index=True)

    class Meta:
        verbose_name = _("past price")
        verbose_name_plural = _("past prices")
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.price} {self.currency}".strip()


class ItemVector(models.Model):
    """The vector of one item's text under one encoder: little-endian float32, unit length."""

    item = models.ForeignKey(Item, models.CASCADE, related_name="vectors")
    encoder_hash = models.CharField(max_length=32)
    text_hash = models.CharField(max_length=32)
    vector = models.BinaryField()
    updated_at = models.DateTimeField(default=timezone.now, db_index=True)

    class Meta:
        verbose_name = _("item vector")
        verbose_name_plural = _("item vectors")
        constraints = [models.UniqueConstraint(fields=["item", "encoder_hash"], name="recommender_vector_once")]

    def __str__(self) -> str:
        return f"{self.item_id} ({self.encoder_hash})"


class ItemStatistics(models.Model):
    """What shoppers did with one item, recomputed from events.

    Neighbours are lists of `[item_id, similarity]`, best first, by: cosine of co-occurrence in one order and in one
    visitor's history; regression over all items of its buyers; what they bought in their next order.
    """

    item = models.OneToOneField(Item, models.CASCADE, related_name="statistics", verbose_name=_("item"))
    n_1 = models.FloatField(_("last day"), default=0)
    n_7 = models.FloatField(_("last 7 days"), default=0)
    n_30 = models.FloatField(_("last 30 days"), default=0)
    n_total = models.FloatField(_("ever"), default=0)
    last_event_at = models.DateTimeField(_("last event"), null=True, blank=True)
    first_event_at = models.DateTimeField(_("first event"), null=True, blank=True)
    basket_neighbours = models.JSONField(_("bought in one order"), default=list, blank=True)
    visitor_neighbours = models.JSONField(_("chosen by one visitor"), default=list, blank=True)
    regression_neighbours = models.JSONField(_("by regression over its buyers"), default=list, blank=True)
    sequel_neighbours = models.JSONField(_("bought in the next order"), default=list, blank=True)
    computed_at = models.DateTimeField(_("computed"), default=timezone.now, db_index=True)

    class Meta:
        verbose_name = _("item statistics")
        verbose_name_plural = _("item statistics")

    def __str__(self) -> str:
        return gettext("%(item)s: %(n)s in 30 days") % {"item": self.item_id, "n": f"{self.n_30:g}"}


def margins() -> Margins:
    """What the shop earns with one of each item, as its Catalog says now. One query."""
    rows = Item.objects.filter(margin__isnull=False).values_list("item_id", "currency", "margin")
    return {(item_id, currency): margin for item_id, currency, margin in rows.iterator() if margin is not None}
