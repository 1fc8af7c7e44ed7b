"""Bodies without a length, and bodies that say nothing, through real sockets and through the test client."""

from __future__ import annotations

import io
import json
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.core.handlers.asgi import ASGIRequest
from django.test import Client, RequestFactory
from django.urls import reverse

from recommender import tracking
from recommender.api.bodies import has_length
from recommender.identity import token_for
from recommender.models import Event, Item, Visitor
from recommender.tracking import page, track_pages
from tests.conftest import ROOT as PROJECT
from tests.conftest import wait_for

ROOT = "/recommender/api/v1/"


class Chunks(list[bytes]):
    """A body as it goes over the wire."""


def sent(address: str, method: str, path: str, content: Any, *, token: str = "") -> tuple[int, dict[str, Any]]:
    """Send a body in chunks, as `curl -T -` does: no Content-Length, each chunk with its own."""
    connection = HTTPConnection(address, timeout=20)
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Visitor {token}"} if token else {})
    chunks = content if isinstance(content, Chunks) else Chunks([json.dumps(content).encode()])
    connection.request(method, ROOT + path, iter(chunks), headers, encode_chunked=True)
    response: HTTPResponse = connection.getresponse()
    answer = json.loads(response.read() or b"{}")
    connection.close()
    return response.status, answer


@pytest.fixture
def gunicorn(transactional_db: None, tmp_path: Path) -> Iterator[str]:
    """The address of the demo's web server, on the test database."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    log = tmp_path / "gunicorn.log"
    command = [sys.executable, "-m", "gunicorn", "shopreco.wsgi", "--bind", address, "--workers", "1"]
    with log.open("wb") as out, subprocess.Popen(command, cwd=PROJECT, stdout=out, stderr=out) as server:
        try:
            wait_for(lambda: b"Booting worker" in log.read_bytes(), what=f"gunicorn in {log}", process=server)
            yield address
        finally:
            server.terminate()
            server.wait(timeout=20)


def test_chunked_refusal_is_obeyed_and_chunked_events_are_stored(gunicorn: str) -> None:
    visitor = Visitor.objects.create()
    token = token_for(visitor.key)
    batch = [{"message_id": uuid.uuid4().hex, "type": "search", "query": "tea"}]
    status, receipt = sent(gunicorn, "POST", "events", batch, token=token)
    assert (status, receipt["accepted"]) == (202, 1)
    status, profile = sent(gunicorn, "PATCH", "me", {"consent": False}, token=token)
    assert (status, profile["consent"]) == (200, False)
    assert not Visitor.objects.get(pk=visitor.pk).has_consented
    status, created = sent(gunicorn, "POST", "visitors", {"consent": False})
    assert (status, created["consent"]) == (201, False)


def test_chunks_are_read_as_far_as_a_body_may_be_long(gunicorn: str) -> None:
    visitor = Visitor.objects.create()
    status, problem = sent(gunicorn, "POST", "events", Chunks([b" " * 65_536] * 5), token=token_for(visitor.key))
    assert (status, problem["type"]) == (413, "urn:shopreco:problem:too-large")
    status, problem = sent(gunicorn, "PATCH", "me", Chunks(), token=token_for(visitor.key))
    assert status == 400
    assert Visitor.objects.get(pk=visitor.pk).has_consented


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("method", "path"), [("PATCH", "me"), ("POST", "visitors"), ("POST", "events")])
def test_server_that_reads_no_chunks_refuses_them(live_server: Any, method: str, path: str) -> None:
    visitor = Visitor.objects.create()
    address = urlsplit(live_server.url).netloc
    status, problem = sent(address, method, path, {"consent": False}, token=token_for(visitor.key))
    assert (status, problem["type"]) == (411, "urn:shopreco:problem:length-required")
    assert "Content-Length" in problem["detail"]
    assert Visitor.objects.get().has_consented


class TestClientOfTests:
    pytestmark = pytest.mark.django_db

    @pytest.fixture
    def client(self) -> Client:
        return Client(headers={"Authorization": f"Visitor {token_for(Visitor.objects.create().key)}"})

    def chunked(self, client: Client, method: str, path: str, body: bytes, **more: Any) -> Any:
        sent = (
            {"wsgi.input": io.BytesIO(body), "wsgi.input_terminated": True, "CONTENT_LENGTH": ""}
            | {"CONTENT_TYPE": "application/json"}
            | more
        )
        return client.generic(method, ROOT + path, b"", "application/json", HTTP_TRANSFER_ENCODING="chunked", **sent)

    def test_body_without_a_length_is_read(self, client: Client) -> None:
        assert self.chunked(client, "PATCH", "me", b'{"consent": false}').json()["consent"] is False
        assert not Visitor.objects.get().has_consented

    def test_body_without_a_length_and_of_another_type_is_refused(self, client: Client) -> None:
        answer = self.chunked(client, "PATCH", "me", b"consent=0", CONTENT_TYPE="text/plain")
        assert answer.status_code == 415

    def test_length_that_is_no_number_is_refused(self, client: Client) -> None:
        answer = self.chunked(client, "PATCH", "me", b'{"consent": false}', CONTENT_LENGTH="ten")
        assert (answer.status_code, answer.json()["type"]) == (400, "urn:shopreco:problem:bad-request")

    @pytest.mark.parametrize(
        ("method", "path", "body", "word"),
        [
            ("PATCH", "me", {}, "Nothing is chosen"),
            ("PATCH", "me", None, "Nothing is chosen"),
            ("PATCH", "me", {"consnet": False}, "Did you mean 'consent'?"),
            ("PATCH", "me", {"consent": False, "colour": "red"}, "There are: consent, profiling"),
            ("POST", "visitors", {"consent": True, "nickname": "Ada"}, "There are: consent, name, scopes"),
            ("POST", "events", {"events": [], "sent": "now"}, "nothing else beside it"),
        ],
    )
    def test_body_that_would_be_obeyed_in_part_is_refused(
        self, client: Client, method: str, path: str, body: Any, word: str
    ) -> None:
        content = b"" if body is None else json.dumps(body).encode()
        answer = client.generic(method, ROOT + path, content, "application/json")
        assert (answer.status_code, answer.json()["type"]) == (400, "urn:shopreco:problem:invalid-request")
        assert word in answer.json()["detail"]
        assert [visitor.has_consented for visitor in Visitor.objects.all()] == [True]

    def test_beacon_reads_a_body_without_a_length(self, demo_shop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(tracking, "_pages", {})
        item = Item.objects.filter(is_active=True)[0]
        track_pages(page("shop:product", "view_item", item_id="kwargs.stock_code", beacon=True))
        body = json.dumps({"path": reverse("shop:product", args=[item.item_id])}).encode()
        client = Client()
        client.cookies["recommender_consent"] = "granted"
        client.generic(
            "POST", reverse("recommender:beacon"), b"", "text/plain", HTTP_TRANSFER_ENCODING="chunked",
            HTTP_SEC_FETCH_SITE="same-origin", CONTENT_LENGTH="",
            **{"wsgi.input": io.BytesIO(body), "wsgi.input_terminated": True},
        )  # fmt: skip
        assert Event.objects.filter(type="view_item", item_id=item.item_id, source="page").count() == 1


def test_body_of_an_asynchronous_server_is_read() -> None:
    scope = {"type": "http", "method": "PATCH", "path": "/", "query_string": b"", "headers": []}
    request = ASGIRequest(scope, io.BytesIO(b'{"consent": false}'))
    assert has_length(request, limit=100)
    assert (request.META["CONTENT_LENGTH"], request.read()) == ("18", b'{"consent": false}')
    request = ASGIRequest(scope, io.BytesIO(b"x" * 500))
    assert has_length(request, limit=100)
    assert request.META["CONTENT_LENGTH"] == "101"


def test_body_that_somebody_has_read_before_is_read_again() -> None:
    scope = {"type": "http", "method": "PATCH", "path": "/", "query_string": b"", "headers": []}
    request = ASGIRequest(scope, io.BytesIO(b"[1]"))
    assert request.body == b"[1]"
    assert has_length(request, limit=100)
    assert (request.META["CONTENT_LENGTH"], request.body) == ("3", b"[1]")


def test_request_that_says_nothing_of_a_body_has_none() -> None:
    request = RequestFactory().get("/")
    assert has_length(request, limit=100)
