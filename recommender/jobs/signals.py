"""Marks the encoding job when items change, and tells Celery's publisher once for many saves."""

from __future__ import annotations

import logging
from typing import Any

from django.core import checks
from django.dispatch import Signal

from recommender.jobs import ledger, timing, work
from recommender.signals import items_changed

logger = logging.getLogger(__name__)

wanted = Signal()
"""Sent with the job's `name` when it has work, at most once per `ledger.COALESCE_SECONDS`."""


def connect() -> None:
    """Listen to changed items, and register the check of `TRAINING_SCHEDULE`."""
    items_changed.connect(_follow_items, dispatch_uid="recommender_encode")
    checks.register(timing.check_schedule, "recommender")


def _follow_items(sender: Any, **_: Any) -> None:
    try:
        if ledger.want(work.ENCODE):
            wanted.send(sender=None, name=work.ENCODE)
    except Exception:  # must not break the shop's save; the schedule looks every minute
        logger.exception("changed items were not marked; the schedule will encode them")
