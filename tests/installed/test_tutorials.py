"""The tutorial of a plain shop, typed into a fresh project as it stands, and walked through."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "plain-shop.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"^(?:# |\{# )([\w/]+\.(?:py|html))(?P<end>, at the end)?(?: #\})?\n")

FILL = """
from shop.models import Product
for name in ("Blue mug", "Red mug", "Teapot"):
    Product.objects.create(name=name, slug=name.lower().replace(" ", "-"), price=9)
"""
WALK = """
from django.test import Client
from recommender import serving
from recommender.models import Event
assert serving.loaded().is_loaded  # as in a server that has been up for a moment
agent = {"user-agent": "Mozilla/5.0 (X11; Linux x86_64) Chrome/126.0 Safari/537.36"}
client = Client(headers=agent | {"host": "localhost"})
client.cookies["recommender_consent"] = "granted"
for path in ("/", "/search/?q=mug", "/p/blue-mug/"):
    page = client.get(path)
    print(path, page.status_code, page.content.decode().count("recommender-card__title"))
print(client.post("/buy/blue-mug/").status_code)
print(sorted(Event.objects.values_list("type", "item_id", "query")))
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project after the last block; what each command has printed stands in `log`."""
    folder = tmp_path_factory.mktemp("tutorial")
    log = folder / "log"
    for kind, text in BLOCK.findall(PAGE.read_text()):
        if kind == "console":
            for line in text.splitlines():
                if "migrate" not in line and "recommender_sync" in line:
                    run(folder, "python manage.py shell --no-imports -c " + shlex.quote(FILL))
                if not line.startswith("pip "):
                    with log.open("a") as output:
                        output.write(run(folder, line, codes=(0, 1) if "doctor" in line else (0,)))
        else:
            write(folder, text)
    return folder


def write(folder: Path, text: str) -> None:
    first_line = FILE.match(text)
    assert first_line, f"a block of the tutorial names no file: {text[:60]}"
    path = folder / first_line[1]
    path.parent.mkdir(parents=True, exist_ok=True)
    before = path.read_text() if first_line["end"] else ""
    path.write_text(before + text)


def run(folder: Path, line: str, *, codes: tuple[int, ...] = (0,)) -> str:
    inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    command = [sys.executable, *shlex.split(line)[1:]]
    if line.startswith("django-admin"):
        command[1:1] = ["-m", "django"]
    environment = inherited | {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode in codes, f"{line}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def test_every_command_of_the_tutorial_works(project: Path) -> None:
    log = (project / "log").read_text()
    assert "0 created, 0 changed, 3 unchanged" in log, "a saved product is an item at once"
    assert "product:1 · Blue mug · no category · 9.00 EUR · /p/blue-mug/" in log
    assert re.findall(r"^(warning|error  ) (.*)$", log, re.MULTILINE) == [
        ("warning", "arrivals: No event has ever arrived."),
        ("warning", "background: No worker does the recurring jobs: encoding, statistics, late orders."),
        ("warning", "background: No worker trains: a requested run waits."),
    ]


def test_shopper_finds_lists_and_is_recorded(project: Path) -> None:
    printed = run(project, "python manage.py shell --no-imports -c " + shlex.quote(WALK)).splitlines()
    assert printed[0] == "/ 200 3"
    assert printed[1] in ("/search/?q=mug 200 2", "/search/?q=mug 200 3"), "by words two, by meaning a teapot too"
    assert printed[2].startswith("/p/blue-mug/ 200 ")
    assert printed[3] == "302"
    expected = "[('purchase', 'product:1', ''), ('search', '', 'mug'), ('view_item', 'product:1', '')]"
    assert printed[4] == expected


def test_glue_of_the_tutorial_is_at_most_twenty_lines() -> None:
    (glue,) = [text for _, text in BLOCK.findall(PAGE.read_text()) if "shop/recommendations.py" in text]
    lines = [line for line in glue.splitlines() if line.strip() and not line.startswith("#")]
    assert len(lines) <= 20
