"""Which collections of vectors this shop has in its vector engine, and how far they are filled."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _


class VectorCollection(models.Model):
    """One collection: the vectors of one encoder, moved by what one training saw.

    A collection that is complete has had every active item; changes since `synced_until` are not in it yet. n_left_out:
    vectors that are broken. stamp: the number of the last sync that wrote everything.
    """

    encoder_hash = models.CharField(max_length=32)
    delta_hash = models.CharField(max_length=32, blank=True)
    dimension = models.PositiveIntegerField()
    is_complete = models.BooleanField(default=False)
    synced_until = models.DateTimeField(null=True, blank=True)
    n_items = models.PositiveIntegerField(default=0)
    n_left_out = models.PositiveIntegerField(default=0)
    stamp = models.PositiveBigIntegerField(default=0)

    class Meta:
        verbose_name = _("vector collection")
        verbose_name_plural = _("vector collections")
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(fields=["encoder_hash", "delta_hash"], name="recommender_collection_once")
        ]

    def __str__(self) -> str:
        return f"{self.encoder_hash} {self.delta_hash}".strip()
