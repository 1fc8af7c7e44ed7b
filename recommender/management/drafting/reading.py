"""Reads the source of a view with `ast`: which values of the request it uses, and which objects it looks up by them."""

from __future__ import annotations

import ast
import inspect
import textwrap
import types
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.db import models

from recommender.management.drafting import facts
from recommender.management.drafting.lookups import Lookup, Path, Reading

MAX_DEPTH = 3
PLACES = {"GET": "GET", "POST": "POST", "query_params": "GET", "data": "JSON", "kwargs": "kwargs"}
TRANSPARENT = ("cleaned_data", "validated_data", "initial_data", "data")
SAME = ("int", "str", "float", "UUID", "Decimal", "unquote", "escape", "force_str", "abs", "max", "min")
SAME_METHODS = ("strip", "lower", "upper", "replace", "removeprefix", "rstrip", "lstrip")
FETCHES = (
    "get", "filter", "get_or_create", "update_or_create", "create", "first", "exclude", "aget", "acreate", "acount",
)  # fmt: skip
CREATES = ("create", "get_or_create", "update_or_create", "bulk_create", "acreate")
SHORTCUTS = ("get_object_or_404", "get_list_or_404", "aget_object_or_404")
HOST_HOOKS = (
    "get", "post", "put", "dispatch", "get_object", "get_queryset", "get_context_data", "form_valid", "perform_create",
    "retrieve", "list", "create", "get_form_kwargs", "get_results", "get_form",
)  # fmt: skip
FRAMEWORKS = ("django", "rest_framework", "parler", "mptt", "haystack", "builtins")
LIBRARIES = (*FRAMEWORKS, "json", "uuid", "decimal")


@dataclass(frozen=True, slots=True)
class _Instance:
    """An instance of one of the shop's classes."""

    cls: type


UNKNOWN = object()
REQUEST, SESSION, SELF = object(), object(), object()


def read_function(function: Any) -> Reading:
    """What a function view reads; its arguments, except the request, are parts of the URL."""
    reading = Reading()
    _FunctionReader(reading, function).call({}, is_view=True)
    return reading


def model_of(cls: Any) -> type[models.Model] | None:
    """The model whose objects a view shows, by `model`, `queryset`, `get_queryset` or its serializer."""
    declared = getattr(cls, "model", None) or getattr(getattr(cls, "queryset", None), "model", None)
    if declared is None and (function := _own_method(cls, "get_queryset")) is not None:
        answer = _FunctionReader(Reading(), function, cls=cls).call({}, is_view=True)
        declared = answer if isinstance(answer, type) else None
    if declared is None:
        declared = getattr(getattr(getattr(cls, "serializer_class", None), "Meta", None), "model", None)
    return declared if isinstance(declared, type) and issubclass(declared, models.Model) else None


def read_class(cls: type, names: tuple[str, ...] = HOST_HOOKS) -> Reading:
    """What the methods that the shop wrote for a view's class read."""
    reading = Reading(fixed=fixed_of(getattr(cls, "queryset", None)))
    for name in names:
        function = _own_method(cls, name)
        if function is not None:
            _FunctionReader(reading, function, cls=cls).call({}, is_view=True)
    return reading


def fixed_of(queryset: Any) -> list[tuple[type[models.Model], str, Any]]:
    """The conditions of a view's class on its queryset, such as `listed=True`."""
    conditions = getattr(getattr(getattr(queryset, "query", None), "where", None), "children", ())
    exact = [node for node in conditions if getattr(node, "lookup_name", "") == "exact" and hasattr(node.lhs, "target")]
    targets = [(node.lhs.target, node.rhs) for node in exact]
    return [(queryset.model, target.name, value) for target, value in targets if target.model is queryset.model]


def own_methods(cls: type, names: tuple[str, ...]) -> list[str]:
    """Those of the named methods that the shop wrote."""
    return [name for name in names if _own_method(cls, name) is not None]


def fields_of_form(cls: Any) -> list[str]:
    """The names of a form's fields; empty if the class is not a form."""
    return list(getattr(cls, "base_fields", None) or getattr(cls, "_declared_fields", None) or ())


def decorators_of(function: Any) -> str:
    """The source above a view's `def`."""
    return facts.source_of(function).split("def ")[0]


def _own_method(cls: type, name: str) -> Any:
    for ancestor in cls.__mro__:
        if name in vars(ancestor):
            is_foreign = ancestor.__module__.partition(".")[0] in FRAMEWORKS
            function = inspect.unwrap(vars(ancestor)[name]) if callable(vars(ancestor)[name]) else None
            return None if is_foreign or not isinstance(function, types.FunctionType) else function
    return None


class _FunctionReader:
    """Follows the values in a function, and in the functions that it calls, without running them."""

    def __init__(self, reading: Reading, function: Any, *, cls: type | None = None, depth: int = 0) -> None:
        self.reading, self.function, self.cls, self.depth = reading, inspect.unwrap(function), cls, depth
        self.names: dict[str, Any] = {}
        self.answer: Any = UNKNOWN
        self.scope = getattr(self.function, "__globals__", {})

    def call(self, keywords: dict[str, Any], *, positional: tuple[Any, ...] = (), is_view: bool = False) -> Any:
        """Read the function with these arguments, and return what it returns, or UNKNOWN."""
        node = self._node()
        if node is None:
            return UNKNOWN
        self.reading.is_read = True
        arguments = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
        self.names = dict(self._entry(arguments, node)) if is_view else {}
        if arguments[:1] == ["self"] and not is_view:
            self.names["self"] = SELF
            arguments = arguments[1:]
        for name, value in (*zip(arguments, positional, strict=False), *keywords.items()):
            self.names[name] = value
            if isinstance(value, Path):
                self.reading.note(value, name)
        for statement in node.body:
            self._statement(statement)
        return self.answer

    def _entry(self, arguments: list[str], node: Any) -> Iterator[tuple[str, Any]]:
        for name in arguments:
            if name in ("self", "cls"):
                yield name, SELF
            elif name in ("request", "req", "r") or name == next((n for n in arguments if n != "self"), ""):
                yield name, REQUEST if name != "form" else Path("POST")
            else:
                yield name, Path("kwargs", (name,))
        if node.args.kwarg is not None:
            yield node.args.kwarg.arg, Path("kwargs")

    def _node(self) -> Any:
        try:
            tree = ast.parse(textwrap.dedent(facts.source_of(self.function)))
        except (SyntaxError, ValueError):
            return None
        kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
        return next((node for node in tree.body if isinstance(node, kinds)), None)

    def _statement(self, node: ast.AST) -> None:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            return
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.NamedExpr) and node.value is not None:
            value = self._value(node.value)
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                self._assign(target, value)
            return
        if isinstance(node, ast.Return):
            self.answer = self._value(node.value)
            return
        if isinstance(node, ast.AugAssign):
            self._value(node.value)
            self._assign(node.target, UNKNOWN)
            return
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr):
                self._value(child)
            else:
                self._statement(child)

    def _assign(self, target: ast.AST, value: Any) -> None:
        if isinstance(target, ast.Name):
            self.names[target.id] = value
            if isinstance(value, Path):
                self.reading.note(value, target.id)
        elif isinstance(target, ast.Attribute):
            if self._value(target.value) is SESSION:
                self.reading.writes_session = True
            self.names[f".{target.attr}"] = value
        elif isinstance(target, ast.Subscript) and self._value(target.value) is SESSION:
            self.reading.writes_session = True

    def _value(self, node: ast.AST | None) -> Any:
        """The value of an expression: a part of the request, a model, a class, a function; otherwise UNKNOWN."""
        match node:
            case ast.Name(id=name):
                return self.names.get(name, self.scope.get(name, UNKNOWN))
            case ast.Constant(value=value):
                return value
            case ast.Attribute(value=owner, attr=name):
                return self._attribute(self._value(owner), name)
            case ast.Subscript(value=owner, slice=key):
                return self._item(self._value(owner), key)
            case ast.Call():
                return self._call(node)
            case ast.Await(value=awaited):
                return self._value(awaited)
        inner = [self._value(child) for child in ast.iter_child_nodes(node)] if node is not None else []
        if isinstance(node, ast.BoolOp | ast.IfExp):
            return next((value for value in inner if isinstance(value, Path)), UNKNOWN)
        if isinstance(node, ast.NamedExpr):
            self._assign(node.target, inner[-1])
            return inner[-1]
        return UNKNOWN

    def _attribute(self, owner: Any, name: str) -> Any:
        if name == "session":
            return SESSION
        if name in ("request", "_request"):
            return REQUEST
        if owner is REQUEST:
            return Path("JSON") if name == "body" else Path(PLACES[name]) if name in PLACES else UNKNOWN
        if owner is SESSION:
            return SESSION
        if isinstance(owner, Path):
            return owner if name in TRANSPARENT else UNKNOWN
        if owner is SELF:
            return self._own_attribute(name)
        if isinstance(owner, models.Manager | models.QuerySet):
            return owner.model
        if isinstance(owner, type) and issubclass(owner, models.Model):
            is_manager = name in ("objects", "_default_manager")
            return owner if is_manager or isinstance(getattr(owner, name, None), models.Manager) else UNKNOWN
        if isinstance(owner, types.ModuleType):
            return getattr(owner, name, UNKNOWN)
        return UNKNOWN

    def _own_attribute(self, name: str) -> Any:
        if f".{name}" in self.names:
            return self.names[f".{name}"]
        if name == "kwargs":
            return Path("kwargs")
        value = getattr(self.cls, name, UNKNOWN) if self.cls is not None else UNKNOWN
        if isinstance(value, models.Manager | models.QuerySet):
            return value.model
        return value

    def _item(self, owner: Any, key: ast.AST) -> Any:
        name = self._value(key)
        if isinstance(owner, Path) and isinstance(name, str | int):
            path = owner.inside(name)
            self.reading.note(path)
            return path
        return SESSION if owner is SESSION else UNKNOWN

    def _call(self, node: ast.Call) -> Any:
        keywords = {word.arg: self._value(word.value) for word in node.keywords if word.arg}
        arguments = tuple(self._value(argument) for argument in node.args)
        for name, value in keywords.items():
            if isinstance(value, Path):
                self.reading.note(value, name)
        if isinstance(node.func, ast.Attribute):
            return self._method(self._value(node.func.value), node.func.attr, arguments, keywords)
        if isinstance(node.func, ast.Name) and node.func.id in SAME:
            return arguments[0] if arguments else UNKNOWN
        return self._function(self._value(node.func), arguments, keywords)

    def _method(self, owner: Any, name: str, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        if isinstance(owner, Path):
            return self._of_path(owner, name, arguments)
        if owner is SESSION:
            self.reading.writes_session |= name in ("setdefault", "update", "__setitem__")
            return SESSION
        if isinstance(owner, type) and issubclass(owner, models.Model):
            return self._of_model(owner, name, arguments, keywords)
        if isinstance(owner, _Instance):
            return self._follow(_own_method(owner.cls, name), owner.cls, arguments, keywords)
        if owner is SELF:
            if self.cls is not None and (function := _own_method(self.cls, name)):
                return self._follow(function, self.cls, arguments, keywords)
            return self._function(self._own_attribute(name), arguments, keywords)
        if isinstance(owner, types.ModuleType):
            if name in ("loads", "load"):
                return arguments[0] if arguments else UNKNOWN
            return self._function(getattr(owner, name, UNKNOWN), arguments, keywords)
        return UNKNOWN

    def _of_path(self, owner: Path, name: str, arguments: tuple[Any, ...]) -> Any:
        if name in ("get", "getlist", "pop") and arguments and isinstance(arguments[0], str):
            path = owner.inside(arguments[0])
            self.reading.note(path)
            return path
        return owner if name in SAME_METHODS or name in ("copy", "dict") else UNKNOWN

    def _of_model(
        self, model: type[models.Model], name: str, arguments: tuple[Any, ...], keywords: dict[str, Any]
    ) -> Any:
        if name in FETCHES:
            self._note_lookups(model, keywords, is_single=name not in ("filter", "exclude"))
        if name in CREATES:
            self.reading.created.add(model)
        return model

    def _note_lookups(self, model: type[models.Model], keywords: dict[str, Any], *, is_single: bool = True) -> None:
        for name, value in keywords.items():
            if isinstance(value, Path) and value.names:
                self.reading.lookups.append(Lookup(model, name, value, is_single))
            elif isinstance(value, bool | str) and value is not UNKNOWN:
                self.reading.fixed.append((model, name, value))

    def _function(self, function: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        if getattr(function, "__name__", "") in SHORTCUTS and arguments:
            model = getattr(arguments[0], "model", arguments[0])
            if isinstance(model, type) and issubclass(model, models.Model):
                self._note_lookups(model, keywords)
                return model
            return UNKNOWN
        if isinstance(function, type) and issubclass(function, models.Model):
            self.reading.created.add(function)
            return UNKNOWN
        paths = [value for value in (*arguments, *keywords.values()) if isinstance(value, Path)]
        whole = next((path for path in paths if not path.names and path.kind != "kwargs"), None)
        if whole is not None and (isinstance(function, type) or function is UNKNOWN):
            self._note_form(function, whole)
            return whole
        if isinstance(function, type) and not _is_foreign(function):
            self._follow(_own_method(function, "__init__"), function, arguments, keywords)
            return _Instance(function)
        if isinstance(function, types.FunctionType) and not _is_foreign(function):
            return self._follow(function, None, arguments, keywords)
        return UNKNOWN

    def _note_form(self, form: Any, sent: Path) -> None:
        """Note the fields of a form or serializer; a field that selects an object is a look-up."""
        for name, declared in getattr(form, "base_fields", getattr(form, "_declared_fields", {})).items():
            self.reading.note(sent.inside(name))
            model = getattr(getattr(declared, "queryset", None), "model", None)
            if model is not None:
                column = getattr(declared, "slug_field", None) or getattr(declared, "to_field_name", None) or "pk"
                self.reading.lookups.append(Lookup(model, column, sent.inside(name)))

    def _follow(self, function: Any, cls: type | None, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        if function is None or self.depth >= MAX_DEPTH:
            return UNKNOWN
        reader = _FunctionReader(self.reading, function, cls=cls, depth=self.depth + 1)
        return reader.call(keywords, positional=arguments)


def _is_foreign(target: Any) -> bool:
    return str(getattr(target, "__module__", "")).partition(".")[0] in LIBRARIES
