"""Work that comes back by itself, and the workers that do it."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _


class Job(models.Model):
    """One kind of recurring work: who does it now, when it last ran, and how that ended. Few rows, one a kind."""

    name = models.CharField(_("name"), max_length=40, unique=True)
    held_by = models.CharField(_("held by"), max_length=100, blank=True)
    held_until = models.DateTimeField(_("held until"), null=True, blank=True)
    wanted_at = models.DateTimeField(
        _("wanted"), null=True, blank=True, help_text=_("When something was saved that this work is about.")
    )
    started_at = models.DateTimeField(_("last started"), null=True, blank=True)
    finished_at = models.DateTimeField(_("last finished"), null=True, blank=True)
    error = models.TextField(_("error"), blank=True, help_text=_("Why the last one failed; empty where it did not."))

    class Meta:
        verbose_name = _("recurring job")
        verbose_name_plural = _("recurring jobs")

    def __str__(self) -> str:
        return self.name


class Worker(models.Model):
    """A process of `recommender_worker` that is alive while it beats."""

    name = models.CharField(_("name"), max_length=100, unique=True)
    does = models.CharField(_("does"), max_length=40)
    beat_at = models.DateTimeField(_("last heartbeat"))

    class Meta:
        verbose_name = _("worker")
        verbose_name_plural = _("workers")

    def __str__(self) -> str:
        return self.name
