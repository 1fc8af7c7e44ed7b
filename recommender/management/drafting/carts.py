"""Finds the URLs that put items into the cart or take them out, and drafts the line that tracks each page."""

from __future__ import annotations

from collections.abc import Iterator

from recommender.catalog.guesses import named_key
from recommender.management.drafting import reading, words
from recommender.management.drafting.lines import Line
from recommender.management.drafting.lookups import Items, Lookup, Path, Reading, item_of, of_each_item
from recommender.management.drafting.views import View

GET_KINDS = ("kwargs", "GET")
SENT_KINDS = ("POST", "JSON")
KEYS = ("pk", "id", "uuid", "slug", "sku", "code")


def cart_lines(view: View, items: Items) -> list[Line]:
    """The lines for a view that fills or empties the cart; none for another view."""
    changes = words.has(view.words, words.CHANGES) and not words.has(view.words, ("add",))
    if changes or words.has(view.words, words.NO_CART):
        return []
    lines: list[Line] = []
    for method, read in _parts_of(view):
        fills = any(words.has(model.__name__, words.CARTS_OF_VIEWS) for model in read.created)
        if fills or words.has(view.words, words.CARTS_OF_VIEWS):
            lines += _lines_of(view, items, method, read, fills=fills)
    return lines


def _parts_of(view: View) -> list[tuple[str, Reading]]:
    """`(HTTP method, what is read)` for each part of a view; the method is empty if the source does not show it."""
    if view.function is not None:
        methods = view.methods or [""]
        return [(method, view.reading) for method in methods if method != "GET" or methods == ["GET"]]
    if view.actions:
        return [
            (method.upper(), reading.read_class(view.cls, (name,)))
            for method, name in view.actions.items()
            if method != "get"
        ]
    by_method = {
        "POST": ("post", "form_valid", "perform_create", "create"),
        "PUT": ("put",),
        "PATCH": ("patch",),
        "DELETE": ("delete",),
    }
    parts = [
        (method, reading.read_class(view.cls, names))
        for method, names in by_method.items()
        if reading.own_methods(view.cls, names)
    ]
    return parts or [("GET", view.reading)]


def _lines_of(view: View, items: Items, method: str, read: Reading, *, fills: bool) -> Iterator[Line]:
    removes = method == "DELETE" or (words.has(view.words, words.REMOVES) and not words.has(view.words, ("add",)))
    acts = fills or removes or read.writes_session or words.has(view.words, words.ADDS)
    lookups = _lookups_of(view, items, read) if acts else []
    event = "remove_from_cart" if removes else "add_to_cart"
    quantity = "" if removes else _quantity_of(view, read)
    verb = "takes out of" if removes else "puts into"
    for lookup in lookups:
        reason = f"/{view.route.text} {verb} the cart what {lookup.path} names"
        either = ["POST"] if lookup.path.kind in SENT_KINDS else ["GET", "POST"]
        for name in [method] if method else either:
            argument = f', method="{name}"' if name != "GET" else ""
            item_id = item_of(lookup, items)
            yield Line(f'page("{view.name}", "{event}", item_id={item_id}{quantity}{argument}),', reason)


def _lookups_of(view: View, items: Items, read: Reading) -> list[Lookup]:
    """How a view finds the item; by the names of the request's parts if its source does not show it."""
    lookups = of_each_item(read.lookups, items)
    if lookups or len(items) != 1:
        return lookups
    (model,) = items
    named = (*words.PRODUCT, *KEYS)
    paths = read.paths_named(named, (*GET_KINDS, *SENT_KINDS))
    paths = paths or [Path("kwargs", (part,)) for part in sorted(view.route.kwargs) if words.has(part, named)]
    if not paths:
        return []
    return [Lookup(model, named_key(model, paths[0].names[-1]) or "pk", paths[0])]


def _quantity_of(view: View, read: Reading) -> str:
    paths = read.paths_named(words.QUANTITY, (*GET_KINDS, *SENT_KINDS))
    form = getattr(view.cls, "form_class", None)
    named = [name for name in reading.fields_of_form(form) if name in words.QUANTITY]
    path = paths[0] if paths else Path("POST", (named[0],)) if named else None
    return "" if path is None else f', quantity="{path}"'
