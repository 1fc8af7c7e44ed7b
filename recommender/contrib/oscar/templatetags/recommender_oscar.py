"""The tag of a product page whose manually kept recommendations a list replaces."""

from typing import Any

from django import template

register = template.Library()


@register.simple_tag
def without_recommended(product: Any) -> str:
    """`{% without_recommended product %}`: the page shows no manual recommendations and does not read them."""
    none = product.primary_recommendations.none()
    cache = vars(product).setdefault("_prefetched_objects_cache", {})
    cache["primary_recommendations"] = none
    return ""
