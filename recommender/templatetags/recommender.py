"""Template tags: `recommend` gives a list, `recommendations` shows one, `search` does either; none of them raises."""

from __future__ import annotations

import logging
import sys
import uuid
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

from django import template
from django.conf import settings
from django.http import HttpRequest
from django.template.base import Node, Parser, Token
from django.template.context import Context
from django.template.exceptions import TemplateSyntaxError
from django.templatetags.cache import CacheNode
from django.utils import formats
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from recommender import blocks, capture, conf, pipeline
from recommender.blocks import LIST_OPTIONS, NO_CART, ListOptions
from recommender.catalog import item_id_of, values
from recommender.identity import Shopper, mark_personal, personal_shopper_of
from recommender.models.connections import apart
from recommender.templatetags import results
from recommender.templatetags.carts import item_ids_of_cart
from recommender.templatetags.results import (
    SEARCH_OPTIONS,
    SearchOptions,
    SortChoice,
    facets_of,
    filters_of,
    page_links,
    page_number,
    parameters_of,
    sort_of,
)
from recommender.types import Entry, Facet, FacetValue, Live, OfferedFilter, Ranking, Rung, Slot

logger = logging.getLogger(__name__)
register = template.Library()

Result = TypeVar("Result")

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


_RENDERS_CACHE = CacheNode.render.__code__
_CACHED_FAULT = (
    "a list stands within {% cache %}: it is the same for everybody there. Take the tag out of it, or write "
    "{% lazy_recommendations %} in its place"
)

_lists = template.Library()
"""The tags of lists as they are before `_list_tag` checks the names of their arguments."""


@_lists.simple_tag(takes_context=True)
def recommend(context: Context, slot: str, **options: Any) -> Ranking:
    """`{% recommend "home" limit=8 as ranking %}`: the list of a slot, empty if it cannot be made."""
    if _is_plainly_empty(slot, options):
        _mark(context)
        return _empty(Slot.CART)
    return _or_empty(slot, lambda: _recommend(context, slot, ListOptions(**options)))


@_lists.simple_tag(takes_context=True)
def recommendations(context: Context, slot: str, **options: Any) -> SafeString:
    """`{% recommendations "similar" item=product limit=8 %}`, by `recommender/slots/<slot>.html` or the common one."""
    if _is_plainly_empty(slot, options):
        _mark(context)
        return SafeString("")

    def render() -> SafeString:
        chosen = ListOptions(**options)
        ranking = _recommend(context, slot, chosen)
        if ranking is None:
            return SafeString("")
        names = [f"recommender/slots/{ranking.slot}.html", "recommender/recommendations.html"]
        heading = TITLES.get(ranking.slot, "") if chosen.title is None else chosen.title
        return _rendered(context, names, {"ranking": ranking, "slot": ranking.slot.value, "title": heading})

    return _or_nothing(slot, render)


def _list_tag(name: str) -> Callable[[Parser, Token], Node]:
    """Read a tag of a list; an argument that there is not is found when the template is first read."""

    def read(parser: Parser, token: Token) -> Node:
        return _known(_lists.tags[name](parser, token), name, LIST_OPTIONS)

    return read


def _known(node: Any, name: str, options: Collection[str]) -> Node:
    """Return a tag that was read. Raises `TemplateSyntaxError` for an argument that there is not."""
    if unknown := sorted(set(node.kwargs) - set(options)):
        nearest = conf.closest(unknown[0], options)
        raise TemplateSyntaxError(f"'{name}' has no argument '{unknown[0]}'. {nearest}".strip())
    read_node: Node = node
    return read_node


for _name in _lists.tags:
    register.tag(_name, _list_tag(_name))


@register.simple_tag
def lazy_recommendations(
    slot: str,
    *,
    limit: int = 8,
    item: Any = None,
    item_id: str = "",
    title: str | None = None,
    new_only: bool = False,
) -> SafeString:
    """`{% lazy_recommendations "home" %}`: an empty element on a cached page that `recommender.js` fills. No query."""
    return _or_nothing(
        slot, lambda: blocks.lazy(slot, limit=limit, item=item, item_id=item_id, title=title, new_only=new_only)
    )


@register.tag
def search(parser: Parser, token: Token) -> Node:
    """`{% search %}` shows the results for the page's `?q=`; `{% search query as ranking %}` only finds them."""
    is_assigned = token.split_contents()[-2:-1] == ["as"]
    return _known((_finding if is_assigned else _showing).tags["search"](parser, token), "search", SEARCH_OPTIONS)


_finding, _showing = template.Library(), template.Library()


@_finding.simple_tag(takes_context=True, name="search")
def find_results(context: Context, query: str | None = None, **options: Any) -> Ranking:
    """The items of one page of results."""
    return _or_empty("search", lambda: _search(context, query, SearchOptions(**options)))


@_showing.simple_tag(takes_context=True, name="search")
def show_results(context: Context, query: str | None = None, **options: Any) -> SafeString:
    """The results by `recommender/search.html`, with links to the previous and the next page."""

    def render() -> SafeString:
        chosen = SearchOptions(**options)
        ranking = _search(context, query, chosen)
        links = page_links(context, ranking, chosen, last_offset=pipeline.MAX_OFFSET)
        page = {"page": page_number(context, chosen.page_param), "page_param": chosen.page_param}
        return _rendered(context, ["recommender/search.html"], {"ranking": ranking, **page, **links})

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
    return results.filter_link(context, offered, page_param)


@register.simple_tag(takes_context=True)
def facet_link(context: Context, facet: Facet, value: FacetValue, *, page_param: str = "page") -> str:
    """A link to the first page of these results with a value of a facet chosen, or without it if it is chosen."""
    return results.facet_link(context, facet, value, page_param)


@register.simple_tag(takes_context=True)
def sort_choices(context: Context, ranking: Ranking, *, page_param: str = "page") -> list[SortChoice]:
    """`{% sort_choices ranking as choices %}`: each order, with `name`, `text`, `link`, `is_current`."""
    return results.sort_choices(context, ranking, page_param)


@register.filter
def money(live: Live) -> str:
    """The price in the number format of the language; empty if the shop gives none."""
    if live.price is None:
        return ""
    amount = formats.number_format(live.price, decimal_pos=values.digits(live.currency), force_grouping=True)
    symbol = SYMBOLS.get(live.currency)
    return f"{symbol}{amount}" if symbol else f"{amount} {live.currency}".strip()


def _recommend(context: Context, slot: str, options: ListOptions) -> Ranking | None:
    """The list of a slot; None for an empty cart, with which nothing goes: nothing is computed, read or drawn."""
    shopper = _shopper(context)
    in_cart = () if _is_cached() else _item_ids(options.cart)
    if slot == Slot.CART and options.cart is not NO_CART and not in_cart:
        return None
    item_id = _item_id(options.item or options.item_id)
    ranking = pipeline.recommend(
        slot,
        shopper=shopper,
        item_id=item_id,
        cart_item_ids=in_cart,
        limit=int(options.limit),
        new_only=bool(options.new_only),
        exclude=_item_ids(options.exclude),
        at_most=options.at_most,
        shown=shopper.shown_item_ids if shopper is not None else (),
    )
    return _shown(shopper, ranking, current_item_id=item_id)


def _is_plainly_empty(slot: str, options: dict[str, Any]) -> bool:
    """Whether the cart's list is asked for and the cart is empty at first sight: then not even a savepoint is needed.

    To tell of other carts whether they are empty, rows may have to be read.
    """
    cart = options.get("cart", NO_CART)
    return slot == Slot.CART and (cart is None or (isinstance(cart, str | list | tuple | dict) and not cart))


def _search(context: Context, query: str | None, options: SearchOptions) -> Ranking:
    parameters, shopper, limit = parameters_of(context), _shopper(context), int(options.limit)
    first = (page_number(context, options.page_param) - 1) * limit
    ranking = pipeline.search(
        str(parameters.get("q", "") if query is None else query),
        shopper=shopper,
        limit=limit,
        offset=first if options.offset is None else int(options.offset),
        filters=filters_of(context),
        sort=sort_of(context, options),
        facets=facets_of(options),
        personal=bool(options.personal),
        cart_item_ids=() if _is_cached() else _item_ids(options.cart),
    )
    if shopper is not None and ranking.redirect and ranking.redirect != shopper.request.get_full_path():
        shopper.request.recommender_redirect = ranking.redirect  # type: ignore[attr-defined]
        _shown(shopper, replace(ranking, entries=()))
        return ranking
    return _shown(shopper, ranking)


def _shopper(context: Context) -> Shopper | None:
    """Who looks at the page, which is personal from now on; None if the template is rendered without a request, and
    within `{% cache %}`, which would show one visitor's list to the next."""
    request = context.get("request")
    if _is_cached():
        return None
    return personal_shopper_of(request) if isinstance(request, HttpRequest) else None


def _is_cached() -> bool:
    """Is a `{% cache %}` rendered now, in this template or in one that includes it? Logs once that a list in it is the
    same for everybody.

    Only the stack tells: the tag leaves no trace in the context, and a parser sees no template that includes its own.
    """
    frame: Any = sys._getframe()
    while frame is not None and frame.f_code is not _RENDERS_CACHE:
        frame = frame.f_back
    if frame is not None and _CACHED_FAULT not in _logged:
        _logged.add(_CACHED_FAULT)
        logger.warning(_CACHED_FAULT)
    return frame is not None


def _mark(context: Context) -> None:
    """Mark the page as personal; nothing if the template is rendered without a request."""
    request = context.get("request")
    if isinstance(request, HttpRequest):
        mark_personal(request)


def _shown(shopper: Shopper | None, ranking: Ranking, *, current_item_id: str = "") -> Ranking:
    """Record the list, and remember its items: the next list of the page shows others. Of a query that is led elsewhere
    only that is recorded: nobody sees its items."""
    if shopper is not None and (ranking.entries or ranking.redirect):
        capture.record_impression(shopper.request, ranking, current_item_id=current_item_id)
        shopper.shown_item_ids.update(entry.item_id for entry in ranking.entries)
    return ranking


def _item_id(item: Any) -> str:
    """The id of an object of the shop, or the id itself."""
    return (item if isinstance(item, str) else item_id_of(item)) if item else ""


def _item_ids(items: Any) -> tuple[str, ...]:
    """The ids of the items of a cart, or of others that are given in the same ways."""
    return () if items is NO_CART else item_ids_of_cart(items)


def _empty(slot: Slot) -> Ranking:
    return Ranking(id=uuid.uuid4(), slot=slot, entries=(), rung=Rung.EMPTY)


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
