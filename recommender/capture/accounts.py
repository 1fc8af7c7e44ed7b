"""Erases a person when the shop deletes their account.

Only `Model.delete()` and `QuerySet.delete()` send a signal: a shop that anonymises accounts, or deletes them in SQL,
calls `erasure.request_erasure(user_key=...)` itself.
"""

from __future__ import annotations

import logging
from typing import Any

from django.apps import apps
from django.contrib.auth import get_user_model
from django.db.models.signals import post_delete

from recommender.capture.erasure import request_erasure
from recommender.identity import user_key_of
from recommender.models import Erasure, Visitor
from recommender.models.connections import apart_once

logger = logging.getLogger(__name__)


def connect() -> None:
    """Follow the deletion of users, of proxies of the user model too; safe to call again."""
    users = get_user_model()
    for model in apps.get_models():
        if issubclass(model, users):
            post_delete.connect(_on_deletion, sender=model, dispatch_uid=f"recommender.accounts.{model._meta.label}")


def _on_deletion(*, instance: Any, **_: Any) -> None:
    """Request the erasure in the transaction of the deletion, so that both happen or neither. Never raises."""
    user_key = user_key_of(instance)
    try:
        with apart_once():
            if Visitor.objects.filter(user_key=user_key).exists():
                request_erasure(user_key=user_key, trigger=Erasure.Trigger.ACCOUNT)
    except Exception:
        logger.exception("an account was deleted, but its erasure was not requested: run recommender_erase --user")
