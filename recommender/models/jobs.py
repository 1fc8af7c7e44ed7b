"""Recurring jobs and the workers that run them."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _


class Job(models.Model):
    """One recurring job: who runs it now, when it last ran and how that ended. One row per job."""

    name = models.CharField(_("name"), max_length=40, unique=True)
    held_by = models.CharField(_("held by"), max_length=100, blank=True)
    held_until = models.DateTimeField(_("held until"), null=True, blank=True)
    wanted_at = models.DateTimeField(
        _("wanted"), null=True, blank=True, help_text=_("When something changed that this job has to process.")
    )
    started_at = models.DateTimeField(_("last started"), null=True, blank=True)
    finished_at = models.DateTimeField(_("last finished"), null=True, blank=True)
    error = models.TextField(_("error"), blank=True, help_text=_("Why it failed last time; empty if it succeeded."))

    class Meta:
        verbose_name = _("recurring job")
        verbose_name_plural = _("recurring jobs")

    def __str__(self) -> str:
        return self.name


class Worker(models.Model):
    """A process of `recommender_worker`; it is alive while its heartbeat is recent."""

    name = models.CharField(_("name"), max_length=100, unique=True)
    does = models.CharField(_("work"), max_length=40)
    beat_at = models.DateTimeField(_("last heartbeat"))

    class Meta:
        verbose_name = _("worker")
        verbose_name_plural = _("workers")

    def __str__(self) -> str:
        return self.name


class Health(Job):
    """The health page's entry in the admin, with a permission of its own: `view_health`."""

    class Meta:
        proxy = True
        verbose_name = _("health")
        verbose_name_plural = _("health")
        default_permissions = ("view",)
