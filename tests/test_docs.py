"""The documentation holds what it says: links lead somewhere, examples are Python, every command and check is told."""

from __future__ import annotations

import ast
import re
import textwrap
from pathlib import Path

import pytest
from django.core.management import get_commands, load_command_class

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(ROOT.glob("docs/*.md")), ROOT / "benchmarks" / "README.md"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_to_a_file(page: Path) -> None:
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)[^)]*\)", page.read_text())
    broken = [link for link in links if not (page.parent / link).exists()]
    assert not broken


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_example_is_python(page: Path) -> None:
    for block in re.findall(r"^ *```python\n(.*?)^ *```", page.read_text(), re.MULTILINE | re.DOTALL):
        code = textwrap.dedent(block).strip()
        if code.startswith(('"', "path(")):  # one entry of a dict or list
            code = "{" + code + "}"
        ast.parse(code)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_imported_names_exist(page: Path) -> None:
    for line in re.findall(r"^from (?:recommender|shopreco)[\w.]* import [\w, ]+$", page.read_text(), re.MULTILINE):
        exec(line, {})  # noqa: S102  our own documentation


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "index.md").read_text()
    missing = [
        page.name for page in ROOT.glob("docs/*.md") if page.name != "index.md" and f"({page.name})" not in index
    ]
    assert not missing


def commands() -> list[str]:
    return sorted(name for name, app in get_commands().items() if app in ("recommender", "shopreco.shop"))


def test_every_command_is_documented_and_none_else() -> None:
    told = re.findall(r"^(?:## |\| )`([a-z_]+)`", (ROOT / "docs" / "commands.md").read_text(), re.MULTILINE)
    assert sorted(told) == commands()


@pytest.mark.parametrize("name", [name for name in commands() if name.startswith("recommender_")])
def test_every_option_of_a_command_is_documented_and_none_else(name: str) -> None:
    section = (ROOT / "docs" / "commands.md").read_text().split(f"## `{name}`")[1].split("\n## ")[0]
    parser = load_command_class("recommender", name).create_parser("manage.py", name)
    django = load_command_class("django.core", "check").create_parser("manage.py", "check")
    common = {option for action in django._actions for option in action.option_strings}
    options = {option for action in parser._actions for option in action.option_strings} - common
    assert set(re.findall(r"^\| `(--[a-z-]+)", section, re.MULTILINE)) == options - {"--skip-checks"}


def test_every_system_check_is_documented_and_none_else() -> None:
    in_code = set(re.findall(r'"(recommender\.[EW]\d{3})"', (ROOT / "recommender" / "checks.py").read_text()))
    told = set(re.findall(r"^\| `(recommender\.[EW]\d{3})`", (ROOT / "docs" / "settings.md").read_text(), re.MULTILINE))
    assert told == in_code


def test_every_room_of_the_code_is_on_the_map() -> None:
    app = ROOT / "recommender"
    rooms = {path.stem for path in app.glob("*.py")} | {path.parent.name for path in app.glob("*/__init__.py")}
    told = set(re.findall(r"`(\w+)`", (ROOT / "docs" / "architecture.md").read_text()))
    assert rooms - {"__init__", "migrations"} <= told
