"""Visitors, their events and the lists that they were shown."""

from __future__ import annotations

import uuid
from typing import Any, ClassVar

from django.db import IntegrityError, models
from django.utils import timezone
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from recommender.models.encryption import EncryptedTextField
from recommender.models.words import WORDS, words_of
from recommender.types import EventType, Rung, Slot


def _choices(names: type[EventType] | type[Slot] | type[Rung]) -> list[tuple[str, Any]]:
    return [(name.value, WORDS[name.value]) for name in names]


class Visitor(models.Model):
    """One browser or app, identified by `key`; `user_key` links it to at most one user of the shop, reversibly.

    The history of a signed-in user is that of all visitors with the user's key. The shop's own orders belong to a
    separate visitor of the user, created by `identity.visitor_of_user`.
    """

    key = models.UUIDField(_("key"), default=uuid.uuid4, unique=True, editable=False)
    user_key = models.CharField(_("user"), max_length=64, null=True, blank=True, db_index=True)
    has_consented = models.BooleanField(_("consented"), default=True)
    is_profiled = models.BooleanField(_("personalised"), default=True)
    is_pseudonymous = models.BooleanField(
        _("training only"),
        default=False,
        db_default=False,
        help_text=_("Orders are used for training, but not to recommend to this visitor."),
    )
    has_objected = models.BooleanField(
        _("objected"),
        default=False,
        db_default=False,
        help_text=_("Orders made without consent are never used for training."),
    )
    is_bot = models.BooleanField(_("bot"), default=False)
    device = models.CharField(_("device"), max_length=16, blank=True)
    first_seen_at = models.DateTimeField(_("first seen"), default=timezone.now)
    last_seen_at = models.DateTimeField(_("last seen"), default=timezone.now, db_index=True)
    segment = models.ForeignKey(
        "recommender.Segment",
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="visitors",
        verbose_name=_("segment"),
    )
    corrections = models.JSONField(
        _("corrected interests"), null=True, blank=True, help_text=_("Interests that staff pinned or muted.")
    )
    entered = models.JSONField(
        _("experiments"), null=True, blank=True, help_text=_("Experiments of a segment that showed a list.")
    )

    class Meta:
        verbose_name = _("visitor")
        verbose_name_plural = _("visitors")

    def __str__(self) -> str:
        if self.user_key:
            return gettext("user %s") % self.user_key
        return gettext("visitor %s") % str(self.key)[:8]


class Event(models.Model):
    """One event, stored once per `message_id`. Without a visitor it counts only for popularity and co-purchase."""

    message_id = models.CharField(_("message id"), max_length=160, unique=True)
    visitor = models.ForeignKey(
        Visitor,
        models.CASCADE,
        null=True,
        blank=True,
        db_index=False,  # the index of histories begins with it
        related_name="events",
        verbose_name=_("visitor"),
    )
    type = models.CharField(_("type"), max_length=20, choices=_choices(EventType))
    item_id = models.CharField(_("item id"), max_length=128, blank=True)
    query = EncryptedTextField(_("query"), blank=True)
    occurred_at = models.DateTimeField(_("occurred"))
    received_at = models.DateTimeField(_("received"), default=timezone.now)
    quantity = models.FloatField(_("quantity"), default=1)
    price = models.DecimalField(_("unit price"), max_digits=15, decimal_places=3, null=True, blank=True)
    currency = models.CharField(_("currency"), max_length=3, blank=True)
    order_id = models.CharField(_("order"), max_length=128, blank=True)
    ranking_id = models.UUIDField(_("ranking"), null=True, blank=True)
    position = models.PositiveSmallIntegerField(_("position"), null=True, blank=True)
    source = models.CharField(_("source"), max_length=10, default="page", help_text=_("page, api, order or signal"))
    device = models.CharField(_("device"), max_length=16, blank=True)
    region = models.CharField(_("region"), max_length=32, blank=True)
    is_bot = models.BooleanField(_("bot"), default=False)

    class Meta:
        verbose_name = _("event")
        verbose_name_plural = _("events")
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["visitor", "-occurred_at"], name="recommender_event_history"),
            models.Index(fields=["occurred_at"], name="recommender_event_time"),
            models.Index(fields=["item_id", "occurred_at"], name="recommender_event_item"),
            models.Index(fields=["occurred_at"], name="recommender_event_query", condition=~models.Q(query="")),
        ]

    def __str__(self) -> str:
        return f"{words_of(self.type)} {self.item_id or self.query}".strip()

    def _do_insert(self, manager: Any, using: str | None, *arguments: Any) -> Any:
        """Raises IntegrityError for a repeated message id also where a trigger skips it, in a table divided by month:
        Django 5.2 then gets no row with the new key, and would fail at reading it."""
        returned = super()._do_insert(manager, using, *arguments)  # type: ignore[misc]
        if returned and returned[0] is None:
            raise IntegrityError(f"An event with the message id {self.message_id!r} is stored already.")
        return returned


class Impression(models.Model):
    """A list that was shown (event type `view_item_list`), one row per list.

    `item_ids` are in the order shown, from position `first_position` on; `propensities` is parallel to them, 1.0 at
    positions without exploration. `rules` are the ids of the rules that matched, negative where the visitor was held
    out; None where none did.
    """

    ranking_id = models.UUIDField(_("ranking"), primary_key=True, default=uuid.uuid4, editable=False)
    visitor = models.ForeignKey(
        Visitor, models.CASCADE, null=True, blank=True, related_name="impressions", verbose_name=_("visitor")
    )
    slot = models.CharField(_("slot"), max_length=20, choices=_choices(Slot))
    query = EncryptedTextField(_("query"), blank=True)
    current_item_id = models.CharField(_("shown beside item"), max_length=128, blank=True)
    item_ids = models.JSONField(_("items"), default=list)
    propensities = models.JSONField(_("propensities"), default=list, blank=True)
    pool = models.JSONField(
        _("explored among"),
        null=True,
        blank=True,
        help_text=_("The items of which one was drawn for the last position, the model's own choice first."),
    )
    arms = models.CharField(
        _("arms"), max_length=80, blank=True, db_default="", help_text=_("Experiments, each with the arm: a, b or ab.")
    )
    teams = models.CharField(
        _("teams"),
        max_length=100,
        blank=True,
        db_default="",
        help_text=_("Which arm chose the item of each position, where both did in turns."),
    )
    first_position = models.PositiveSmallIntegerField(_("first position"), default=1)
    n_found = models.PositiveIntegerField(
        _("found"), null=True, blank=True, help_text=_("How many items matched the words of a search.")
    )
    rung = models.CharField(_("served by"), max_length=12, choices=_choices(Rung))
    bundle = models.CharField(_("bundle"), max_length=64, blank=True)
    source = models.CharField(_("source"), max_length=10, default="page")
    device = models.CharField(_("device"), max_length=16, blank=True)
    is_bot = models.BooleanField(_("bot"), default=False)
    occurred_at = models.DateTimeField(_("shown"), default=timezone.now, db_index=True)
    rules = models.JSONField(_("rules"), null=True, blank=True)

    class Meta:
        verbose_name = _("impression")
        verbose_name_plural = _("impressions")
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["visitor", "-occurred_at"], name="recommender_shown_history"),
            models.Index(fields=["occurred_at"], name="recommender_shown_query", condition=~models.Q(query="")),
            models.Index(
                fields=["occurred_at"], name="recommender_shown_rules", condition=models.Q(rules__isnull=False)
            ),
        ]

    def __str__(self) -> str:
        n = len(self.item_ids)
        return ngettext("%(slot)s, %(n)d item", "%(slot)s, %(n)d items", n) % {"slot": words_of(self.slot), "n": n}
