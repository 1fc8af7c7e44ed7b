"""The rooms keep their contracts: imports go down only, and a web process never loads PyTorch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "transformers", "sentence_transformers", "sklearn", "onnx")

SERVE_PAGES = """
import sys
import django
django.setup()
from django.core.management import call_command
from django.test import Client
from django.urls import get_resolver
get_resolver().url_patterns
call_command("migrate", verbosity=0)
client = Client(HTTP_HOST="127.0.0.1")
for path in ("/", "/search/?q=mug", "/recommender/api/v1/search?q=mug", "/admin/login/", "/healthz", "/readyz"):
    answer = client.get(path)
    assert answer.status_code == 200, (path, answer.status_code)
loaded = sorted({heavy} & set(sys.modules))
assert not loaded, f"a web process has loaded {{loaded}}"
"""

IMPORT_EVERYTHING = """
import importlib, pkgutil, sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {absent}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

# `ranker` and its parts are loaded if a bundle serves; `schema` and `examples` if drf-spectacular is installed;
# `gauges` if prometheus-client is; `expressions` if the archive is large and Ibis is installed.
NEED_AN_EXTRA = ("recommender.ml", "recommender.training", "recommender.contrib.", "recommender.serving.ranker",
                 "recommender.serving.bundle_parts", "recommender.api.schema", "recommender.api.examples",
                 "recommender.api.gauges", "recommender.datasets.expressions")
sys.meta_path.insert(0, Refuse())
import django
from django.conf import settings
settings.configure(
    INSTALLED_APPS=[
        *("django.contrib." + name for name in ("admin", "auth", "contenttypes", "messages", "sessions")),
        "rest_framework",
        "recommender",
    ],
    DATABASES={{"default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}}},
    USE_TZ=True,
    ROOT_URLCONF="recommender.urls",
)
django.setup()
import recommender
for module in pkgutil.walk_packages(recommender.__path__, "recommender."):
    if not module.name.startswith(NEED_AN_EXTRA):
        importlib.import_module(module.name)
"""


def run_python(code: str, folder: Path) -> None:
    """Run in a process of its own, on an empty embedded shop."""
    (folder / "broker" / "control").mkdir(parents=True)
    environment = {name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "REDIS_URL")}
    environment |= {"DJANGO_SETTINGS_MODULE": "shopreco.settings", "SHOPRECO_VAR": str(folder)}
    command = [sys.executable, "-c", code]
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


def test_served_pages_leave_torch_out_of_the_process(tmp_path: Path) -> None:
    run_python(SERVE_PAGES.format(heavy=set(HEAVY)), tmp_path)


def test_every_module_that_serves_imports_without_an_extra(tmp_path: Path) -> None:
    absent = {*HEAVY, "onnxruntime", "tokenizers", "safetensors", "tqdm", "drf_spectacular", "psycopg", "whitenoise"}
    absent |= {"prometheus_client", "pyarrow", "ibis", "duckdb", "pandas"}
    run_python(IMPORT_EVERYTHING.format(absent=absent), tmp_path)


@pytest.mark.parametrize("heavy", ["torch", "transformers"])
def test_the_proof_would_notice(tmp_path: Path, heavy: str) -> None:
    with pytest.raises(AssertionError, match="a web process has loaded"):
        run_python(f"import {heavy}\n" + SERVE_PAGES.format(heavy=set(HEAVY)), tmp_path)


def test_imports_go_down_only() -> None:
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout
