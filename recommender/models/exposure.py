"""How much of the attention of shoppers each brand, category and other group of items gets, by day, and its floors."""

from __future__ import annotations

from typing import ClassVar

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils.translation import gettext, pgettext_lazy
from django.utils.translation import gettext_lazy as _


class ExposureDay(models.Model):
    """How far the lists of a day are counted. A day is counted once more after it is over, for what came late."""

    day = models.DateField(_("day"), unique=True)
    counted_until = models.DateTimeField(_("counted until"))
    is_final = models.BooleanField(_("final"), default=False)

    class Meta:
        verbose_name = _("counted day")
        verbose_name_plural = _("counted days")
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.day}"


class GroupExposure(models.Model):
    """Exposure of one group of items in the lists of a day and arm; the row without an attribute is of all items.

    `arm` is the name of the bundle that served. `squares` sums the squared exposure of each list, `cross` its product
    with the exposure of the whole list: from both follows how sure the share is. `n_places` counts items shown.
    """

    day = models.DateField(_("day"))
    arm = models.CharField(_("arm"), max_length=64, blank=True)
    attribute = models.CharField(_("attribute"), max_length=64, blank=True)
    value = models.CharField(_("value"), max_length=255, blank=True)
    n_lists = models.PositiveIntegerField(_("lists"), default=0)
    n_places = models.PositiveIntegerField(_("places"), default=0)
    exposure = models.FloatField(_("exposure"), default=0)
    squares = models.FloatField(_("sum of squares"), default=0)
    cross = models.FloatField(_("sum of products"), default=0)

    class Meta:
        verbose_name = _("exposure of a group")
        verbose_name_plural = _("exposure of groups")
        default_permissions = ()
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["day", "arm", "attribute", "value"], name="recommender_exposure_once"),
        ]

    def __str__(self) -> str:
        return f"{self.day} {self.attribute} {self.value}".strip()


class GroupFigures(models.Model):
    """What a group has of the catalogue and of the demand on one day."""

    day = models.DateField(_("day"))
    attribute = models.CharField(_("attribute"), max_length=64)
    value = models.CharField(_("value"), max_length=255, blank=True)
    n_items = models.PositiveIntegerField(_("items"), default=0)
    n_orders = models.PositiveIntegerField(_("items ordered"), default=0)
    n_clicks = models.PositiveIntegerField(_("items looked at"), default=0)

    class Meta:
        verbose_name = _("figures of a group")
        verbose_name_plural = _("figures of groups")
        default_permissions = ()
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["day", "attribute", "value"], name="recommender_group_once"),
        ]

    def __str__(self) -> str:
        return f"{self.day} {self.attribute} {self.value}".strip()


class ExposureFloor(models.Model):
    """What share of the exposure a group must get at least, as a part of its share of the catalogue or the demand."""

    class Basis(models.TextChoices):
        CATALOGUE = "catalogue", pgettext_lazy("share of", "the catalogue")
        DEMAND = "demand", pgettext_lazy("share of", "the demand")

    attribute = models.CharField(
        _("attribute"), max_length=64, help_text=_("brand, category, price, newness, or one of EXPOSURE_ATTRIBUTES.")
    )
    value = models.CharField(
        _("value"),
        max_length=255,
        blank=True,
        help_text=_("As the items have it; of price 1 (cheapest quarter) to 4, of newness new or older."),
    )
    basis = models.CharField(_("its share of"), max_length=9, choices=Basis, default=Basis.CATALOGUE)
    part = models.FloatField(
        _("at least so much of that"),
        default=0.5,
        validators=[MinValueValidator(0.01), MaxValueValidator(10.0)],
        # xgettext:no-python-format
        help_text=_("0.5: a group with 10 % of the catalogue must get 5 % of the exposure."),
    )

    class Meta:
        verbose_name = _("floor of exposure")
        verbose_name_plural = _("floors of exposure")
        ordering: ClassVar[list[str]] = ["attribute", "value"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["attribute", "value", "basis"], name="recommender_floor_once"),
        ]

    def __str__(self) -> str:
        return gettext("%(group)s: %(part)g of its share of %(basis)s") % {
            "group": f"{self.attribute} {self.value}".strip(),
            "part": self.part,
            "basis": self.get_basis_display(),
        }


class Exposure(GroupExposure):
    """The page of exposure in the admin, with a permission of its own: `view_exposure`."""

    class Meta:
        proxy = True
        verbose_name = _("exposure")
        verbose_name_plural = _("exposure")
        default_permissions = ("view",)
