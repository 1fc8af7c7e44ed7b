"""Settings are one dict, read when they are used and documented by name; the environment selects the mode."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from recommender import bundles, conf, runs
from recommender.exceptions import ConfigurationError
from recommender.models import Item
from recommender.runs import supervision

ROOT = Path(__file__).resolve().parents[2]
SHOW_MODE = (
    "from django.conf import settings as s;"
    "print(s.DATABASES['default']['ENGINE'], s.CACHES['default']['BACKEND'], s.CELERY_BROKER_URL)"
)


def documented() -> dict[str, str]:
    """Name and default of each row of the table in docs/settings.md."""
    rows = re.findall(r"^\| `([A-Z_]+)` \| `([^`]+)` \|", (ROOT / "docs" / "settings.md").read_text(), re.MULTILINE)
    return dict(rows)


def mode(**environment: str) -> list[str]:
    clean = {
        name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "REDIS_URL", "BROKER_URL")
    }
    finished = subprocess.run(
        [sys.executable, "-c", SHOW_MODE],
        cwd=ROOT,
        env={**clean, "DJANGO_SETTINGS_MODULE": "shopreco.settings", **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return finished.stdout.split()


def test_every_setting_is_documented_with_its_default() -> None:
    assert documented() == {name: repr(value) for name, value in conf.DEFAULTS.items()}


def test_setting_is_read_when_it_is_asked_for(settings: Any) -> None:
    assert conf.get("SEED") == 0
    settings.RECOMMENDER = {"SEED": 7}
    assert conf.get("SEED") == 7


def test_unknown_name_raises_with_the_closest_one() -> None:
    with pytest.raises(ConfigurationError, match="Did you mean 'DIVERSITY'"):
        conf.get("DIVERSTY")


def test_directory_stands_beside_the_project_unless_set(settings: Any) -> None:
    settings.RECOMMENDER = {}
    assert conf.directory() == ROOT / "var" / "recommender"


def test_embedded_mode_needs_no_server() -> None:
    engine, cache, broker = mode()
    assert engine == "django.db.backends.sqlite3"
    assert cache == "django.core.cache.backends.locmem.LocMemCache"
    assert broker == "filesystem://"


def test_urls_select_the_production_mode() -> None:
    redis = "redis://cache.example:6379/3"
    engine, cache, broker = mode(DATABASE_URL="postgres://me@db.example/shop", REDIS_URL=redis)
    assert engine == "django.db.backends.postgresql"
    assert cache == "django.core.cache.backends.redis.RedisCache"
    assert broker == redis


def test_broker_may_be_another_redis_than_the_cache() -> None:
    assert mode(REDIS_URL="redis://cache.example:6379/0", BROKER_URL="redis://broker.example:6379/0")[1:] == [
        "django.core.cache.backends.redis.RedisCache",
        "redis://broker.example:6379/0",
    ]


def test_secrets_may_stand_in_files(tmp_path: Path) -> None:
    names = ("DATABASE_URL", "REDIS_URL", "BROKER_URL", "DJANGO_SECRET_KEY", "SHOPRECO_METRICS_TOKEN")
    values = ("postgres://me@db/shop", "redis://cache/0", "redis://broker/1", "x" * 50, "from-the-file")
    environment = {}
    for name, value in zip(names, values, strict=True):
        (tmp_path / name).write_text(f"{value}\n")
        environment[f"{name}_FILE"] = str(tmp_path / name)
    shown = (
        "from django.conf import settings as s; print(s.DATABASES['default']['HOST'], s.CACHES['default']['LOCATION'],"
        "s.CELERY_BROKER_URL, s.SECRET_KEY, s.RECOMMENDER['METRICS_TOKEN'])"
    )
    printed = in_production(tmp_path, "-c", shown, DJANGO_SECRET_KEY="not this one", **environment)
    assert printed.split() == ["db", *values[1:]]


def test_no_secret_key_is_made_up_for_production(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "DJANGO_SECRET_KEY"}
    environment |= {"DJANGO_SETTINGS_MODULE": "shopreco.settings", "DJANGO_DEBUG": "0", "SHOPRECO_VAR": str(tmp_path)}
    ask = "from django.conf import settings; settings.SECRET_KEY"
    ended = subprocess.run(
        [sys.executable, "-c", ask], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert "The SECRET_KEY setting must not be empty" in ended.stderr


def in_production(tmp_path: Path, *command: str, **environment: str) -> str:
    """What the process printed with the settings of production."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("SHOPRECO", "DJANGO"))}
    production = {"DJANGO_DEBUG": "0", "SHOPRECO_VAR": str(tmp_path), "DJANGO_SETTINGS_MODULE": "shopreco.settings"}
    secret = {"DJANGO_SECRET_KEY": "".join(map(chr, range(48, 108)))}
    environment = inherited | production | secret | environment
    ended = subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_demo_in_production_passes_the_checks_of_a_deployment(tmp_path: Path) -> None:
    check = ("manage.py", "check", "--deploy", "--fail-level", "WARNING")
    assert "no issues (0 silenced)" in in_production(tmp_path, *check)


def test_chooser_of_customers_is_off_in_production_unless_it_is_switched_on(tmp_path: Path) -> None:
    offered = ("-c", "from django.conf import settings; print(settings.DEMO_SIGN_IN)")
    assert in_production(tmp_path, *offered) == "False\n"
    assert in_production(tmp_path, *offered, SHOPRECO_DEMO_SIGN_IN="1") == "True\n"
    assert in_production(tmp_path, *offered, DJANGO_DEBUG="1") == "True\n"


def test_log_is_json_in_production_and_one_traceback_a_minute(tmp_path: Path) -> None:
    handler = ("-c", "from django.conf import settings; print(settings.LOGGING['handlers']['console'])")
    assert "'formatter': 'json', 'filters': ['one_traceback']" in in_production(tmp_path, *handler)
    assert "'formatter': 'plain'" in in_production(tmp_path, *handler, DJANGO_DEBUG="1")


@pytest.mark.django_db
def test_folder_of_bundles_and_logs_is_never_taken_into_the_shops_repository(settings: Any, tmp_path: Path) -> None:
    """The folder has its own .gitignore, like the caches of ruff and pytest."""
    settings.RECOMMENDER = {"ENCODER": "scratch", "DIRECTORY": tmp_path / "var" / "recommender"}
    Item.objects.create(item_id="mug", label="shop.Product", object_id="1", title="Mug", text="mug", text_hash="1")
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    bundles.ensure_champion()
    assert (tmp_path / "var" / "recommender" / "bundles").is_dir()
    status = ["git", "-C", str(tmp_path), "status", "--porcelain", "--untracked-files=all"]
    assert subprocess.run(status, check=True, capture_output=True, text=True).stdout == ""


@pytest.mark.django_db
def test_log_of_a_run_is_ignored_too(settings: Any, tmp_path: Path, monkeypatch: Any) -> None:
    settings.RECOMMENDER = {"DIRECTORY": tmp_path / "deep" / "folder"}
    monkeypatch.setattr(supervision, "start_process", lambda *_, **__: pytest.fail("the log was not there first"))
    run = runs.request_run(trigger="here")
    with pytest.raises(pytest.fail.Exception):
        supervision.supervise(run.pk)
    assert (tmp_path / "deep" / "folder" / ".gitignore").read_text() == "*\n"


def test_ignore_file_of_the_shop_stays_as_it_is(settings: Any, tmp_path: Path) -> None:
    settings.RECOMMENDER = {"DIRECTORY": tmp_path}
    (tmp_path / ".gitignore").write_text("cache/\n")
    assert conf.make_directory() == tmp_path
    assert (tmp_path / ".gitignore").read_text() == "cache/\n"
