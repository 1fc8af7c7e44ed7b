"""A real Oscar shop follows `docs/oscar.md`: its own tests pass there, and so does a shopper with the built wheel."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.oscar import PAGE, ROOT, apply, blocks, commands, needed, open_shop, run

pytestmark = [
    pytest.mark.oscar,
    pytest.mark.skipif(importlib.util.find_spec("oscar") is None, reason="the extra `oscar` is not installed"),
]

TEXT = PAGE.read_text()
TUTORIAL = needed(TEXT)
MAX_LINES = 7


def assert_success(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, f"{done.args}\n{done.stdout[-12_000:]}\n{done.stderr[-4_000:]}"
    return done.stdout


def test_page_needs_at_most_seven_lines() -> None:
    lines = [line for _, code in blocks(TUTORIAL) for line in code.splitlines() if line.strip()]
    assert len(lines) == MAX_LINES, lines


def test_every_check_is_on_the_page_and_none_else() -> None:
    code = (ROOT / "recommender" / "contrib" / "oscar" / "checks.py").read_text()
    documented = set(re.findall(r"^\| `(recommender_oscar\.\w+)`", TEXT, re.MULTILINE))
    assert documented == set(re.findall(r'"(recommender_oscar\.[EW]\d{3})"', code))


def test_shops_own_tests_pass(tmp_path: Path) -> None:
    """See `oscar_shop/cases_*.py`: they need settings, apps and tables of their own, hence a process of their own."""
    shop = open_shop(tmp_path / "shop", TEXT.partition("## Instead of Oscar's search page")[0])
    url = os.environ.get("DATABASE_URL", "")
    own = {"DATABASE_URL": f"{url}_oscar"} if url.startswith("postgres") else {}
    output = assert_success(
        run(sys.executable, "-m", "pytest", "-c", "pytest.ini", "--rootdir", ".", folder=shop, **own)
    )
    assert "skipped" not in output
    assert re.search(r"\d{2} passed", output)
    print(output[-600:])  # noqa: T201  the figures of the session of 200 steps; pytest -s shows them


def test_wheel_hides_the_sources(wheel_python: Path, tmp_path: Path) -> None:
    output = assert_success(run(wheel_python, "-c", "import recommender; print(recommender.__file__)", folder=tmp_path))
    assert Path(output.strip()).is_relative_to(wheel_python.parent.parent)
    assert run(wheel_python, "-c", "import shopreco", folder=tmp_path).returncode == 1


def test_page_leads_a_fresh_shop_from_the_wheel_to_an_order(wheel_python: Path, tmp_path: Path) -> None:
    """One test, because Oscar's tables take a minute: stock and an order of the past, the page, then walks."""
    shop = open_shop(tmp_path / "shop", "")
    manage(wheel_python, shop, "migrate")
    drive(wheel_python, shop, "from myshop.stock import fill; fill(); past_order()")
    apply(TUTORIAL, shop)
    started = time.monotonic()
    printed = {name: manage(wheel_python, shop, name) for name in commands(TUTORIAL)}
    print(f"from migrate to the first list: {time.monotonic() - started:.0f} s")  # noqa: T201  pytest -s shows it
    assert list(printed) == ["migrate", "check", "recommender_sync", "recommender_reconcile"]
    assert "no issues" in printed["check"]
    assert "12 created" in printed["recommender_sync"]
    assert "1 rows read: 1 recorded" in printed["recommender_reconcile"]
    manage(wheel_python, shop, "makemigrations recommender --check --dry-run")
    drive(wheel_python, shop, "walk()")
    apply(TEXT.removeprefix(TUTORIAL), shop)
    drive(wheel_python, shop, 'assert "Coffee pot" in titles_of(Shopper().search("coffe pot"), "search")')


def manage(python: Path, shop: Path, command: str) -> str:
    return assert_success(run(python, "-W", "ignore", "manage.py", *command.split(), folder=shop))


def drive(python: Path, shop: Path, script: str) -> None:
    script = f"import django; django.setup(); from myshop.shopping import *; {script}"
    settings = {"DJANGO_SETTINGS_MODULE": "myshop.settings"}
    assert_success(run(python, "-W", "ignore", "-c", script, folder=shop, **settings))
