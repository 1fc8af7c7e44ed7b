"""Lists every named URL of a shop with its view: a function, a class, or an action of a viewset."""

from __future__ import annotations

import inspect
import types
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from recommender.management.drafting import reading
from recommender.management.drafting.facts import FOREIGN
from recommender.management.drafting.lookups import Reading
from recommender.tracking.routes import Route, named_routes

POSTS = ("post", "form_valid", "perform_create", "create")
LOOKUP_ARGUMENTS = ("model", "queryset", "lookup_field", "slug_field")


@dataclass(frozen=True, slots=True)
class View:
    """A named URL with its view and what the source of the view reads."""

    name: str
    route: Route
    cls: Any
    function: Any
    actions: dict[str, str]
    reading: Reading

    @property
    def words(self) -> str:
        """The names of the URL, of the function or class, and of the actions."""
        own = self.cls if self.function is None else self.function
        return f"{self.name} {getattr(own, '__name__', '')} {' '.join(self.actions.values())}"

    @property
    def methods(self) -> list[str]:
        """The HTTP methods that it accepts; empty if the source does not show them."""
        if self.actions:
            return [method.upper() for method in self.actions if method != "head"]
        if self.function is not None:
            return self._methods_of_function()
        if "post" in getattr(self.cls, "http_method_names", ()) and len(self.cls.http_method_names) == 1:
            return ["POST"]
        posts = reading.own_methods(self.cls, POSTS)
        return ["POST"] if posts else ["GET"] if reading.own_methods(self.cls, ("get",)) else []

    def _methods_of_function(self) -> list[str]:
        allowed = getattr(self.cls, "http_method_names", None)  # of REST framework's `api_view`
        if allowed:
            return [method.upper() for method in allowed if method != "options"]
        decorators = reading.decorators_of(self.function)
        if "require_POST" in decorators or 'require_http_methods(["POST"])' in decorators:
            return ["POST"]
        kinds = {path.kind for path in self.reading.reads}
        return ["POST"] if kinds & {"POST", "JSON"} else ["GET"] if "GET" in kinds else []


def views() -> Iterator[View]:
    """The named URLs with a view of the shop, in the order of the URLconf; the first of equal names."""
    seen: set[tuple[str, tuple[str, ...]]] = set()
    for name, route in named_routes():
        callback = route.callback
        if _is_foreign(callback) or "format" in route.kwargs:
            continue
        actions = dict(getattr(callback, "actions", None) or {})
        if (name, tuple(actions)) not in seen:
            seen.add((name, tuple(actions)))
            yield _view(name, route, callback, actions)


def _view(name: str, route: Route, callback: Any, actions: dict[str, str]) -> View:
    cls = _class_of(callback)
    function = _function_of(cls, callback)
    if function is not None:
        read = reading.read_function(function)
    else:
        read = reading.read_class(cls, (*actions.values(), "get_queryset") if actions else reading.HOST_HOOKS)
    return View(name, route, cls, function, actions, read)


def _function_of(cls: Any, callback: Any) -> Any:
    """The function of a function view, also if REST framework's `api_view` wrapped it; None for a class."""
    if cls is None:
        function = inspect.unwrap(callback)
        return function if isinstance(function, types.FunctionType) else getattr(function, "__call__", None)  # noqa: B004
    for method in getattr(cls, "http_method_names", ()):
        handler: Any = getattr(cls, method, None)
        if getattr(handler, "__module__", "") == "rest_framework.decorators":
            return inspect.unwrap(inspect.getclosurevars(handler).nonlocals["func"])
    return None


def _class_of(callback: Any) -> Any:
    """The class of a view, with the arguments of `as_view()` as attributes."""
    cls = getattr(callback, "view_class", None) or getattr(callback, "cls", None)
    arguments = getattr(callback, "view_initkwargs", None) or getattr(callback, "initkwargs", None) or {}
    attributes = {name: value for name, value in arguments.items() if name in LOOKUP_ARGUMENTS}
    if cls is None or not attributes:
        return cls
    return type(cls.__name__, (cls,), {**attributes, "__module__": cls.__module__})


def _is_foreign(callback: Any) -> bool:
    cls = getattr(callback, "view_class", None) or getattr(callback, "cls", None) or inspect.unwrap(callback)
    module = str(getattr(cls, "__module__", "") or type(cls).__module__)
    if module.startswith("django.views.generic"):
        return reading.model_of(_class_of(callback)) is None
    return any(module == name or module.startswith(f"{name}.") for name in (*FOREIGN, "django"))
