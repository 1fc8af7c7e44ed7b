"""The ready lists by name: what each means, its columns, and how its rows come about; for pages, files and webhooks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext_lazy as _

from recommender.outreach.prices import price_drops
from recommender.outreach.rhythms import due_items, win_back

Rows = Iterable[Any]


@dataclass(frozen=True, slots=True)
class ReadyList:
    """One list: its words, how its rows come about, and a row as cells; the first cell is the key of the user."""

    title: Any
    meaning: Any
    columns: tuple[tuple[str, Any], ...]
    rows: Callable[..., Rows]
    cells: Callable[[Any], tuple[Any, ...]]


LISTS: dict[str, ReadyList] = {
    "win-back": ReadyList(
        _("Win back"),
        _("Bought on at least two days, and silent for longer than one and a half times their usual pause."),
        (
            ("user", _("user")),
            ("orders", _("orders")),
            ("last_order", _("last order")),
            ("rhythm_days", _("usual pause, days")),
            ("silent_days", _("silent for, days")),
        ),
        win_back,
        lambda row: (row.user_key, row.n_orders, row.last_order_on, round(row.rhythm_days, 1), row.silent_days),
    ),
    "due": ReadyList(
        _("Due again"),
        _("Bought several times, and by the person's own pauses due now: what the list “buy again” shows."),
        (
            ("user", _("user")),
            ("item", _("item id")),
            ("title", _("title")),
            ("orders", _("orders of it")),
            ("last_order", _("last order")),
            ("cycle_days", _("bought every, days")),
            ("overdue_days", _("overdue by, days")),
        ),
        due_items,
        lambda row: (
            row.user_key,
            row.item_id,
            row.title,
            row.n_orders,
            row.last_order_on,
            round(row.cycle_days, 1),
            round(row.overdue_days, 1),
        ),
    ),
    "prices": ReadyList(
        _("Price drops"),
        # xgettext:no-python-format
        _("Looked at in the last 30 days, not bought since, and at least 5 % cheaper than at the last look."),
        (
            ("user", _("user")),
            ("item", _("item id")),
            ("title", _("title")),
            ("viewed", _("looked at")),
            ("price_then", _("price then")),
            ("price_now", _("price now")),
            ("currency", _("currency")),
            ("fall_percent", _("fall, %")),
        ),
        price_drops,
        lambda row: (
            row.user_key,
            row.item_id,
            row.title,
            row.viewed_at.date(),
            row.price_then,
            row.price_now,
            row.currency,
            round(100 * row.fall, 1),
        ),
    ),
}


def cells_by_name(ready: ReadyList, row: Any) -> dict[str, Any]:
    """The cells of a row by the names of their columns."""
    return dict(zip((name for name, _label in ready.columns), ready.cells(row), strict=True))
