"""Finds the URLs that show an item or search, and drafts the line that tracks each page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.views.generic.detail import SingleObjectMixin
from django.views.generic.edit import FormMixin, ModelFormMixin

from recommender.management.drafting import carts, facts, reading, words
from recommender.management.drafting.addresses import page_of
from recommender.management.drafting.lines import Line
from recommender.management.drafting.lookups import Items, Lookup, Model, Path, column_of, item_of, surest
from recommender.management.drafting.views import View


def page_lines(views: Sequence[View], items: Items) -> list[Line]:
    """The lines that declare a shop's pages, in the order of its URLs."""
    return [
        line
        for view in views
        for line in viewing(view, items) or searching(view, items) or carts.cart_lines(view, items)
    ]


def viewing(view: View, items: Items) -> list[Line]:
    """The line for a page that shows one item; none for another page."""
    acts = words.has(view.words, (*words.NO_VIEW, *words.CARTS_OF_VIEWS, *words.REMOVES)) or "POST" in view.methods
    lookup = _lookup_by_address(view, items) or (None if acts else surest(_lookups_of_page(view), items))
    if lookup is None:
        return []
    is_public = view.function is not None and _is_public(reading.decorators_of(view.function))
    reason = f"/{view.route.text} shows one {lookup.model.__name__}, by its {lookup.field}"
    if is_public:
        reason += "; a CDN may cache it, so recommender.js in the page reports it"
    beacon = ", beacon=True" if is_public else ""
    return [Line(f'page("{view.name}", "view_item", item_id={item_of(lookup, items)}{beacon}),', reason)]


def searching(view: View, items: Items) -> list[Line]:
    """The line for a page that searches; none for another page."""
    if words.has(view.words, words.NO_SEARCH) or "POST" in view.methods:
        return []
    if view.actions and "list" not in view.actions.values():
        return []
    path = _query_of(view, items)
    if path is None:
        return []
    return [Line(f'page("{view.name}", "search", query="{path}"),', f"/{view.route.text} searches by {path}")]


def shown_by(view: View) -> Model | None:
    """The model of the single object that a page shows, an item or not."""
    lookup = surest(_lookups_of_page(view), None)
    return None if lookup is None else lookup.model


def shown_models(views: Sequence[View], candidates: Sequence[Model]) -> list[Model]:
    """Every model that has a page for a single object."""
    names = {view.name for view in views}
    by_address = [model for model in candidates if (page := page_of(model)) is not None and page[0] in names]
    return [*by_address, *(model for view in views if (model := shown_by(view)) is not None and facts.title_of(model))]


def _query_of(view: View, items: Items) -> Path | None:
    """Where the query of a search is in the request."""
    is_named = words.has(view.words, words.SEARCH)
    read = view.reading.paths_named(words.QUERY, ("GET", "kwargs") if is_named else ("GET",))
    if read:
        return read[0]
    form = getattr(view.cls, "form_class", None) or getattr(view.cls, "filterset_class", None)
    fields = [name for name in reading.fields_of_form(form) if name in words.QUERY]
    if fields and is_named:
        return Path("GET", (fields[0],))
    if getattr(view.cls, "search_fields", None) and reading.model_of(view.cls) in items:
        return _parameter_of_filter(view.cls)
    return Path("GET", ("q",)) if is_named and not view.route.kwargs and not view.reading.reads else None


def _lookup_by_address(view: View, items: Items) -> Lookup | None:
    """How a page finds its object, if the page is an item's own `get_absolute_url`."""
    pages = (page_of(model) for model in items)
    return next((page[1] for page in pages if page is not None and page[0] == view.name), None)


def _lookups_of_page(view: View) -> list[Lookup]:
    """What a view looks up by parts of its URL, as a generic view, as a viewset, or in its source."""
    generic = _generic_lookup(view)
    if view.actions:
        return [generic] if generic is not None else []
    by_source = [lookup for lookup in view.reading.lookups if lookup.path.kind == "kwargs"]
    return [*([generic] if generic is not None else []), *by_source]


def _generic_lookup(view: View) -> Lookup | None:
    cls, parts = view.cls, view.route.kwargs
    if cls is None or view.function is not None or (model := reading.model_of(cls)) is None:
        return None
    if issubclass(cls, SingleObjectMixin) and not issubclass(cls, FormMixin | ModelFormMixin):
        if cls.pk_url_kwarg in parts:
            return Lookup(model, "pk", Path("kwargs", (cls.pk_url_kwarg,)))
        if cls.slug_url_kwarg in parts:
            return Lookup(model, column_of(model, cls.slug_field), Path("kwargs", (cls.slug_url_kwarg,)))
    retrieves = "retrieve" in view.actions.values() if view.actions else hasattr(cls, "retrieve")
    if retrieves and hasattr(cls, "lookup_field"):
        part = cls.lookup_url_kwarg or cls.lookup_field
        return Lookup(model, column_of(model, cls.lookup_field), Path("kwargs", (part,))) if part in parts else None
    return None


def _is_public(decorators: str) -> bool:
    """May a shared cache store the page, so that the shop does not see every visit?"""
    return "cache_control(" in decorators and "public=True" in decorators


def _parameter_of_filter(cls: Any) -> Path | None:
    """The parameter of REST framework's search filter, if the view has one."""
    from rest_framework.filters import SearchFilter

    backends = (backend for backend in getattr(cls, "filter_backends", ()) if isinstance(backend, type))
    search = next((backend for backend in backends if issubclass(backend, SearchFilter)), None)
    return None if search is None else Path("GET", (str(search.search_param),))
