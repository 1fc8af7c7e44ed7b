"""Finds the user of an order by its e-mail address."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.base_user import BaseUserManager
from django.db.models import Q
from django.db.models.functions import Lower

ADDRESSES_PER_QUERY = 500


def users_by_address(addresses: Iterable[Any]) -> dict[Any, Any]:
    """The user's primary key of each address that has one, without regard to case. A query for each 500 addresses."""
    written = list(dict.fromkeys(address for address in addresses if address))
    user_model = get_user_model()
    field = user_model.get_email_field_name()
    by_address: dict[str, Any] = {}
    exact: dict[str, Any] = {}
    for start in range(0, len(written), ADDRESSES_PER_QUERY):
        part = written[start : start + ADDRESSES_PER_QUERY]
        users = user_model._default_manager.annotate(recommender_address=Lower(field))
        same = Q(recommender_address__in=[address.lower() for address in part]) | Q(**{f"{field}__in": part})
        for pk, address in users.filter(same).order_by("-pk").values_list("pk", field):
            by_address[address.lower()] = exact[address] = pk
    normalised = {address: BaseUserManager.normalize_email(address) for address in written}
    return {address: exact.get(normalised[address], by_address.get(address.lower())) for address in written}
