"""README, install and recipes are typed into a small shop as they stand: what is copied leads to a personal list."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.shops import ROOT, drive

SHOP = ROOT / "tests" / "documented_shop"
BLOCK = re.compile(r"^```(python|django)\n(.*?)^```", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"^(?:# |\{# )(?P<path>[\w/]+\.(?:py|html))\b[^\n]*\n")
RECOMMENDATIONS = "shop/recommendations.py"

README, INSTALL, RECIPES = ROOT / "README.md", ROOT / "docs" / "install.md", ROOT / "docs" / "recipes.md"
WALKS = {
    "README.md": ([README], "look_around()"),
    "install.md": ([INSTALL], "buy_at_the_form(look_around())"),
    "recipes.md": ([README, RECIPES], "read_news(client := look_around()); buy(client)"),
}
SCRIPT = """
import django; django.setup()
from django.core.management import call_command
call_command("migrate", run_syncdb=True, verbosity=0)
from shop.stock import fill
from shop.walks import *
fill()
call_command("recommender_sync")
{walk}
no_event_is_lost()
call_command("check", tags=["recommender"])
call_command("recommender_doctor")
"""


def write(document: Path, folder: Path) -> None:
    """Append each block to the file that its first line names, or else to recommendations.py."""
    for kind, text in BLOCK.findall(document.read_text()):
        named = FILE.match(text)
        assert named or kind == "python", f"a block of {document.name} names no template: {text[:60]}"
        path = folder / (named["path"] if named else RECOMMENDATIONS)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            file.write(text + "\n")


@pytest.mark.parametrize("name", WALKS)
def test_blocks_of_a_document_lead_from_a_page_view_to_a_personal_list(name: str, tmp_path: Path) -> None:
    documents, walk = WALKS[name]
    shop = tmp_path / "shop"
    shutil.copytree(SHOP, shop, ignore=shutil.ignore_patterns("__pycache__"))
    for document in documents:
        write(document, shop)
    ended = drive(shop, "-c", SCRIPT.format(walk=walk), DJANGO_SETTINGS_MODULE="mysite.settings", HF_HUB_OFFLINE="1")
    printed = ended.stdout + ended.stderr
    assert ended.returncode < 2, printed[-6000:]
    assert "The newest events name items that exist." in printed, printed[-6000:]
    assert not re.findall(r"recommender\.(?:E\d+|W0(?:07|09|10|11))", printed), printed[-6000:]
