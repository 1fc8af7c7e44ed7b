"""What every check of these shops asks: the events that were stored, and a browser that has consented."""

from django.test import Client

from recommender.models import Event

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"


def browser():
    client = Client(headers={"user-agent": FIREFOX})
    client.cookies["recommender_consent"] = "granted"
    return client


def events(*names):
    """The stored events by these columns, sorted."""
    return sorted(Event.objects.values_list(*names), key=str)


def happened():
    """`(type, item or query, quantity)` of each stored event that is not an order's."""
    rows = Event.objects.exclude(type__in=("purchase", "refund")).values_list("type", "item_id", "query", "quantity")
    return sorted((kind, item or query, quantity) for kind, item, query, quantity in rows)
