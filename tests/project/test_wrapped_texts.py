"""Every text that the admin shows goes through gettext: in code, in the models and in templates."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.apps import apps
from django.contrib import admin
from django.db import models
from django.utils.functional import Promise

APP = Path(__file__).resolve().parents[2] / "recommender"
ROOMS_OF_THE_ADMIN = ("admin", "models", "overview", "rules", "experiments", "personas")
WRAPPERS = {"_", "gettext", "ngettext", "pgettext", "npgettext", "gettext_lazy", "ngettext_lazy", "pgettext_lazy"}
SHOWN = {
    "verbose_name", "verbose_name_plural", "help_text", "search_help_text", "short_description", "description",
    "label", "title", "question", "button", "warning", "insistence", "empty_label", "x_label", "y_label",
}  # fmt: skip
"""Arguments and attributes whose text people read."""

SENTENCE = re.compile(r"[A-Za-z]{2,},? +[a-z]{2,}")
WORD = re.compile(r"[A-Za-z]{3,}")
SAME_EVERYWHERE = {"NDCG@10", "MRR", "&rsaquo;"}
LOGS = {"debug", "info", "warning", "error", "exception", "log"}


def modules() -> list[Path]:
    return sorted(path for room in ROOMS_OF_THE_ADMIN for path in (APP / room).rglob("*.py"))


def name_of(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def bare_texts(source: str) -> Iterator[tuple[int, str]]:
    """Line and text of each literal that people read and that no function of gettext holds."""
    tree = ast.parse(source)
    wrapped = {id(inner) for node in ast.walk(tree) if isinstance(node, ast.Call) and name_of(node.func) in WRAPPERS
               for inner in ast.walk(node)}  # fmt: skip
    for node in ast.walk(tree):
        for text in _literals_shown_by(node):
            if id(text) not in wrapped and WORD.search(re.sub(r"<[^>]*>?", "", text.value)):
                yield text.lineno, text.value


def _literals_shown_by(node: ast.AST) -> Iterator[ast.Constant]:
    if isinstance(node, ast.keyword) and node.arg in SHOWN:
        yield from _literals(node.value)
    if isinstance(node, ast.Assign) and any(getattr(target, "id", "") in SHOWN for target in node.targets):
        yield from _literals(node.value)
    if isinstance(node, ast.Call) and name_of(node.func) == "message_user":
        yield from _literals(node)
    is_message = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in LOGS
    if is_message and getattr(node.func.value, "id", "") == "messages":  # type: ignore[attr-defined]
        yield from _literals(node)


def _literals(node: ast.AST) -> Iterator[ast.Constant]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node
    for part in _parts(node):
        yield from _literals(part)


def _parts(node: ast.AST) -> list[ast.expr]:
    """The parts of an expression that may hold its text; what is put into a format is no part."""
    match node:
        case ast.JoinedStr(values=parts) | ast.Tuple(elts=parts) | ast.List(elts=parts) | ast.BoolOp(values=parts):
            return parts
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return [left, right]
        case ast.BinOp(left=left):
            return [left]
        case ast.IfExp(body=body, orelse=orelse):
            return [body, orelse]
        case ast.Call(args=parts):
            return parts
    return []


def sentences(source: str) -> Iterator[tuple[int, str]]:
    """Literals of several words outside docstrings, logs, refusals to developers and gettext."""
    tree = ast.parse(source)
    excused: set[int] = set()
    for node in ast.walk(tree):
        is_logged = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in LOGS
        is_wrapped = isinstance(node, ast.Call) and name_of(node.func) in WRAPPERS
        is_docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if is_logged or is_wrapped or is_docstring or isinstance(node, ast.Raise):
            excused |= {id(inner) for inner in ast.walk(node)}
        excused |= {id(key) for key in node.keys} if isinstance(node, ast.Dict) else set()
    for node in ast.walk(tree):
        is_text = isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in excused
        if is_text and SENTENCE.search(re.sub(r"<[^>]*>?", "", node.value)):  # type: ignore[attr-defined]
            yield node.lineno, node.value  # type: ignore[attr-defined]


@pytest.mark.parametrize("module", modules(), ids=lambda path: str(path.relative_to(APP)))
def test_every_text_of_a_module_is_wrapped(module: Path) -> None:
    assert not list(bare_texts(module.read_text()))


@pytest.mark.parametrize("module", sorted((APP / "admin").rglob("*.py")), ids=lambda path: path.name)
def test_admin_has_no_sentence_outside_gettext(module: Path) -> None:
    assert not list(sentences(module.read_text()))


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ('Field(verbose_name="last seen")', "last seen"),
        ('Field(help_text=f"{a} is late")', " is late"),
        ('description = "when it was"', "when it was"),
        ('self.message_user(request, "It is gone.")', "It is gone."),
        ('messages.error(request, "It left: %s." % it)', "It left: %s."),
    ],
)
def test_bare_text_is_found(source: str, text: str) -> None:
    assert [literal for _line, literal in bare_texts(source)] == [text]
    assert not list(bare_texts(re.sub(r'(f?"[^"]*")', r"_(\1)", source)))


def test_fields_of_every_page_of_the_admin_have_a_translated_name() -> None:
    bare = []
    registered = [model for model in apps.get_app_config("recommender").get_models() if model in admin.site._registry]
    assert len(registered) > 15
    for model in registered:
        bare += [model.__name__] if not isinstance(model._meta.verbose_name, Promise) else []
        for field in model._meta.get_fields():
            if isinstance(field, models.Field) and field.editable and not field.primary_key:
                labels = [label for _value, label in field.choices or ()]
                texts = [field._verbose_name, *([field.help_text] if field.help_text else []), *labels]  # type: ignore[attr-defined]
                bare += [f"{model.__name__}.{field.name}"] if not all(isinstance(one, Promise) for one in texts) else []
    assert not bare


@pytest.mark.parametrize("template", sorted((APP / "templates").rglob("*.html")), ids=lambda path: path.name)
def test_every_text_of_a_template_is_wrapped(template: Path) -> None:
    source = re.sub(r"\{% blocktranslate.*?endblocktranslate %\}", "", template.read_text(), flags=re.DOTALL)
    source = re.sub(r"\{#.*?#\}|\{% comment.*?endcomment %\}", "", source, flags=re.DOTALL)
    source = re.sub(r"\{% block bodyclass %\}.*?\{% endblock %\}", "", source)
    source = re.sub(r"\{%.*?%\}|\{\{.*?\}\}", "", source, flags=re.DOTALL)
    attributes = re.findall(r'\b(?:alt|title|placeholder|aria-label)="([^"]*)"', source)
    texts = [text.strip() for text in re.split(r"<[^>]*>", source)]
    assert not [text for text in (*attributes, *texts) if WORD.search(text) and text not in SAME_EVERYWHERE]


@pytest.mark.parametrize("template", sorted((APP / "templates" / "admin").rglob("*.html")), ids=lambda path: path.name)
def test_table_that_scrolls_is_reached_by_keyboard_and_has_a_name(template: Path) -> None:
    tables = re.findall(r'<div class="rec-scroll[^>]*>', template.read_text())
    assert not [tag for tag in tables if 'tabindex="0"' not in tag or "aria-label=" not in tag]
