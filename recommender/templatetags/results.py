"""Reads the address of a page of results, and writes the links to its other pages, filters and orders."""

from __future__ import annotations

import logging
from dataclasses import dataclass, fields
from typing import Any

from django.http import HttpRequest, QueryDict
from django.template.context import Context
from django.utils.translation import gettext_lazy as _

from recommender.blocks import NO_CART
from recommender.serving.filters import facet_names, filter_names
from recommender.types import Facet, FacetValue, OfferedFilter, Ranking, Sort

logger = logging.getLogger(__name__)

PAGE_SIZE = 24
MAX_VALUES, MAX_LENGTH = 50, 255
"""Values of one filter in an address, and characters of each."""

PRICE_BOUNDS = ("min_price", "max_price")
SINGLE = ("price", "available")
"""Facets of which one value is chosen at a time."""

_logged: set[str] = set()
"""Names of facets that this process has logged: each once, not once per visitor."""

SORT_TEXTS: dict[Sort, Any] = {
    Sort.RELEVANCE: _("Best match"),
    Sort.CHEAPEST: _("Price, low to high"),
    Sort.DEAREST: _("Price, high to low"),
    Sort.NEWEST: _("Newest"),
    Sort.POPULAR: _("Most popular"),
    Sort.NAME: _("Name"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchOptions:
    """The arguments of the tag `search` beside the query."""

    limit: Any = PAGE_SIZE
    offset: Any = None
    cart: Any = NO_CART
    page_param: str = "page"
    sort: str = ""
    facets: Any = ()
    personal: bool = True


SEARCH_OPTIONS = frozenset(option.name for option in fields(SearchOptions))


@dataclass(frozen=True, slots=True)
class SortChoice:
    """One order that a page offers; link leads to the first page in it."""

    name: str
    text: str
    link: str
    is_current: bool


def parameters_of(context: Context) -> QueryDict:
    """What stands behind the `?` of the page; nothing where the template is rendered without a request."""
    request = context.get("request")
    return request.GET if isinstance(request, HttpRequest) else QueryDict()


def page_number(context: Context, page_param: str) -> int:
    """The number of the page, 1 where the address has none that can be read."""
    number = parameters_of(context).get(page_param, "")
    return int(number) if number.isascii() and number.isdigit() and 0 < len(number) < 6 and int(number) > 0 else 1


def filters_of(context: Context) -> dict[str, list[str]]:
    """The filters in the address; what is none is passed over, and what is too long for a name is cut."""
    parameters = parameters_of(context)
    filters = {name: parameters.getlist(name)[:MAX_VALUES] for name in filter_names()}
    return {name: [value[:MAX_LENGTH] for value in values] for name, values in filters.items() if any(values)}


def facets_of(options: SearchOptions) -> tuple[str, ...]:
    """The facets that the template names; one that there is not is logged and left out."""
    names = options.facets.split(",") if isinstance(options.facets, str) else options.facets
    stripped, existing = [str(name).strip() for name in names], facet_names()
    if "all" in stripped:
        return existing
    for name in filter(None, stripped):
        if name not in existing and name not in _logged and len(_logged) < MAX_VALUES:
            _logged.add(name)
            logger.error("{%% search %%}: there is no facet %.40r; there are: %s", name, ", ".join(existing))
    return tuple(name for name in stripped if name in existing)


def sort_of(context: Context, options: SearchOptions) -> Sort:
    """The order that the template or the address names; relevance where there is none of that name."""
    name = options.sort or parameters_of(context).get("sort", "")
    return Sort(name) if name in list(Sort) else Sort.RELEVANCE


def page_links(context: Context, ranking: Ranking, options: SearchOptions, *, last_offset: int) -> dict[str, str]:
    """The links to the previous and the next page, "" where there is none; last_offset: where the last page begins."""
    if options.offset is not None:
        return {"previous_link": "", "next_link": ""}
    page, limit = page_number(context, options.page_param), int(options.limit)
    has_next = page * limit < min(ranking.n_listed, last_offset + limit)
    return {
        "previous_link": _page_link(context, options.page_param, page - 1) if page > 1 else "",
        "next_link": _page_link(context, options.page_param, page + 1) if has_next else "",
    }


def filter_link(context: Context, offered: OfferedFilter, page_param: str) -> str:
    """The first page of these results with an offered filter applied, or without it if it is applied."""
    parameters = parameters_of(context).copy()
    parameters.pop(page_param, None)
    others = [value for value in parameters.getlist(offered.name) if offered.is_applied and value != offered.value]
    parameters.setlist(offered.name, others if offered.is_applied else [offered.value])
    parameters["q"] = offered.query
    return f"?{parameters.urlencode()}"


def facet_link(context: Context, facet: Facet, value: FacetValue, page_param: str) -> str:
    """The first page of these results with a value chosen beside others of its facet, or without it if it is chosen."""
    parameters = parameters_of(context).copy()
    for name in (page_param, *(PRICE_BOUNDS if facet.name == "price" else ())):
        parameters.pop(name, None)
    for name, chosen in value.parameters.items():
        others = [one for one in parameters.getlist(name) if one != chosen and facet.name not in SINGLE]
        parameters.setlist(name, others if value.is_applied else [*others, chosen])
    return f"?{parameters.urlencode()}"


def sort_choices(context: Context, ranking: Ranking, page_param: str) -> list[SortChoice]:
    """Every order, with a link to these results in it."""
    parameters = parameters_of(context).copy()
    for name in (page_param, "sort"):
        parameters.pop(name, None)
    choices = []
    for sort, text in SORT_TEXTS.items():
        named = parameters.copy()
        if sort is not Sort.RELEVANCE:
            named["sort"] = sort.value
        link = f"?{named.urlencode()}"
        choices.append(SortChoice(sort.value, str(text), link, is_current=sort is ranking.sort))
    return choices


def _page_link(context: Context, page_param: str, page: int) -> str:
    parameters = parameters_of(context).copy()
    parameters[page_param] = str(page)
    return f"?{parameters.urlencode()}"
