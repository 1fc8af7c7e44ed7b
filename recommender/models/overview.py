"""What the overview shows: sums by hour that name nobody, and queries that several people typed."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from recommender.models.encryption import EncryptedTextField
from recommender.models.words import words_of


class HourlyFigures(models.Model):
    """Lists of one hour, slot, rung and arm, and what they led to within the window of attribution.

    `arm` is what served the list: the arms of the experiments that it was shown in, such as "7a 9b", else the name of
    the bundle, empty where none did. `n_clicked`, `n_carted` and
    `n_ordered` count lists, `n_clicks`, `n_carts` and `n_orders` the items in them.
    """

    hour = models.DateTimeField(_("hour"))
    slot = models.CharField(_("slot"), max_length=20)
    rung = models.CharField(_("served by"), max_length=12)
    arm = models.CharField(_("arm"), max_length=64, blank=True)
    n_lists = models.PositiveIntegerField(_("impressions"), default=0)
    n_clicked = models.PositiveIntegerField(_("impressions with a click"), default=0)
    n_carted = models.PositiveIntegerField(_("impressions with an item put into the cart"), default=0)
    n_ordered = models.PositiveIntegerField(_("impressions with an order"), default=0)
    n_clicks = models.PositiveIntegerField(_("clicks"), default=0)
    n_carts = models.PositiveIntegerField(_("carts"), default=0)
    n_orders = models.PositiveIntegerField(_("items ordered"), default=0)

    class Meta:
        verbose_name = _("figures of an hour")
        verbose_name_plural = _("figures by hour")
        default_permissions = ()
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["hour", "slot", "rung", "arm"], name="recommender_figures_once"),
        ]

    def __str__(self) -> str:
        return f"{self.hour:%Y-%m-%d %H} {words_of(self.slot)} {self.arm}".strip()


class HourlyRevenue(models.Model):
    """Revenue of the same lists in one currency.

    `squares` is the sum of the squared revenue of each list, from which the spread between lists follows. `margin` is
    None while no Catalog says what an item costs the shop.
    """

    hour = models.DateTimeField(_("hour"))
    slot = models.CharField(_("slot"), max_length=20)
    rung = models.CharField(_("served by"), max_length=12)
    arm = models.CharField(_("arm"), max_length=64, blank=True)
    currency = models.CharField(_("currency"), max_length=3, blank=True)
    n_lists = models.PositiveIntegerField(_("impressions with revenue"), default=0)
    revenue = models.DecimalField(_("revenue"), max_digits=18, decimal_places=3, default=0)
    squares = models.FloatField(default=0)
    margin = models.DecimalField(_("margin"), max_digits=18, decimal_places=3, null=True)

    class Meta:
        verbose_name = _("revenue of an hour")
        verbose_name_plural = _("revenue by hour")
        default_permissions = ()
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["hour", "slot", "rung", "arm", "currency"], name="recommender_revenue_once"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.hour:%Y-%m-%d %H} {self.revenue} {self.currency}".strip()


class HourlyTraffic(models.Model):
    """Events and searches of one hour; one row for each hour that was counted, also where nothing happened.

    A query that one person repeats within the hour is one search. `n_answered` of them got a list of ours, and in
    `n_unmatched` of these no item matched the words.
    """

    hour = models.DateTimeField(_("hour"), unique=True)
    n_events = models.PositiveIntegerField(_("events"), default=0)
    n_searches = models.PositiveIntegerField(_("searches"), default=0)
    n_answered = models.PositiveIntegerField(_("searches with a list"), default=0)
    n_unmatched = models.PositiveIntegerField(_("searches without a result"), default=0)
    computed_at = models.DateTimeField(_("computed"), default=timezone.now)

    class Meta:
        verbose_name = _("traffic of an hour")
        verbose_name_plural = _("traffic by hour")
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.hour:%Y-%m-%d %H}"


class AnswerTimes(models.Model):
    """How many lists of one hour, slot and rung were ready within `within_ms` and not within the bound before it.

    Counted by every web process, also for shoppers without consent. `within_ms` is 0 beyond the last bound.
    """

    hour = models.DateTimeField(_("hour"))
    slot = models.CharField(_("slot"), max_length=20)
    rung = models.CharField(_("served by"), max_length=12)
    within_ms = models.PositiveIntegerField(_("within milliseconds"))
    n = models.PositiveIntegerField(_("lists"), default=0)

    class Meta:
        verbose_name = _("times of answers")
        verbose_name_plural = _("times of answers")
        default_permissions = ()
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["hour", "slot", "rung", "within_ms"], name="recommender_times_once"),
        ]

    def __str__(self) -> str:
        return f"{self.hour:%Y-%m-%d %H} {words_of(self.slot)} ≤ {self.within_ms} ms"


class QueryFigures(models.Model):
    """How often a query was searched in the last `n_days` days, today included; computed anew every hour.

    A row has a text only if enough people searched it often enough (`FEWEST_PEOPLE`, `FEWEST_EVENTS`); all other
    queries are one row without a text, in which `n_queries` says how many they are.
    """

    n_days = models.PositiveSmallIntegerField(_("days"), db_index=True)
    query = EncryptedTextField(_("query"), blank=True)
    n_queries = models.PositiveIntegerField(_("queries"), default=1)
    n_people = models.PositiveIntegerField(_("people"), default=0)
    n_searches = models.PositiveIntegerField(_("searches"), default=0)
    n_answered = models.PositiveIntegerField(_("searches with a list"), default=0)
    n_unmatched = models.PositiveIntegerField(_("searches without a result"), default=0)
    computed_at = models.DateTimeField(_("computed"), default=timezone.now, db_index=True)

    class Meta:
        verbose_name = _("figures of a query")
        verbose_name_plural = _("figures by query")
        default_permissions = ()

    def __str__(self) -> str:
        return self.query or "…"


class Overview(HourlyFigures):
    """The overview's entry in the admin, with a permission of its own: `view_overview`."""

    class Meta:
        proxy = True
        verbose_name = _("overview")
        verbose_name_plural = _("overview")
        default_permissions = ("view",)
