"""Any call that the OpenAPI file describes, well-formed or not, by somebody on whom everything is stored: no 5xx."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
import yaml
from django.test import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recommender import serving
from recommender.identity import keys, tokens
from recommender.models import AppToken, Item, Visitor
from recommender.types import EventType
from tests.conftest import DemoShop

pytestmark = pytest.mark.django_db
DOCUMENT = yaml.safe_load((Path(__file__).resolve().parents[2] / "docs" / "openapi.yaml").read_text())
OPERATIONS = [
    (path, method, [parameter["name"] for parameter in operation.get("parameters", []) if parameter["in"] == "query"])
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
]
PROPERTIES = sorted(
    {name for shape in DOCUMENT["components"]["schemas"].values() for name in shape.get("properties", ())}
)

texts = st.text(max_size=40) | st.sampled_from(
    [*[kind.value for kind in EventType], "*", "undefined", "\x00", "all", "home", "1e999", "2026-01-01T00:00:00Z"]
)
numbers = st.integers() | st.floats()
scalars = st.none() | st.booleans() | numbers | texts | st.uuids().map(str)
fields = st.sampled_from(PROPERTIES) | st.text(max_size=10)
bodies = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(fields, inner, max_size=6), max_leaves=20
)
calls = st.sampled_from(OPERATIONS).flatmap(
    lambda operation: st.tuples(
        st.just(operation),
        st.dictionaries(st.sampled_from([*operation[2], "other"]), scalars, max_size=5),
        st.lists(texts, min_size=2, max_size=2),
        bodies.map(lambda body: json.dumps(body).encode("utf-8", "surrogatepass")) | st.binary(max_size=60),
    )
)


@pytest.fixture
def credentials(demo_shop: DemoShop, settings: Any) -> list[dict[str, str]]:
    """Of somebody signed in who has bought a lot: by the app, and by a server for them."""
    limits = dict.fromkeys(("address", "visitor", "key", "new", "bulk"))
    settings.RECOMMENDER = {**settings.RECOMMENDER, "THROTTLES": limits}
    user = demo_shop.customer().user
    serving.reload()
    issued = tokens.issue(Visitor.objects.create(user_key=str(user.pk)))
    AppToken.objects.update(user_key=str(user.pk))
    key = keys.create_key("server", is_secret=True, scopes=["events", "lists", "profile"])[1]
    assert Item.objects.exists()
    return [
        {"Authorization": f"Visitor {issued.token}"},
        {"Recommender-Key": key, "Recommender-User": str(user.pk)},
        {"Recommender-Visitor": issued.token},
        {},
    ]


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(call=calls, who=st.integers(0, 3))
def test_no_call_makes_the_server_fail(credentials: list[dict[str, str]], call: Any, who: int) -> None:
    (path, method, _names), parameters, parts, body = call
    for name, part in zip(("{slot}", "{token_id}"), parts, strict=True):
        path = path.replace(name, quote(part, safe="", errors="replace") or str(uuid.uuid4()))
    query = urlencode({name: str(value) for name, value in parameters.items()}, errors="replace")
    content = b"" if method == "get" else body
    answer = Client().generic(
        method.upper(), f"/recommender{path}?{query}", content, "application/json", headers=credentials[who]
    )
    assert answer.status_code < 500, (method, path, query, content, answer.content)
