"""A proxy that lists visitors as personas in the admin; a persona is computed from events when it is viewed."""

from django.utils.translation import gettext_lazy as _

from recommender.models.events import Visitor


class Persona(Visitor):
    """A visitor, described by past events. Only the `segment` is stored, on the row that an erasure deletes."""

    class Meta:
        proxy = True
        verbose_name = _("persona")
        verbose_name_plural = _("personas")
        permissions = [("correct_persona", "Can pin and mute the interests of a person")]
