"""Personas are computed from events when they are looked at: this proxy only gives them a place in the admin."""

from django.utils.translation import gettext_lazy as _

from recommender.models.events import Visitor


class Persona(Visitor):
    """A visitor, seen through what they did. Only the `segment` is stored, on the row that an erasure deletes."""

    class Meta:
        proxy = True
        verbose_name = _("persona")
        verbose_name_plural = _("personas")
