"""Corrects the times of a client whose clock is wrong, by what it says the time was when it sent them."""

from __future__ import annotations

import datetime as dt
from typing import Any

from rest_framework.exceptions import ValidationError

from recommender import conf
from recommender.api.problems import Problem
from recommender.api.serializers import UtcDateTimeField

LATENCY = dt.timedelta(seconds=10)
"""What a call may take on its way: a clock that is off by less is taken to be right."""


def offset_of(sent_at: Any, received_at: dt.datetime) -> dt.timedelta:
    """How far the client's clock is behind; nothing where it did not say. Raises `ValidationError` for a
    time that is none, and `Problem` for one further off than events are kept: it does not tell when they happened."""
    if sent_at is None:
        return dt.timedelta()
    try:
        said = UtcDateTimeField().run_validation(sent_at)
    except ValidationError as error:
        raise ValidationError({"sent_at": error.detail}) from error
    offset: dt.timedelta = received_at - said
    if abs(offset) > oldest():
        message = f"The client's clock is {abs(offset).days} days off. Set it, and date the events anew."
        raise Problem("invalid-request", message, {"sent_at": message})
    return offset if abs(offset) > LATENCY else dt.timedelta()


def corrected(occurred_at: dt.datetime, offset: dt.timedelta) -> dt.datetime:
    """The same moment by this server's clock; a time that no clock shows stays as it is, and is refused later."""
    try:
        return occurred_at + offset
    except OverflowError:
        return occurred_at


def oldest() -> dt.timedelta:
    """The age from which an event is not kept."""
    return dt.timedelta(days=conf.get("RETENTION_DAYS"))
