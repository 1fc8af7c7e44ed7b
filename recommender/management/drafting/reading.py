"""Reads the source of a view: which parts of the URL, form or JSON it takes, and which objects it looks up by them."""

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
    "get",
    "filter",
    "get_or_create",
    "update_or_create",
    "create",
    "first",
    "exclude",
    "aget",
    "acreate",
    "acount",
)
CREATES = ("create", "get_or_create", "update_or_create", "bulk_create", "acreate")
SHORTCUTS = ("get_object_or_404", "get_list_or_404", "aget_object_or_404")
HOST_HOOKS = (
    "get", "post", "put", "dispatch", "get_object", "get_queryset", "get_context_data", "form_valid", "perform_create",
    "retrieve", "list", "create", "get_form_kwargs", "get_results", "get_form",
)  # fmt: skip
FRAMEWORKS = ("django", "rest_framework", "parler", "mptt", "haystack")


@dataclass(frozen=True, slots=True)
class _Instance:
    """An object of a class of the shop's."""

    cls: type


UNKNOWN = object()
REQUEST, SESSION, SELF = object(), object(), object()


def read_function(function: Any) -> Reading:
    """What a view that is a function reads; its arguments but the request are parts of the URL."""
    reading = Reading()
    _Reader(reading, function).call({}, is_view=True)
    return reading


def model_of(cls: Any) -> type[models.Model] | None:
    """The model whose objects a view shows: by `model`, `queryset`, `get_queryset` or its serializer."""
    declared = getattr(cls, "model", None) or getattr(getattr(cls, "queryset", None), "model", None)
    if declared is None and (function := _own_method(cls, "get_queryset")) is not None:
        answer = _Reader(Reading(), function, cls=cls).call({}, is_view=True)
        declared = answer if isinstance(answer, type) else None
    if declared is None:
        declared = getattr(getattr(getattr(cls, "serializer_class", None), "Meta", None), "model", None)
    return declared if isinstance(declared, type) and issubclass(declared, models.Model) else None


def read_class(cls: type, names: tuple[str, ...] = HOST_HOOKS) -> Reading:
    """What the methods of a view's class read, those of Django and of REST framework aside."""
    reading = Reading(fixed=fixed_of(getattr(cls, "queryset", None)))
    for name in names:
        function = _own_method(cls, name)
        if function is not None:
            _Reader(reading, function, cls=cls).call({}, is_view=True)
    return reading


def fixed_of(queryset: Any) -> list[tuple[type[models.Model], str, Any]]:
    """The flags by which the queryset of a view's class chooses, such as `listed=True`."""
    conditions = getattr(getattr(getattr(queryset, "query", None), "where", None), "children", ())
    exact = [one for one in conditions if getattr(one, "lookup_name", "") == "exact" and hasattr(one.lhs, "target")]
    return [(queryset.model, one.lhs.target.name, one.rhs) for one in exact if one.lhs.target.model is queryset.model]


def own_methods(cls: type, names: tuple[str, ...]) -> list[str]:
    """Those of the methods that the shop wrote."""
    return [name for name in names if _own_method(cls, name) is not None]


def fields_of_form(cls: Any) -> list[str]:
    """The names of a form's fields; none where the class is no form."""
    return list(getattr(cls, "base_fields", None) or getattr(cls, "_declared_fields", None) or ())


def decorators_of(function: Any) -> str:
    """The source above a view's `def`."""
    return facts.source_of(function).split("def ")[0]


def _own_method(cls: type, name: str) -> Any:
    for ancestor in cls.__mro__:
        if name in vars(ancestor):
            is_foreign = ancestor.__module__.partition(".")[0] in (*FRAMEWORKS, "builtins")
            function = inspect.unwrap(vars(ancestor)[name]) if callable(vars(ancestor)[name]) else None
            return None if is_foreign or not isinstance(function, types.FunctionType) else function
    return None


class _Reader:
    """Follows the values of one function, and of those that it calls, without running anything."""

    def __init__(self, reading: Reading, function: Any, *, cls: type | None = None, depth: int = 0) -> None:
        self.reading, self.function, self.cls, self.depth = reading, inspect.unwrap(function), cls, depth
        self.names: dict[str, Any] = {}
        self.answer: Any = UNKNOWN
        self.scope = getattr(self.function, "__globals__", {})

    def call(self, given: dict[str, Any], *, positional: tuple[Any, ...] = (), is_view: bool = False) -> Any:
        """Read the function with these arguments; what it answers, where that is followed."""
        node = self._node()
        if node is None:
            return UNKNOWN
        self.reading.is_read = True
        arguments = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
        self.names = dict(self._entry(arguments, node)) if is_view else {}
        if arguments[:1] == ["self"] and not is_view:
            self.names["self"] = SELF
            arguments = arguments[1:]
        for name, value in (*zip(arguments, positional, strict=False), *given.items()):
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
        """What an expression stands for: a part of the request, a model, a class, a function; else UNKNOWN."""
        if isinstance(node, ast.Name):
            return self.names.get(node.id, self.scope.get(node.id, UNKNOWN))
        if isinstance(node, ast.Constant):
            return node.value
        if isinstance(node, ast.Attribute):
            return self._attribute(self._value(node.value), node.attr)
        if isinstance(node, ast.Subscript):
            return self._item(self._value(node.value), node.slice)
        if isinstance(node, ast.Call):
            return self._call(node)
        if isinstance(node, ast.Await):
            return self._value(node.value)
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
            return (
                owner
                if name in ("objects", "_default_manager") or isinstance(getattr(owner, name, None), models.Manager)
                else UNKNOWN
            )
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
            function = _own_method(self.cls, name) if self.cls is not None else None
            return (
                self._follow(function, self.cls, arguments, keywords)
                if function
                else self._function(self._own_attribute(name), arguments, keywords)
            )
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
        bare = next(
            (
                value
                for value in (*arguments, *keywords.values())
                if isinstance(value, Path) and not value.names and value.kind != "kwargs"
            ),
            None,
        )
        if bare is not None and (isinstance(function, type) or function is UNKNOWN):
            self._note_form(function, bare)
            return bare
        if isinstance(function, type) and not _is_foreign(function):
            self._follow(_own_method(function, "__init__"), function, arguments, keywords)
            return _Instance(function)
        if isinstance(function, types.FunctionType) and not _is_foreign(function):
            return self._follow(function, None, arguments, keywords)
        return UNKNOWN

    def _note_form(self, form: Any, sent: Path) -> None:
        """The fields of a form or a serializer; one that chooses an object looks it up."""
        for name, declared in getattr(form, "base_fields", getattr(form, "_declared_fields", {})).items():
            self.reading.note(sent.inside(name))
            model = getattr(getattr(declared, "queryset", None), "model", None)
            if model is not None:
                column = getattr(declared, "slug_field", None) or getattr(declared, "to_field_name", None) or "pk"
                self.reading.lookups.append(Lookup(model, column, sent.inside(name)))

    def _follow(self, function: Any, cls: type | None, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        if function is None or self.depth >= MAX_DEPTH:
            return UNKNOWN
        reader = _Reader(self.reading, function, cls=cls, depth=self.depth + 1)
        return reader.call(keywords, positional=arguments)


def _is_foreign(thing: Any) -> bool:
    return str(getattr(thing, "__module__", "")).partition(".")[0] in (
        *FRAMEWORKS,
        "builtins",
        "json",
        "uuid",
        "decimal",
    )
