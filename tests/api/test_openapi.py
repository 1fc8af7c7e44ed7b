"""The OpenAPI file that is checked in: it is what the code says, its examples are true, and so are the real answers."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.core.management import call_command
from django.test import Client
from django.urls import get_resolver
from jsonschema import Draft202012Validator, FormatChecker

from recommender.api.problems import KINDS
from recommender.api.visitor import ENDPOINTS
from recommender.models import Item
from tests.conftest import DemoShop

FILE = Path(__file__).resolve().parents[2] / "docs" / "openapi.yaml"
ROOT = "/recommender/api/v1/"


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(FILE.read_text())
    return loaded


def operations(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (path, method, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if method != "parameters"
    ]


def assert_fits(document: dict[str, Any], schema: dict[str, Any], value: Any) -> None:
    validator = Draft202012Validator({**schema, "components": document["components"]}, format_checker=FormatChecker())
    faults = [f"{error.json_path}: {error.message}" for error in validator.iter_errors(value)]
    assert not faults, faults


def test_file_is_what_the_code_says() -> None:
    output = StringIO()
    options = {"urlconf": "recommender.urls", "custom_settings": "recommender.api.schema.SETTINGS"}
    call_command("spectacular", stdout=output, validate=True, fail_on_warn=True, **options)
    assert output.getvalue().strip() == FILE.read_text().strip(), (
        "docs/openapi.yaml is out of date: run `make openapi`."
    )


def test_every_endpoint_is_described(document: dict[str, Any]) -> None:
    api = get_resolver("recommender.api.urls")
    served = {re.sub(r"<str:(\w+)>", r"{\1}", str(pattern.pattern)) for pattern in api.url_patterns} - {""}
    assert {path.removeprefix("/api/v1/") for path in document["paths"]} == served
    for path, method, operation in operations(document):
        assert operation["summary"], (path, method)
        assert operation["description"], (path, method)
        assert all(parameter.get("description") for parameter in operation.get("parameters", [])), (path, method)


def test_errors_are_described_as_problems(document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        refusals = {code: answer for code, answer in operation["responses"].items() if int(code) >= 400}
        assert "503" in refusals, (path, method)
        for answer in refusals.values():
            assert list(answer["content"]) == ["application/problem+json"]


def test_examples_fit_their_schemas(document: dict[str, Any]) -> None:
    n_examples = 0
    for _, _, operation in operations(document):
        for body in [operation.get("requestBody", {}), *operation["responses"].values()]:
            for content in body.get("content", {}).values():
                for example in content.get("examples", {}).values():
                    assert_fits(document, content["schema"], example["value"])
                    n_examples += 1
    assert n_examples > 30


@pytest.mark.django_db
def test_real_answers_fit_their_schemas(document: dict[str, Any], demo_shop: DemoShop) -> None:
    item_id = Item.objects.filter(is_active=True).order_by("item_id")[0].item_id
    client = Client()

    def ask(method: str, path: str, body: Any = None, *, described: str = "", query: str = "") -> Any:
        content = b"" if body is None else json.dumps(body).encode()
        answer = client.generic(method.upper(), ROOT + path + query, content, "application/json", headers=headers)
        operation = document["paths"]["/api/v1/" + (described or path)][method]
        [content_type] = operation["responses"][str(answer.status_code)]["content"]
        assert answer.headers["Content-Type"] == content_type
        schema = operation["responses"][str(answer.status_code)]["content"][content_type]["schema"]
        assert_fits(document, schema, answer.json())
        return answer.json()

    headers: dict[str, str] = {}
    headers["Authorization"] = "Visitor " + ask("post", "visitors", {"consent": True})["token"]
    sent = {"message_id": "a", "type": "view_item", "item_id": item_id, "price": "1.20", "currency": "GBP"}
    ask("post", "events", [sent, {"message_id": "b"}])
    ask("get", "search", query="?q=heart")
    ask("get", "suggest", query="?q=he")
    ask("get", f"recommendations/similar?item_id={item_id}", described="recommendations/{slot}")
    ask("get", "recommendations/nowhere", described="recommendations/{slot}")
    ask("get", "search", query="?limit=0")
    ask("get", "me")
    ask("patch", "me", {"profiling": False})
    ask("get", "me/export")


def test_a_host_without_drf_spectacular_can_serve_the_api() -> None:
    program = """
import sys
sys.modules["drf_spectacular"] = None
import django
from django.conf import settings
settings.configure(
    SECRET_KEY="x", USE_TZ=True, ROOT_URLCONF="recommender.urls", ALLOWED_HOSTS=["testserver"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "rest_framework", "recommender"],
)
django.setup()
from django.core.management import call_command
from django.test import Client
call_command("migrate", verbosity=0)
answer = Client().get("/api/v1/search", {"q": "x"})
assert answer.status_code == 200, answer.content
assert answer.json()["items"] == []
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=FILE.parent.parent)
    assert done.returncode == 0, done.stderr


def test_every_kind_of_problem_and_every_endpoint_is_told_in_the_documentation() -> None:
    text = (FILE.parent / "api.md").read_text()
    assert [kind for kind in KINDS if f"`{kind}`" not in text] == []
    assert [path for path in ENDPOINTS if f"`{path}" not in text] == []


def test_every_block_of_the_templates_is_told_in_the_documentation() -> None:
    text = (FILE.parent / "template-tags.md").read_text()
    folder = FILE.parent.parent / "recommender" / "templates" / "recommender"
    blocks = {name for file in folder.glob("*.html") for name in re.findall(r"{% block (\w+)", file.read_text())}
    assert blocks == set(re.findall(r"`(recommender_\w+)`", text))
