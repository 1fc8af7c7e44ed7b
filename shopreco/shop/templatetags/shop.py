"""Tags of the shop's templates: a drawn tile, a price and a link that changes one parameter of the page."""

from decimal import Decimal
from typing import Any

from django import template
from django.template.context import Context
from django.utils.formats import number_format
from django.utils.translation import gettext

from shopreco.shop import tiles
from shopreco.shop.languages import department_in_language, title_in_english

register = template.Library()


@register.inclusion_tag("shop/tile.html")
def tile(title: str) -> dict[str, Any]:
    """Draw a product from its title."""
    return {"tile": tiles.tile(title_in_english(title)), "title": title}


@register.filter
def pounds(amount: Decimal | None) -> str:
    """Write an amount as a price in the language of the page; nothing for none."""
    if amount is None:
        return ""
    number = number_format(amount, 2, force_grouping=True)
    return gettext("£%s") % number


@register.filter
def department(name: str) -> str:
    """The name of a department, or of a category made of it, in the language of the page."""
    return department_in_language(name)


@register.simple_tag(takes_context=True)
def change(context: Context, **parameters: Any) -> str:
    """Write the query string of this page with some parameters changed, those that are None left out."""
    query = context["request"].GET.copy()
    for name, value in parameters.items():
        query.pop(name, None)
        if value is not None:
            query[name] = value
    return f"?{query.urlencode()}"
