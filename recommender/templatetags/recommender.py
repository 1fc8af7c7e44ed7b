"""Template tags: `recommend` gives a list, `recommendations` shows one, `search` does either; none of them raises."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import urlencode, urlsplit, urlunsplit

from django import template
from django.conf import settings
from django.http import HttpRequest, QueryDict
from django.template.base import Node, Parser, Token
from django.template.context import Context
from django.utils import formats
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from recommender import blocks, capture, pipeline
from recommender.blocks import NO_CART
from recommender.catalog import item_id_of, values
from recommender.identity import Shopper, mark_personal, shopper_of
from recommender.models.connections import apart
from recommender.serving.filters import FILTERS
from recommender.templatetags.carts import item_ids_of_cart
from recommender.types import Entry, Live, OfferedFilter, Ranking, Rung, Slot

logger = logging.getLogger(__name__)
register = template.Library()

Result = TypeVar("Result")

PAGE_SIZE = 24
TITLES: dict[str, Any] = {
    Slot.HOME: _("For you"),
    Slot.SIMILAR: _("Similar items"),
    Slot.BOUGHT_TOGETHER: _("Often bought together"),
    Slot.CART: _("Goes with your cart"),
    Slot.RECENTLY_VIEWED: _("Recently viewed"),
    Slot.BUY_AGAIN: _("Buy again"),
    Slot.TRENDING: _("Trending now"),
}
SYMBOLS = {"EUR": "€", "GBP": "£", "USD": "$"}

_logged: set[str] = set()
"""Faults that this process has logged: each is logged once, not once per visitor."""


@register.simple_tag(takes_context=True)
def recommend(
    context: Context, slot: str, *, limit: int = 8, item: Any = None, item_id: str = "", cart: Any = NO_CART
) -> Ranking:
    """`{% recommend "home" limit=8 as ranking %}`: the list of a slot, empty if it cannot be made."""
    if _is_plainly_empty(slot, cart):
        _mark(context)
        return _empty(Slot.CART)
    return _or_empty(slot, lambda: _recommend(context, slot, limit, item or item_id, cart))


@register.simple_tag(takes_context=True)
def recommendations(
    context: Context,
    slot: str,
    *,
    limit: int = 8,
    item: Any = None,
    item_id: str = "",
    cart: Any = NO_CART,
    title: str | None = None,
) -> SafeString:
    """`{% recommendations "similar" item=product limit=8 %}`, by `recommender/slots/<slot>.html` or the common one."""
    if _is_plainly_empty(slot, cart):
        _mark(context)
        return SafeString("")

    def render() -> SafeString:
        ranking = _recommend(context, slot, limit, item or item_id, cart)
        if ranking is None:
            return SafeString("")
        names = [f"recommender/slots/{ranking.slot}.html", "recommender/recommendations.html"]
        heading = TITLES.get(ranking.slot, "") if title is None else title
        return _rendered(context, names, {"ranking": ranking, "slot": ranking.slot.value, "title": heading})

    return _or_nothing(slot, render)


@register.simple_tag
def lazy_recommendations(
    slot: str, *, limit: int = 8, item: Any = None, item_id: str = "", title: str | None = None
) -> SafeString:
    """`{% lazy_recommendations "home" %}`: an empty element on a cached page that `recommender.js` fills. No query."""
    return _or_nothing(slot, lambda: blocks.lazy(slot, limit=limit, item=item, item_id=item_id, title=title))


@register.tag
def search(parser: Parser, token: Token) -> Node:
    """`{% search %}` shows the results for the page's `?q=`; `{% search query as ranking %}` only finds them."""
    is_assigned = token.split_contents()[-2:-1] == ["as"]
    node: Node = (_finding if is_assigned else _showing).tags["search"](parser, token)
    return node


_finding, _showing = template.Library(), template.Library()


@_finding.simple_tag(takes_context=True, name="search")
def find_results(
    context: Context,
    query: str | None = None,
    *,
    limit: int = PAGE_SIZE,
    offset: int | None = None,
    cart: Any = NO_CART,
    page_param: str = "page",
) -> Ranking:
    """The items of one page of results."""
    return _or_empty("search", lambda: _search(context, query, limit, offset, cart, page_param))


@_showing.simple_tag(takes_context=True, name="search")
def show_results(
    context: Context,
    query: str | None = None,
    *,
    limit: int = PAGE_SIZE,
    offset: int | None = None,
    cart: Any = NO_CART,
    page_param: str = "page",
) -> SafeString:
    """The results by `recommender/search.html`, with links to the previous and the next page."""

    def render() -> SafeString:
        ranking = _search(context, query, limit, offset, cart, page_param)
        page = _page_number(context, page_param)
        more = {"previous_link": "", "next_link": "", "page_param": page_param}
        if offset is None:
            has_next = page * int(limit) < min(ranking.n_found, pipeline.MAX_OFFSET + int(limit))
            more["previous_link"] = _page_link(context, page_param, page - 1) if page > 1 else ""
            more["next_link"] = _page_link(context, page_param, page + 1) if has_next else ""
        return _rendered(context, ["recommender/search.html"], {"ranking": ranking, "page": page, **more})

    return _or_nothing("search", render)


@register.simple_tag
def item_link(ranking: Ranking, entry: Entry) -> str:
    """The item's URL with the ranking's id and the position, by which capture attributes what follows to the list."""
    if entry.live is None or not entry.live.url:
        return ""
    parts = urlsplit(entry.live.url)
    query = "&".join(part for part in (parts.query, f"rid={ranking.id}&pos={entry.position}") if part)
    return urlunsplit(parts._replace(query=query))


@register.simple_tag(takes_context=True)
def filter_link(context: Context, offered: OfferedFilter, *, page_param: str = "page") -> str:
    """A link to the first page of these results with an offered filter applied, or without it if it is applied."""
    parameters = _parameters(context).copy()
    for name in (page_param, offered.name):
        parameters.pop(name, None)
    parameters["q"] = offered.query
    if not offered.is_applied:
        parameters[offered.name] = offered.value
    return f"?{parameters.urlencode() if isinstance(parameters, QueryDict) else urlencode(parameters)}"


@register.filter
def money(live: Live) -> str:
    """The price in the number format of the language; empty if the shop gives none."""
    if live.price is None:
        return ""
    amount = formats.number_format(live.price, decimal_pos=values.digits(live.currency), force_grouping=True)
    symbol = SYMBOLS.get(live.currency)
    return f"{symbol}{amount}" if symbol else f"{amount} {live.currency}".strip()


def _recommend(context: Context, slot: str, limit: int, item: Any, cart: Any) -> Ranking | None:
    """The list of a slot; None for an empty cart, with which nothing goes: nothing is computed, read or drawn."""
    in_cart = _cart_ids(cart)
    shopper = _shopper(context)
    if slot == Slot.CART and cart is not NO_CART and not in_cart:
        return None
    item_id = _item_id(item)
    ranking = pipeline.recommend(slot, shopper=shopper, item_id=item_id, cart_item_ids=in_cart, limit=int(limit))
    return _shown(context, ranking, current_item_id=item_id)


def _is_plainly_empty(slot: str, cart: Any) -> bool:
    """Whether the cart's list is asked for and the cart is empty at first sight: then not even a savepoint is needed.

    To tell of other carts whether they are empty, rows may have to be read.
    """
    return slot == Slot.CART and (cart is None or (isinstance(cart, str | list | tuple | dict) and not cart))


def _search(context: Context, query: str | None, limit: int, offset: int | None, cart: Any, page_param: str) -> Ranking:
    parameters = _parameters(context)
    ranking = pipeline.search(
        str(parameters.get("q", "") if query is None else query),
        shopper=_shopper(context),
        limit=int(limit),
        offset=(_page_number(context, page_param) - 1) * int(limit) if offset is None else int(offset),
        filters={name: parameters[name] for name in FILTERS if parameters.get(name)},
        cart_item_ids=_cart_ids(cart),
    )
    return _shown(context, ranking)


def _shopper(context: Context) -> Shopper | None:
    """Who looks at the page, which is personal from now on; None if the template is rendered without a request."""
    request = _mark(context)
    return None if request is None else shopper_of(request)


def _mark(context: Context) -> HttpRequest | None:
    """Mark the page as personal and return its request; None if the template is rendered without one."""
    request = context.get("request")
    if not isinstance(request, HttpRequest):
        return None
    mark_personal(request)
    return request


def _shown(context: Context, ranking: Ranking, *, current_item_id: str = "") -> Ranking:
    request = context.get("request")
    if isinstance(request, HttpRequest) and ranking.entries:
        capture.record_impression(request, ranking, current_item_id=current_item_id)
    return ranking


def _item_id(item: Any) -> str:
    """The id of an object of the shop, or the id itself."""
    return (item if isinstance(item, str) else item_id_of(item)) if item else ""


def _cart_ids(cart: Any) -> tuple[str, ...]:
    return () if cart is NO_CART else item_ids_of_cart(cart)


def _empty(slot: Slot) -> Ranking:
    return Ranking(id=uuid.uuid4(), slot=slot, entries=(), rung=Rung.EMPTY)


def _parameters(context: Context) -> Any:
    request = context.get("request")
    return request.GET if isinstance(request, HttpRequest) else {}


def _page_number(context: Context, page_param: str) -> int:
    number = _parameters(context).get(page_param, "")
    return int(number) if number.isascii() and number.isdigit() and 0 < len(number) < 6 and int(number) > 0 else 1


def _page_link(context: Context, page_param: str, page: int) -> str:
    parameters = _parameters(context).copy()
    parameters[page_param] = str(page)
    return f"?{parameters.urlencode()}"


def _rendered(context: Context, names: list[str], values: dict[str, Any]) -> SafeString:
    """Render the first template that exists, as an inclusion tag would: with the page's request and CSRF token only."""
    page: Any = context
    template_of_list = page.template.engine.select_template(names)
    inner = context.new({**values, "request": context.get("request"), "csrf_token": context.get("csrf_token", "")})
    rendered: SafeString = template_of_list.render(inner)
    return rendered


def _or_empty(slot: str, make: Callable[[], Ranking | None]) -> Ranking:
    empty = _empty(Slot(slot) if slot in list(Slot) else Slot.HOME)
    ranking = _guarded(slot, make, lambda _error: empty)
    return empty if ranking is None else ranking


def _or_nothing(slot: str, render: Callable[[], SafeString]) -> SafeString:
    """What `render` gives; if it fails nothing, and with `DEBUG` a comment that names the fault."""

    def comment(error: Exception) -> SafeString:
        fault = f"{slot}: {error}".replace("--", "- -")
        return format_html("<!-- recommender, {} -->", fault) if settings.DEBUG else SafeString("")

    return _guarded(slot, render, comment)


def _guarded(slot: str, make: Callable[[], Result], fallback: Callable[[Exception], Result]) -> Result:
    """Make a block of a page; if it fails count and log the fault, once each, and use the fallback."""
    try:
        with apart():
            return make()
    except Exception as error:  # the edge: a list that fails must not break the page
        fault = f"{str(slot)[:40]}: {type(error).__name__}: {error}"
        if fault not in _logged and len(_logged) < 100:
            _logged.add(fault)
            logger.error("a block of a page stays empty, %s", fault, exc_info=error)
        capture.counts["failed"] += 1
        return fallback(error)
