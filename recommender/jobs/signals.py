"""Saves that mean work: they leave a mark in SQL, and whoever sends messages hears of the first one of many."""

from __future__ import annotations

import logging
from typing import Any

from django.core import checks
from django.dispatch import Signal

from recommender.jobs import ledger, timing, work
from recommender.signals import items_changed

logger = logging.getLogger(__name__)

wanted = Signal()
"""Sent with `name`, once per `ledger.COALESCE_SECONDS`: there is work of this kind."""


def connect() -> None:
    """Follow items that changed, and check the schedule with the other settings."""
    items_changed.connect(_follow_items, dispatch_uid="recommender_encode")
    checks.register(timing.check_schedule, "recommender")


def _follow_items(sender: Any, **_: Any) -> None:
    try:
        if ledger.want(work.ENCODE):
            wanted.send(sender=None, name=work.ENCODE)
    except Exception:  # a save of the shop stands behind it, and has succeeded; the schedule looks every minute
        logger.exception("changed items were not marked; they are encoded by the schedule")
