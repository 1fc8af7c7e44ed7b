"""A shop that nobody here designed, in a process of its own: its settings, models, carts and payments are not ours."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests import shops

SHOP = shops.TESTS / "foreign_shop"
MOST_LINES = 20

drive = partial(shops.drive, SHOP)


def checked(*command: str, **options: Any) -> str:
    return shops.succeed(drive(*command, **options))


def test_glue_is_at_most_twenty_lines() -> None:
    lines = [line for line in (SHOP / "goods" / "recommendations.py").read_text().splitlines() if line.strip()]
    assert len(lines) <= MOST_LINES
    assert all(len(line) <= 120 for line in lines)


@pytest.mark.parametrize("cache", ["", "none"], ids=["with a cache", "without a cache"])
def test_foreign_shop_gets_everything(cache: str, tmp_path: Path) -> None:
    output = checked("-m", "pytest", "-c", "pytest.ini", ".", KIOSK_VAR=str(tmp_path), KIOSK_CACHE=cache)
    assert "passed" in output
    assert "skipped" not in output


def test_shop_works_after_the_app_was_taken_out(tmp_path: Path) -> None:
    """Its tables stay, its settings and tags go: every page answers, an order is placed, no migration is missing."""
    database = {"KIOSK_DATABASE": str(tmp_path / "kiosk.sqlite3"), "KIOSK_VAR": str(tmp_path / "var")}
    checked("manage.py", "migrate", "--verbosity", "0", **database)
    checked("manage.py", "shell", "--no-imports", "-c", FILL, **database)
    assert "/r/api/v1/" in drive("manage.py", "recommender_doctor", **database).stdout
    without = database | {"KIOSK_WITHOUT": "1"}
    checked("manage.py", "makemigrations", "--check", "--dry-run", **without)
    output = checked("manage.py", "shell", "--no-imports", "-c", WALK, **without)
    assert "recommender" not in output
    assert output.count(" 200\n") == 6
    assert output.count(" 302\n") == 2


def test_no_migration_is_missing_under_odd_settings(tmp_path: Path) -> None:
    odd = {"KIOSK_ODD": "1", "KIOSK_DATABASE": str(tmp_path / "kiosk.sqlite3")}
    checked("manage.py", "makemigrations", "--check", "--dry-run", "recommender", "--skip-checks", **odd)
    checked("manage.py", "makemigrations", "--check", "--dry-run", "recommender", KIOSK_CACHE="none")


def test_shop_without_celery_serves_and_records(tmp_path: Path) -> None:
    """Its import is refused."""
    assert "passed" in checked("-c", WITHOUT_CELERY, KIOSK_VAR=str(tmp_path))


@pytest.mark.parametrize("has_celery", [True, False], ids=["without an app", "without celery"])
def test_shop_without_a_celery_app_works_by_the_worker_and_sends_nothing(has_celery: bool, tmp_path: Path) -> None:
    """Saves, a run that is asked for and the doctor connect to nobody: Celery's default is a RabbitMQ on this host."""
    database = {"KIOSK_DATABASE": str(tmp_path / "kiosk.sqlite3"), "KIOSK_VAR": str(tmp_path / "var")}
    checked("manage.py", "migrate", "--verbosity", "0", **database)
    refused = "" if has_celery else 'sys.modules["celery"] = sys.modules["kombu"] = None'
    output = checked("-c", SILENT.replace("REFUSED", refused), **database)
    assert "python manage.py recommender_worker" in output  # by the doctor, before a worker was started
    assert "encode_items: " in output
    assert "Lauf 1: erfolgreich. " in output  # in the shop's language
    assert "connected to []" in output


def test_shop_works_before_our_tables_are_there(tmp_path: Path) -> None:
    """Between the deployment of the settings and `migrate` every page answers."""
    database = {"KIOSK_DATABASE": str(tmp_path / "kiosk.sqlite3"), "KIOSK_VAR": str(tmp_path / "var")}
    checked("manage.py", "migrate", "--verbosity", "0", KIOSK_WITHOUT="1", **database)
    checked("manage.py", "shell", "--no-imports", "-c", FILL, **database)
    output = checked("manage.py", "shell", "--no-imports", "-c", WALK, **database)
    assert output.count(" 200\n") == 6
    assert output.count(" 302\n") == 2
    examined = drive("manage.py", "recommender_doctor", **database)
    assert examined.returncode == 2
    assert "python manage.py migrate recommender" in examined.stdout


def test_wheel_in_a_fresh_environment_serves_the_foreign_shop(wheel_python: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"python": wheel_python, "root": None, "KIOSK_VAR": str(tmp_path)}
    where = Path(checked("-c", "import recommender; print(recommender.__file__)", **options).strip())
    assert wheel_python.parent.parent in where.parents
    assert shops.ROOT not in where.parents
    output = checked("-m", "pytest", "-c", "pytest.ini", ".", **options)
    assert "passed" in output
    assert "skipped" not in output


DRIVEN = 'sys.exit(pytest.main(["-c", "pytest.ini", ".", "-k", "shopper or flag or item"]))'
WITHOUT_CELERY = f"""
import os, sys
sys.modules["celery"] = sys.modules["kombu"] = None
import django, pytest
from django.core.management import call_command
{DRIVEN}
"""
SILENT = """
import os, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "kiosk.settings"
REFUSED
addresses = []
sys.addaudithook(lambda event, details: addresses.append(details[1]) if event == "socket.connect" else None)
import threading
import django
django.setup()
from django.core.management import call_command
from goods.models import Book

def save():
    Book.objects.create(slug="tea", title="Tea", price=9)

save()
thread = threading.Thread(target=lambda: Book.objects.get().save())
thread.start()
thread.join()
call_command("recommender_train", "--no-wait", "--minutes", "0.05")
try:
    call_command("recommender_doctor")
except SystemExit:
    pass
call_command("recommender_worker", "--once")
print("connected to", [address for address in addresses if isinstance(address, tuple)])
"""
FILL = """
from goods.models import Article, Book, Voucher
Article.objects.create(slug="mug", name_de="Becher", name_en="Mug", net=10)
Book.objects.create(slug="tea", title="Tea", price=9)
Voucher.objects.create(slug="gift", name="Gift")
"""
WALK = """
import sys
from django.test import Client
client = Client()
paths = ("", "find/?words=mug", "a/mug/", "b/tea/", "v/gift/", "news/mug/", "cart/add/?article=mug", "order/")
for path in paths:
    answer = client.get("/de/" + path)
    print(path, answer.status_code)
print(sorted(name for name in sys.modules if name.startswith("recommender")) or "")
"""
