"""Tags of a shop's pages: `recommend` gives a list, `recommendations` shows one, `search` does both; no tag raises."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from typing import Any
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
"""Faults that this process has logged: a fault of a page is one entry, not one per visitor."""


@register.simple_tag(takes_context=True)
def recommend(
    context: Context, slot: str, *, limit: int = 8, item: Any = None, item_id: str = "", cart: Any = NO_CART
) -> Ranking:
    """`{% recommend "home" limit=8 as ranking %}`: the list of a slot, empty where it cannot be made."""

    if slot == Slot.CART and _is_plainly_empty(cart):
        _mark(context)
        return _empty(Slot.CART)

    def make() -> Ranking:
        in_cart = _cart_ids(cart)
        if _is_empty_cart(slot, cart, in_cart):
            _mark(context)
            return _empty(Slot.CART)
        return _recommend(context, slot, limit, item or item_id, in_cart)

    return _or_empty(slot, make)


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

    if slot == Slot.CART and _is_plainly_empty(cart):
        _mark(context)
        return SafeString("")

    def render() -> SafeString:
        in_cart = _cart_ids(cart)
        if _is_empty_cart(slot, cart, in_cart):
            _mark(context)
            return SafeString("")
        ranking = _recommend(context, slot, limit, item or item_id, in_cart)
        names = [f"recommender/slots/{ranking.slot}.html", "recommender/recommendations.html"]
        heading = TITLES.get(ranking.slot, "") if title is None else title
        return _rendered(context, names, {"ranking": ranking, "slot": ranking.slot.value, "title": heading})

    return _or_nothing(slot, render)


@register.simple_tag
def lazy_recommendations(
    slot: str, *, limit: int = 8, item: Any = None, item_id: str = "", title: str | None = None
) -> SafeString:
    """`{% lazy_recommendations "home" %}`: an empty place on a cached page, filled by `recommender.js`. No query."""
    return _or_nothing(slot, lambda: blocks.lazy(slot, limit=limit, item=item, item_id=item_id, title=title))


@register.tag
def search(parser: Parser, token: Token) -> Node:
    """`{% search %}` shows the results for the page's `?q=`; `{% search query as ranking %}` only finds them."""
    finds = token.split_contents()[-2:-1] == ["as"]
    node: Node = (_finding if finds else _showing).tags["search"](parser, token)
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
    """The results by `recommender/search.html`, with links to the pages before and after."""

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
    """The item's URL with the ranking's id and the position, from which capture attributes what follows."""
    if entry.live is None or not entry.live.url:
        return ""
    parts = urlsplit(entry.live.url)
    query = "&".join(part for part in (parts.query, f"rid={ranking.id}&pos={entry.position}") if part)
    return urlunsplit(parts._replace(query=query))


@register.simple_tag(takes_context=True)
def filter_link(context: Context, offered: OfferedFilter, *, page_param: str = "page") -> str:
    """This page with an offered filter on, or, where it is on, without it; from its first page."""
    parameters = _parameters(context).copy()
    for name in (page_param, offered.name):
        parameters.pop(name, None)
    parameters["q"] = offered.query
    if not offered.is_applied:
        parameters[offered.name] = offered.value
    return f"?{parameters.urlencode() if isinstance(parameters, QueryDict) else urlencode(parameters)}"


@register.filter
def money(live: Live) -> str:
    """The price in the language's own number format; nothing where the shop names none."""
    if live.price is None:
        return ""
    amount = formats.number_format(live.price, decimal_pos=values.digits(live.currency), force_grouping=True)
    symbol = SYMBOLS.get(live.currency)
    return f"{symbol}{amount}" if symbol else f"{amount} {live.currency}".strip()


def _recommend(context: Context, slot: str, limit: int, item: Any, in_cart: tuple[str, ...]) -> Ranking:
    item_id = _item_id(item)
    shopper = _shopper(context)
    ranking = pipeline.recommend(slot, shopper=shopper, item_id=item_id, cart_item_ids=in_cart, limit=int(limit))
    return _shown(context, ranking, current_item_id=item_id)


def _is_empty_cart(slot: str, cart: Any, in_cart: tuple[str, ...]) -> bool:
    """Does nothing go with the cart, because nothing is in it? Then nothing is computed, read or drawn."""
    return slot == Slot.CART and cart is not NO_CART and not in_cart


def _is_plainly_empty(cart: Any) -> bool:
    """Is it empty at first sight? Then not even a savepoint is needed; other carts may have to read rows."""
    return cart is None or (isinstance(cart, str | list | tuple | dict) and not cart)


def _search(context: Context, query: str | None, limit: int, offset: int | None, cart: Any, page_param: str) -> Ranking:
    if query is None:
        query = _parameters(context).get("q", "")
    skipped = (_page_number(context, page_param) - 1) * int(limit) if offset is None else int(offset)
    parameters = _parameters(context)
    ranking = pipeline.search(
        str(query),
        shopper=_shopper(context),
        limit=int(limit),
        offset=skipped,
        filters={name: parameters[name] for name in FILTERS if parameters.get(name)},
        cart_item_ids=_cart_ids(cart),
    )
    return _shown(context, ranking)


def _shopper(context: Context) -> Shopper | None:
    """Who looks at the page; nobody where a template is rendered without a request."""
    request = _mark(context)
    return None if request is None else shopper_of(request)


def _mark(context: Context) -> HttpRequest | None:
    """The request of a page that is now personal; nothing where a template is rendered without one."""
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
    found = page.template.engine.select_template(names)
    inner = context.new({**values, "request": context.get("request"), "csrf_token": context.get("csrf_token", "")})
    rendered: SafeString = found.render(inner)
    return rendered


def _or_empty(slot: str, make: Callable[[], Ranking]) -> Ranking:
    try:
        with apart():
            return make()
    except Exception as error:  # the edge: a list that fails must not take the page with it
        _complain(slot, error)
        known = slot if slot in list(Slot) else Slot.HOME
        return _empty(Slot(known))


def _or_nothing(slot: str, render: Callable[[], SafeString]) -> SafeString:
    try:
        with apart():
            return render()
    except Exception as error:  # the edge, as above
        _complain(slot, error)
        fault = f"{slot}: {error}".replace("--", "- -")
        return format_html("<!-- recommender, {} -->", fault) if settings.DEBUG else SafeString("")


def _complain(slot: str, error: Exception) -> None:
    fault = f"{str(slot)[:40]}: {type(error).__name__}: {error}"
    if fault not in _logged and len(_logged) < 100:
        _logged.add(fault)
        logger.error("a block of a page stays empty, %s", fault, exc_info=error)
    capture.counts["failed"] += 1
