"""The entry of the ready lists in the admin: whom a shop may have a reason to write to."""

from django.utils.translation import gettext_lazy as _

from recommender.models.events import Visitor


class Outreach(Visitor):
    """Nothing is stored: the lists are computed from events when they are looked at or exported."""

    class Meta:
        proxy = True
        verbose_name = _("reasons to write")
        verbose_name_plural = _("reasons to write")
        default_permissions = ("view", "export")
