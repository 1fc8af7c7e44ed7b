"""From `pip install` to the first personalised list: docs/oscar.md, followed to the letter in a fresh environment.

    python -m benchmarks.install

A wheel is built, a running Oscar shop of 12 products and one order made, and then the clock runs: a new virtual
environment gets the wheel with the extras of the page (from the package index, or what pip has kept of it), the blocks
of the page are written into the shop, its commands are run, and one shopper looks at a product and opens the home page,
whose list must have changed. Ten minutes are the limit; what a person types and thinks is not in it.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.figures import Figure, show
from tests.oscar import PAGE, ROOT, apply, blocks, commands, needed, open_shop, run

LIMIT_SECONDS = 600
EXTRAS = "ml,oscar"
LOOK = """
import django; django.setup()
from myshop.shopping import *
shopper, product = Shopper(), get_model("catalogue", "Product").objects.get(upc="pot-0")
before = titles_of(shopper.home(), "home")
shopper.view(product)
after = titles_of(shopper.home(), "home")
assert before and after, "the home page shows no list"
assert before != after, f"the list did not change: {after}"
print(" | ".join(after[:4]))
"""
FILL = (
    "import django; django.setup(); from myshop.shopping import *; from myshop.stock import fill; fill(); past_order()"
)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        figures = list(_figures(Path(name)))
    show("From pip install to the first personalised list, Oscar", figures)


def _figures(folder: Path) -> Iterator[Figure]:
    tutorial = needed(PAGE.read_text())
    wheel = _built(folder)
    shop = open_shop(folder / "shop", "")
    _manage(Path(sys.executable), shop, "migrate")
    _python(Path(sys.executable), shop, FILL)
    python, total = folder / "venv" / "bin" / "python", 0.0
    steps: list[tuple[str, Callable[[], object]]] = [
        ("a virtual environment, pip install", lambda: _install(python, wheel)),
        ("the page's blocks", lambda: apply(tutorial, shop)),
        *((f"manage.py {line}", lambda line=line: _manage(python, shop, line)) for line in commands(tutorial)),
        ("a look, and the home page again", lambda: print(f"  {_python(python, shop, LOOK).strip()}")),
    ]
    for step, act in steps:
        began = time.monotonic()
        act()
        total += time.monotonic() - began
        print(f"{time.monotonic() - began:8.1f} s  {step}", flush=True)
    lines = sum(bool(line.strip()) for _, code in blocks(tutorial) for line in code.splitlines())
    yield Figure("lines of glue", lines, 7, "lines")
    yield Figure("pip install to personalised list", total, LIMIT_SECONDS, "s")


def _built(folder: Path) -> Path:
    _checked([sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)])
    (wheel,) = folder.glob("shopreco-*.whl")
    return wheel


def _install(python: Path, wheel: Path) -> None:
    venv.create(python.parent.parent, with_pip=True)
    wanted = f"shopreco[{EXTRAS}] @ {wheel.as_uri()}"
    _checked([str(python), "-m", "pip", "install", "--quiet", "-c", str(ROOT / "constraints.txt"), wanted])


def _manage(python: Path, shop: Path, line: str) -> str:
    return _said(run(python, "-W", "ignore", "manage.py", *line.split(), folder=shop))


def _python(python: Path, shop: Path, script: str) -> str:
    return _said(run(python, "-W", "ignore", "-c", script, folder=shop, DJANGO_SETTINGS_MODULE="myshop.settings"))


def _checked(command: list[str]) -> str:
    return _said(subprocess.run(command, capture_output=True, text=True, check=False))


def _said(done: subprocess.CompletedProcess[str]) -> str:
    if done.returncode:
        raise SystemExit(f"{done.args}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}")
    return done.stdout


if __name__ == "__main__":
    main()
