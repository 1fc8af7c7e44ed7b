"""What opens the API beside a browser's cookie: tokens of apps, keys of servers and apps, and who was signed in."""

from __future__ import annotations

import uuid
from typing import ClassVar

from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from recommender.models.events import Visitor


class Scope(models.TextChoices):
    """What a token or a key may be issued for."""

    EVENTS = "events", _("send events")
    LISTS = "lists", _("read lists and search")
    PROFILE = "profile", _("read, change and erase a profile")


def all_scopes() -> list[str]:
    return [scope.value for scope in Scope]


class AppToken(models.Model):
    """One installation of an app. What the app holds is signed, not stored; this row says until when it counts.

    `user_key` is the user whom `POST me/link` signed in; `session_hash` and `account_hash` stand for their session and
    password, so that a sign-out or a new password ends the token. `generation` counts the refresh tokens given out.
    """

    key = models.UUIDField(_("key"), default=uuid.uuid4, unique=True, editable=False)
    visitor = models.ForeignKey(Visitor, models.CASCADE, related_name="tokens", verbose_name=_("visitor"))
    user_key = models.CharField(_("user"), max_length=64, blank=True, db_index=True)
    name = models.CharField(_("name"), max_length=64, blank=True)
    scopes = models.JSONField(_("scopes"), default=all_scopes)
    generation = models.PositiveIntegerField(_("refresh tokens given out"), default=1)
    session_hash = models.CharField(_("hash of the session"), max_length=64, blank=True, db_index=True)
    account_hash = models.CharField(_("hash of the password"), max_length=64, blank=True)
    created_at = models.DateTimeField(_("created"), default=timezone.now)
    refreshed_at = models.DateTimeField(_("last refreshed"), default=timezone.now)
    expires_at = models.DateTimeField(_("expires"), db_index=True)
    revoked_at = models.DateTimeField(_("revoked"), null=True, blank=True)

    class Meta:
        verbose_name = _("app token")
        verbose_name_plural = _("app tokens")

    def __str__(self) -> str:
        return self.name or str(self.key)[:8]


class VisitorLink(models.Model):
    """When an app's visitor was tied to a user by `POST me/link`, how the user proved it, and when it was undone."""

    visitor = models.ForeignKey(Visitor, models.CASCADE, related_name="links", verbose_name=_("visitor"))
    user_key = models.CharField(_("user"), max_length=64, db_index=True)
    authentication = models.CharField(_("proved by"), max_length=128)
    linked_at = models.DateTimeField(_("linked"), default=timezone.now, db_index=True)
    unlinked_at = models.DateTimeField(_("unlinked"), null=True, blank=True)

    class Meta:
        verbose_name = _("link of an app")
        verbose_name_plural = _("links of apps")

    def __str__(self) -> str:
        return f"{self.visitor} → {self.user_key}"


class ApiKey(models.Model):
    """A key of a server or an app, stored as a hash; after a rotation the previous key counts for a while."""

    class Kind(models.TextChoices):
        PUBLISHABLE = "publishable", _("publishable")
        SECRET = "secret", _("secret")

    prefix = models.CharField(_("begins with"), max_length=16, unique=True)
    kind = models.CharField(_("kind"), max_length=12, choices=Kind, default=Kind.PUBLISHABLE)
    name = models.CharField(_("name"), max_length=64, help_text=_("Who uses it, such as “Android app”."))
    scopes = models.JSONField(_("scopes"), default=list, blank=True)
    secret_hash = models.CharField(max_length=64, editable=False)
    previous_hash = models.CharField(max_length=64, blank=True, editable=False)
    previous_until = models.DateTimeField(_("previous key counts until"), null=True, blank=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+", verbose_name=_("created by")
    )
    created_at = models.DateTimeField(_("created"), default=timezone.now)
    last_used_at = models.DateTimeField(_("last used"), null=True, blank=True)
    revoked_at = models.DateTimeField(_("revoked"), null=True, blank=True)

    class Meta:
        verbose_name = _("API key")
        verbose_name_plural = _("API keys")
        ordering: ClassVar[list[str]] = ["-created_at"]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"
