"""Lists outside of Django templates: as HTML for Jinja2 and views, and as a block that a cached page loads later."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.urls import NoReverseMatch, reverse
from django.utils import translation
from django.utils.cache import patch_cache_control
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.views.decorators.http import require_GET

from recommender.api import throttling
from recommender.catalog import item_id_of
from recommender.types import Slot

MAX_LIMIT = 60
NO_CART: Any = object()
"""The default of `cart`: the page does not say what is in the cart. An empty cart says that nothing is in it."""

SLOTS = frozenset(slot.value for slot in Slot) - {Slot.SEARCH.value}


@dataclass(frozen=True, slots=True, kw_only=True)
class ListOptions:
    """What a page says of a list beside its slot: the arguments of the template tags, and of `recommendations` here.

    exclude: items that are never listed, in all the ways in which a cart is given.
    """

    limit: Any = 8
    item: Any = None
    item_id: str = ""
    cart: Any = NO_CART
    title: str | None = None
    new_only: bool = False
    exclude: Any = ()
    at_most: Any = None


LIST_OPTIONS = frozenset(option.name for option in fields(ListOptions))


def recommendations(request: HttpRequest, slot: str, **options: Any) -> SafeString:
    """The list of a slot as the template tag `recommendations` shows it, with the tag's options; for Jinja2 and views.

    `environment.globals["recommendations"] = recommender.blocks.recommendations`, then
    `{{ recommendations(request, "home", limit=8) }}`.
    """
    chosen = ListOptions(**options)
    values = {name: getattr(chosen, name) for name in LIST_OPTIONS} | {"slot": slot}
    return SafeString(render_to_string("recommender/block.html", values, request=request).strip())


def lazy(
    slot: str,
    *,
    limit: int = 8,
    item: Any = None,
    item_id: str = "",
    title: str | None = None,
    new_only: bool = False,
) -> SafeString:
    """An empty element that `recommender.js` fills from `block`: the page around it is the same for everybody."""
    options: dict[str, Any] = {"limit": limit, "item_id": item_id_of(item) if item else item_id, "title": title}
    if new_only:
        options["new_only"] = 1
    if settings.USE_I18N:
        options["language"] = translation.get_language()
    parameters = urlencode({name: value for name, value in options.items() if value not in (None, "")})
    try:
        source = f"{reverse('recommender:block', args=[slot])}?{parameters}"
    except NoReverseMatch:
        return SafeString("")
    return format_html('<div class="recommender-lazy" data-recommender-src="{}"></div>', source)


@require_GET
def block(request: HttpRequest, slot: str) -> HttpResponse:
    """The list that `lazy` left out, in the page's language. It is one visitor's: no cache may keep it."""
    if slot not in SLOTS:
        return HttpResponse(status=404)
    if (refused := throttling.refusal(request)) is not None:
        return refused
    parameters = request.GET
    limit = parameters.get("limit", "")
    options: dict[str, Any] = {"item_id": parameters.get("item_id", "")[:128], "title": parameters.get("title")}
    options["new_only"] = parameters.get("new_only") == "1"
    if limit.isascii() and limit.isdigit():
        options["limit"] = max(1, min(int(limit[:4]), MAX_LIMIT))
    with translation.override(_language(parameters.get("language", ""))):
        response = HttpResponse(recommendations(request, slot, **options))
    patch_cache_control(response, private=True, no_store=True)
    response["X-Robots-Tag"] = "noindex"
    return response


def _language(code: str) -> str | None:
    """The language if the shop has it, else that of the request."""
    return code if code in dict(settings.LANGUAGES) else translation.get_language()
