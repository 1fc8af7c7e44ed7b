"""The house keeps its own limits: few files at the root, ten layers, short functions, one name for one class."""

from __future__ import annotations

import ast
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
APP = ROOT / "recommender"
MAX_ROOT_FILES = 16
MAX_LAYERS = 10
MAX_FUNCTION_LINES = 40
MAX_PARAMETERS = 7
MAX_MODULE_LINES = 400
FRAMEWORK_CLASSES = frozenset({"Meta", "Media", "Command"})
"""Names that Django prescribes."""

VAGUE_NAMES = frozenset({"told", "asked", "made", "found", "known", "kept", "place"})

SHOPS = ("_shop", "drafts")
"""Folders of shops in `tests`, which are written as other people write them."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def modules(app: Path = APP) -> dict[str, ast.Module]:
    """Every module of the app but the migrations, by its path below the app."""
    paths = {path.relative_to(app): path for path in sorted(app.rglob("*.py"))}
    return {str(name): ast.parse(path.read_text()) for name, path in paths.items() if "migrations" not in name.parts}


def functions(app: Path = APP) -> Iterator[tuple[str, Function]]:
    """Every function, by its module and name."""
    for name, tree in modules(app).items():
        for node in ast.walk(tree):
            if isinstance(node, Function):
                yield f"{name}:{node.name}", node


def long_functions(app: Path = APP) -> list[str]:
    return [name for name, node in functions(app) if (node.end_lineno or 0) - node.lineno + 1 > MAX_FUNCTION_LINES]


def functions_with_many_parameters(app: Path = APP) -> list[str]:
    return [name for name, node in functions(app) if n_parameters(node) > MAX_PARAMETERS]


def n_parameters(node: Function) -> int:
    """The number of named parameters; `self` and `cls` do not count."""
    positional = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args)]
    return len(positional) + len(node.args.kwonlyargs) - (positional[:1] in (["self"], ["cls"]))


def repeated_classes(app: Path = APP) -> dict[str, list[str]]:
    """The class names that stand in two rooms; classes within a model are named by their model."""
    homes: defaultdict[str, list[str]] = defaultdict(list)
    for name, tree in modules(app).items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and not is_choice_of_model(node):
                homes[node.name].append(name)
    return {name: paths for name, paths in homes.items() if len(set(paths)) > 1 and name not in FRAMEWORK_CLASSES}


def is_choice_of_model(node: ast.ClassDef) -> bool:
    """`Run.State` and `Bundle.State` are told apart by their models."""
    return any(isinstance(base, ast.Attribute) and base.attr == "TextChoices" for base in node.bases)


def vague_variables(app: Path = APP) -> list[str]:
    """Variables and arguments whose name does not say what they hold."""
    return [
        f"{name}:{node.lineno} {variable}"
        for name, tree in modules(app).items()
        for node in ast.walk(tree)
        if (variable := assigned_name(node)) in VAGUE_NAMES
    ]


def assigned_name(node: ast.AST) -> str:
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        return node.id
    return node.arg if isinstance(node, ast.arg) else ""


def test_root_holds_only_what_django_celery_and_hosts_import() -> None:
    files = [path.name for path in APP.glob("*.py")]
    assert len(files) <= MAX_ROOT_FILES, files


def test_imports_have_ten_layers_at_most() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = [contract["layers"] for contract in contracts if contract["type"] == "layers"]
    assert len(layers) <= MAX_LAYERS


def test_no_class_name_stands_in_two_rooms() -> None:
    assert not repeated_classes()


def test_no_function_is_longer_than_forty_lines() -> None:
    assert not long_functions()


def test_no_function_has_more_than_seven_parameters() -> None:
    assert not functions_with_many_parameters()


def test_no_module_is_longer_than_four_hundred_lines() -> None:
    lengths = {str(path.relative_to(APP)): path.read_text().count("\n") for path in APP.rglob("*.py")}
    assert not {name: n_lines for name, n_lines in lengths.items() if n_lines > MAX_MODULE_LINES}


def test_every_variable_says_what_it_holds() -> None:
    assert not vague_variables()


def test_variables_of_benchmarks_and_tests_say_what_they_hold() -> None:
    of_tests = [
        variable for variable in vague_variables(ROOT / "tests") if not variable.partition("/")[0].endswith(SHOPS)
    ]
    assert not vague_variables(ROOT / "benchmarks") + of_tests


@pytest.fixture
def bad_house(tmp_path: Path) -> Path:
    """An app that breaks every limit that is read from its sources."""
    body = "".join(f"    x = {number}\n" for number in range(MAX_FUNCTION_LINES))
    (tmp_path / "one.py").write_text(f"class Twice: ...\ndef long(self):\n{body}")
    (tmp_path / "two.py").write_text(
        "class Twice: ...\nclass Meta: ...\ndef many(a, b, c, d, e, f, *, g, h): found = a\n"
    )
    return tmp_path


def test_limits_would_notice(bad_house: Path) -> None:
    assert long_functions(bad_house) == ["one.py:long"]
    assert functions_with_many_parameters(bad_house) == ["two.py:many"]
    assert repeated_classes(bad_house) == {"Twice": ["one.py", "two.py"]}
    assert vague_variables(bad_house) == ["two.py:3 found"]


def test_functions_within_the_limits_pass(tmp_path: Path) -> None:
    (tmp_path / "good.py").write_text("class A:\n    def few(self, a, b, c, d, e, f, g): position = a\n")
    assert not list(
        chain(long_functions(tmp_path), functions_with_many_parameters(tmp_path), vague_variables(tmp_path))
    )
