"""A copy of the loaded demo as it was when its ranker had learned what it knows, and what was bought after that."""

from __future__ import annotations

import datetime as dt
import json
import os
import shutil
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from recommender.types import HISTORY_LIMIT, PastEvent

LATER = "later.json"
"""In the folder of the copy: the moment, and by user the items of each order after it."""

DAYS = 30

Orders = Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class Customer:
    """Somebody with a past who bought later: events before the moment, oldest first; ids of the items of each order."""

    name: str
    history: tuple[PastEvent, ...]
    orders: Orders


def rewind(folder: Path, *, is_untrained: bool = False) -> dt.datetime:
    """Make `folder` such a copy, unless it is one, and return its moment. Raises SystemExit without a trained demo.

    The moment is the beginning of the test window of the newest training: of what came later the bundle has learned
    nothing. Later events are deleted, and the statistics are of the events before. is_untrained: bundle 0 serves
    instead, 30 days before the last order.
    """
    source = Path(os.environ.get("SHOPRECO_VAR", "var"))
    is_ready = (folder / LATER).exists()
    if not is_ready:
        _copy(source, folder)
    os.environ["SHOPRECO_VAR"] = str(folder)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shopreco.settings")
    import django

    django.setup()
    if not is_ready:
        at, later = _cut(is_untrained)
        (folder / LATER).write_text(json.dumps({"at": at.isoformat(), "orders": later}))
    return dt.datetime.fromisoformat(json.loads((folder / LATER).read_text())["at"])


def customers(folder: Path) -> list[Customer]:
    """Everybody who bought before the moment and after it, in the order of their keys."""
    from recommender.models import Visitor
    from recommender.models.claims import PAST_EVENT_COLUMNS, past_events

    later: Mapping[str, Orders] = json.loads((folder / LATER).read_text())["orders"]
    returning = []
    for visitor in Visitor.objects.filter(user_key__in=later).order_by("user_key"):
        newest_first = visitor.events.order_by("-occurred_at", "-pk").values_list(*PAST_EVENT_COLUMNS)
        events = list(newest_first[:HISTORY_LIMIT])
        if events:
            returning.append(Customer(str(visitor.user_key), past_events(events), later[str(visitor.user_key)]))
    return returning


def _copy(source: Path, folder: Path) -> None:
    if not (source / "shop.sqlite3").exists():
        raise SystemExit(f"{source} holds no demo. Run `make demo` first, or point SHOPRECO_VAR at a loaded one.")
    shutil.copytree(source / "recommender", folder / "recommender", dirs_exist_ok=True)
    database = f"file:{source / 'shop.sqlite3'}?mode=ro"
    with sqlite3.connect(database, uri=True) as old, sqlite3.connect(folder / "shop.sqlite3") as new:
        old.backup(new)


def _cut(is_untrained: bool) -> tuple[dt.datetime, dict[str, list[list[str]]]]:
    """Delete what the bundle has not learned from, and let it serve; return the later orders by user."""
    from django.core.management import call_command

    from recommender import bundles
    from recommender.datasets import statistics
    from recommender.models import Bundle, Event

    call_command("migrate", verbosity=0)
    trained = Bundle.objects.filter(is_trained=True, manifest__has_key="learned_until").order_by("-created_at").first()
    if is_untrained:
        bundle = bundles.untrained()
        at = Event.objects.filter(type="purchase").latest("occurred_at").occurred_at - dt.timedelta(days=DAYS)
    elif trained is None:
        raise SystemExit("The demo has no trained bundle. Wait for its training, or measure with --untrained.")
    else:
        bundle, at = trained, dt.datetime.fromtimestamp(trained.manifest["learned_until"], dt.UTC)
    later = _later(at)
    Event.objects.filter(occurred_at__gte=at).delete()
    statistics.refresh_statistics(at=at)
    bundles.promote(bundle)
    return at, later


def _later(at: dt.datetime) -> dict[str, list[list[str]]]:
    from recommender.models import Event, Item

    items = set(Item.objects.filter(is_active=True).values_list("item_id", flat=True))
    bought = Event.objects.filter(type="purchase", occurred_at__gte=at, visitor__user_key__isnull=False)
    columns = ("visitor__user_key", "order_id", "item_id")
    orders: dict[str, dict[str, list[str]]] = {}
    for user, order, item in bought.order_by("occurred_at", "pk").values_list(*columns):
        if item in items:
            orders.setdefault(user, {}).setdefault(order, []).append(item)
    return {user: list(own.values()) for user, own in orders.items()}
