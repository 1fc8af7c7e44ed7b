"""Tags of the shop's templates: a drawn tile, a price and a link that changes one parameter of the page."""

from decimal import Decimal
from typing import Any

from django import template
from django.template.context import Context

from shopreco.shop import tiles

register = template.Library()


@register.inclusion_tag("shop/tile.html")
def tile(title: str) -> dict[str, Any]:
    """Draw a product from its title."""
    return {"tile": tiles.tile(title), "title": title}


@register.filter
def pounds(amount: Decimal | None) -> str:
    """Write an amount as a price; nothing for none."""
    return "" if amount is None else f"£{amount:,.2f}"


@register.simple_tag(takes_context=True)
def change(context: Context, **parameters: Any) -> str:
    """Write the query string of this page with some parameters changed, those that are None left out."""
    query = context["request"].GET.copy()
    for name, value in parameters.items():
        query.pop(name, None)
        if value is not None:
            query[name] = value
    return f"?{query.urlencode()}"
