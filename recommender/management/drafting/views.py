"""Every named URL of a shop with the view that answers it: a function, a class, or an action of a viewset."""

from __future__ import annotations

import inspect
import types
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from recommender import checks
from recommender.management.drafting import reading
from recommender.management.drafting.facts import FOREIGN
from recommender.management.drafting.lookups import Reading

POSTS = ("post", "form_valid", "perform_create", "create")


@dataclass(frozen=True, slots=True)
class View:
    """A named URL, what its source reads, and by which methods it is called."""

    name: str
    route: checks.Route
    cls: Any
    function: Any
    actions: dict[str, str]
    reading: Reading

    @property
    def words(self) -> str:
        """Its names: of the URL, and of the function or the class."""
        own = self.cls if self.function is None else self.function
        return f"{self.name} {getattr(own, '__name__', '')} {' '.join(self.actions.values())}"

    @property
    def methods(self) -> list[str]:
        """The HTTP methods that it surely takes; empty where the source does not tell."""
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
    """The named URLs that the shop itself answers, in the order of its URLconf; of equal names the first."""
    seen: set[tuple[str, tuple[str, ...]]] = set()
    for name, route in checks.named_routes():
        callback = route.callback
        if _is_foreign(callback) or "format" in route.kwargs:
            continue
        actions = dict(getattr(callback, "actions", None) or {})
        if (name, tuple(actions)) not in seen:
            seen.add((name, tuple(actions)))
            yield _view(name, route, callback, actions)


def _view(name: str, route: checks.Route, callback: Any, actions: dict[str, str]) -> View:
    cls = _class_of(callback)
    function = _function_of(cls, callback)
    if function is not None:
        read = reading.read_function(function)
    else:
        read = reading.read_class(cls, (*actions.values(), "get_queryset") if actions else reading.HOST_HOOKS)
    return View(name, route, cls, function, actions, read)


def _function_of(cls: Any, callback: Any) -> Any:
    """The function of a view that is one; also within what REST framework's `api_view` made of it."""
    if cls is None:
        function = inspect.unwrap(callback)
        return function if isinstance(function, types.FunctionType) else getattr(function, "__call__", None)  # noqa: B004
    for method in getattr(cls, "http_method_names", ()):
        handler: Any = getattr(cls, method, None)
        if getattr(handler, "__module__", "") == "rest_framework.decorators":
            return inspect.unwrap(inspect.getclosurevars(handler).nonlocals["func"])
    return None


def _class_of(callback: Any) -> Any:
    """The class behind a view, with what `as_view()` was given."""
    cls = getattr(callback, "view_class", None) or getattr(callback, "cls", None)
    given = getattr(callback, "view_initkwargs", None) or getattr(callback, "initkwargs", None) or {}
    named = {
        name: value for name, value in given.items() if name in ("model", "queryset", "lookup_field", "slug_field")
    }
    return type(cls.__name__, (cls,), {**named, "__module__": cls.__module__}) if cls is not None and named else cls


def _is_foreign(callback: Any) -> bool:
    cls = getattr(callback, "view_class", None) or getattr(callback, "cls", None) or inspect.unwrap(callback)
    module = str(getattr(cls, "__module__", "") or type(cls).__module__)
    if module.startswith("django.views.generic"):
        return reading.model_of(_class_of(callback)) is None
    return any(module == name or module.startswith(f"{name}.") for name in (*FOREIGN, "django"))
