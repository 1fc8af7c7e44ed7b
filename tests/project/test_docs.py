"""The documentation is true: links lead somewhere, examples are Python, every command and check is described."""

from __future__ import annotations

import ast
import inspect
import pydoc
import re
import textwrap
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.core.management import get_commands, load_command_class

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(ROOT.glob("docs/*.md")), ROOT / "benchmarks" / "README.md"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_to_a_file(page: Path) -> None:
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)[^)]*\)", page.read_text())
    broken = [link for link in links if not (page.parent / link).exists()]
    assert not broken


def anchors_of(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_to_a_heading_leads_there(page: Path) -> None:
    links = re.findall(r"\]\((?!https?://)([^)#]*)#([^)]+)\)", page.read_text())
    broken = [
        f"{link}#{anchor}" for link, anchor in links if anchor not in anchors_of(page.parent / link if link else page)
    ]
    assert not broken


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_heading_stands_between_blank_lines(page: Path) -> None:
    text = re.sub(r"^( *)```.*?^\1```", lambda block: "x", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    lines = ["", *text.splitlines(), ""]
    crowded = [
        line
        for above, line, below in zip(lines, lines[1:], lines[2:], strict=False)
        if line.startswith("#") and (above or below)
    ]
    assert not crowded


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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_dotted_names_of_the_app_exist(page: Path) -> None:
    app = ROOT / "recommender"
    for name in re.findall(r"`(recommender(?:\.\w+)+)", page.read_text()):
        room = app / name.split(".")[1]
        if room.is_dir() or room.with_suffix(".py").is_file():  # else a permission, a check or a file
            assert pydoc.locate(name) is not None, name


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "index.md").read_text()
    missing = [
        page.name for page in ROOT.glob("docs/*.md") if page.name != "index.md" and f"({page.name})" not in index
    ]
    assert not missing


def alerts() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load((ROOT / "docs" / "alerts.yaml").read_text())["groups"]
    rules: list[dict[str, Any]] = group["rules"]
    return rules


def test_every_alert_has_its_section_in_the_runbook_and_none_else() -> None:
    sections = re.findall(r"^## (\w+)$", (ROOT / "docs" / "runbook.md").read_text(), re.MULTILINE)
    assert sections == [rule["alert"] for rule in alerts()]
    assert all(rule["labels"]["severity"] in ("page", "ticket") for rule in alerts())


def test_alerts_ask_for_metrics_outcomes_and_jobs_that_exist() -> None:
    from recommender.jobs import WORK

    page = (ROOT / "docs" / "deployment.md").read_text().split("## Metrics")[1].split("\n## ")[0]
    documented = set(re.findall(r"`(\w+)`", page)) | {
        "recommender_list_seconds_bucket",
        "recommender_list_seconds_count",
    }
    for rule in alerts():
        assert set(re.findall(r"recommender_\w+", rule["expr"])) <= documented, rule
        for label, pattern in re.findall(r'(outcome|state|name)=~?"([\w|]+)"', rule["expr"]):
            assert set(pattern.split("|")) <= (set(WORK) if label == "name" else documented), rule


def commands() -> list[str]:
    return sorted(name for name, app in get_commands().items() if app in ("recommender", "shopreco.shop"))


def test_every_command_is_documented_and_none_else() -> None:
    documented = re.findall(r"^(?:## |\| )`([a-z_]+)`", (ROOT / "docs" / "commands.md").read_text(), re.MULTILINE)
    assert sorted(documented) == commands()


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
    documented = set(
        re.findall(r"^\| `(recommender\.[EW]\d{3})`", (ROOT / "docs" / "settings.md").read_text(), re.MULTILINE)
    )
    assert documented == in_code


def test_every_room_of_the_code_is_on_the_map() -> None:
    app = ROOT / "recommender"
    rooms = {path.stem for path in app.glob("*.py")} | {path.parent.name for path in app.glob("*/__init__.py")}
    documented = set(re.findall(r"`(\w+)`", (ROOT / "docs" / "architecture.md").read_text()))
    assert rooms - {"__init__", "migrations"} <= documented


def paths_in(page: str, heading: str) -> list[str]:
    """The paths below `recommender` in the second column of the first table under a heading."""
    table = (ROOT / "docs" / page).read_text().split(f"\n## {heading}\n", 1)[1].split("\n## ")[0]
    cells = [line.split("|")[2] for line in table.splitlines() if line.startswith("| ")]
    return [path for cell in cells for path in re.findall(r"`([\w/.]+)`", cell)]


def test_every_question_leads_to_one_file() -> None:
    paths = paths_in("architecture.md", "Where to look")
    assert len(paths) == 10
    assert not [path for path in paths if not (ROOT / "recommender" / path).is_file()]


def test_every_place_in_the_glossary_exists() -> None:
    text = (ROOT / "docs" / "glossary.md").read_text()
    rows = [line.split("|") for line in text.splitlines() if line.startswith("| ")]
    paths = {path for row in rows if len(row) == 5 for path in re.findall(r"`([\w/.]+)`", row[3])}
    assert len(paths) > 30
    assert not [path for path in paths if not (ROOT / "recommender" / path).exists()]


def rows_of(page: str, heading: str) -> set[str]:
    """The names in the first column of the table under a heading of its first cell."""
    table = (ROOT / "docs" / page).read_text().split(f"\n| {heading} |", 1)[1].split("\n\n")[0]
    first = [line.split("|")[1] for line in table.splitlines() if line.startswith("| ")]
    return {name for cell in first for name in re.findall(r"`\{?%? ?(\w+)", cell)}


def test_every_attribute_of_a_catalog_is_documented_and_none_else() -> None:
    from recommender.catalog import Catalog

    ours = {
        "faults",
        "facts",
        "live",
        "item_id",
        "value",
        "declared",
        "watched",
        "prefetched",
        "model",
        "is_item",
        "items_about",
        "columns",
        "own_objects",
        "owning_catalog",
        "inheriting_catalogs",
    }
    ours |= {"objects", "changed_since"}  # for shops whose reading of many rows is their own
    documented = rows_of("catalog.md", "attribute") - {"prepare_"}
    assert documented == {name for name in vars(Catalog) if not name.startswith("_")} - ours


def test_every_attribute_of_order_rows_is_documented_and_none_else() -> None:
    from recommender.tracking.orders import ATTRIBUTES

    text = (ROOT / "docs" / "tracking.md").read_text().split("## Order rows")[1]
    table = text.split("\n| attribute |", 1)[1].split("\n\n")[0]
    documented = {
        name
        for line in table.splitlines()
        for name in re.findall(r"`(\w+)`", line.split("|")[1] if "|" in line else "")
    }
    assert documented - {"kind"} == {*ATTRIBUTES, "paid_values"}


def test_every_argument_of_a_page_is_documented_and_none_else() -> None:
    from recommender.tracking import page

    documented = rows_of("tracking.md", "argument")
    assert documented == set(inspect.signature(page).parameters) - {"view_name", "event"}


def test_every_tag_is_documented_and_none_else() -> None:
    from recommender.templatetags.recommender import register

    documented = rows_of("template-tags.md", "tag")
    assert documented - {"entry"} | {"money"} == {*register.tags, *register.filters}


def test_every_setting_is_documented_with_its_default() -> None:
    from recommender import conf

    text = (ROOT / "docs" / "settings.md").read_text()
    documented = dict(re.findall(r"^\| `([A-Z_]+)` \| `(.+?)` \|", text, re.MULTILINE))
    assert documented == {name: repr(default) for name, default in conf.DEFAULTS.items()}
