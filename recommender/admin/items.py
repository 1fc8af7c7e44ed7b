"""Items and their statistics as the recommender stores them, to read; they are changed in the shop's own admin."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from django.contrib import admin
from django.utils import formats
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from recommender.admin.filters import LabelFilter
from recommender.admin.numbers import local
from recommender.admin.readonly import ReadOnlyAdmin
from recommender.catalog import values
from recommender.models import Item, ItemStatistics

N_NEIGHBOURS = 10


def titles_of(item_ids: Iterable[str]) -> dict[str, str]:
    """Return the title of each known item; one query, none for no id."""
    present = {item_id for item_id in item_ids if item_id}
    return dict(Item.objects.filter(item_id__in=present).values_list("item_id", "title")) if present else {}


def listed(item_ids: Sequence[str], *, start: int = 1, notes: Sequence[str] = ()) -> SafeString:
    """Return items as a numbered list of titles, each with its note. One query."""
    titles = titles_of(item_ids)
    rows = format_html_join(
        "",
        '<li>{} <span class="rec-quiet">{} {}</span></li>',
        ((titles.get(item_id, ""), item_id, notes[n] if n < len(notes) else "") for n, item_id in enumerate(item_ids)),
    )
    return format_html('<ol class="rec-list" start="{}">{}</ol>', start, rows) if item_ids else SafeString("—")


@admin.register(Item)
class ItemAdmin(ReadOnlyAdmin):
    list_display = (
        "title", "item_id", "category", "price_shown", "currency", "is_available", "is_active", "updated_at",
    )  # fmt: skip
    exclude = ("price", "source_hash", "margin")
    readonly_fields = ("price_shown",)
    list_filter = ("is_active", "is_available", LabelFilter, "updated_at")
    search_fields = ("title", "item_id__exact", "category")
    search_help_text = _("Words of the title or category, or the item id")
    ordering = ("-updated_at",)
    sortable_by = ("updated_at",)

    @admin.display(description=Item._meta.get_field("price").verbose_name)
    def price_shown(self, item: Item) -> str:
        """With the decimals of its currency: the column has three."""
        if item.price is None:
            return self.get_empty_value_display()
        return formats.number_format(item.price, decimal_pos=values.digits(item.currency))


@admin.register(ItemStatistics)
class ItemStatisticsAdmin(ReadOnlyAdmin):
    list_display = ("item", "n_1", "n_7", "n_30", "n_total", "last_event_at")
    list_select_related = ("item",)
    search_fields = ("item__title", "item__item_id__exact")
    search_help_text = _("Words of the item's title, or the item id")
    ordering = ("-n_30",)
    sortable_by = ("n_1", "n_7", "n_30", "n_total")
    exclude = ("basket_neighbours", "visitor_neighbours")
    readonly_fields = ("bought_together", "bought_by_the_same")

    @admin.display(description=_("bought together with"))
    def bought_together(self, statistics: ItemStatistics) -> SafeString:
        return _neighbours(statistics.basket_neighbours)

    @admin.display(description=_("bought by the same people"))
    def bought_by_the_same(self, statistics: ItemStatistics) -> SafeString:
        return _neighbours(statistics.visitor_neighbours)


def _neighbours(pairs: list[Any]) -> SafeString:
    best = [pair for pair in pairs if len(pair) == 2][:N_NEIGHBOURS]  # who works here sees no single order either
    return listed([pair[0] for pair in best], notes=[f"· {local(pair[1], '.2f')}" for pair in best])
