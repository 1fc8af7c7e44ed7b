"""Webhooks against a real server: who is told what, signed, again and again until it is known, and never inside."""

from __future__ import annotations

import datetime as dt
import json
import re
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from recommender import serving
from recommender.capture import encrypting, erasure, privacy
from recommender.exceptions import WebhookError
from recommender.jobs import work
from recommender.models import Delivery, Segment, Visitor, Webhook, WebhookMember
from recommender.outreach import posting, webhooks
from recommender.personas import merging
from tests.admin.test_experiments import clerk
from tests.outreach.test_outreach import customer, item, ordered

pytestmark = pytest.mark.django_db

URL = "/admin/recommender/webhook/"
SECRET = "sesame-sesame-sesame"
DOCS = Path(__file__).resolve().parents[2] / "docs" / "webhooks.md"


class Receiver(ThreadingHTTPServer):
    """Keeps what is posted, and answers with `status` after `seconds`, a byte of it at a time where it dribbles."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answering)
        self.posted: list[tuple[dict[str, str], bytes]] = []
        self.status, self.seconds, self.dribbles = 204, 0.0, False
        self.location = ""
        self.while_answering: Any = lambda: None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/hook?shop=1"

    @property
    def messages(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _headers, body in self.posted]

    @property
    def changes(self) -> list[tuple[str, str]]:
        """Event and user of what was posted last."""
        return sorted((change["event"], change["user"]) for change in self.messages[-1]["changes"])


class _Answering(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.posted.append((dict(self.headers), body))
        self.server.while_answering()
        if self.server.dribbles:
            self.wfile.write(b"HTTP/1.1 200 OK\r\n")
            for _number in range(100):
                self.wfile.write(b"X")
                time.sleep(0.1)
            return
        time.sleep(self.server.seconds)
        self.send_response(self.server.status)
        if self.server.location:
            self.send_header("Location", self.server.location)
        self.end_headers()

    def log_message(self, *_words: Any) -> None:
        """Say nothing."""


@pytest.fixture
def receiver(settings: Any) -> Iterator[Receiver]:
    settings.RECOMMENDER = {**settings.RECOMMENDER, "WEBHOOK_PRIVATE_HOSTS": ["127.0.0.1"]}
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def segment() -> Segment:
    item("tea", category="Tea")
    return Segment.objects.create(number=4, own_name="tea lovers", n_people=3)


@pytest.fixture
def webhook(receiver: Receiver, segment: Segment) -> Webhook:
    return Webhook.objects.create(name="mails", url=receiver.url, secret=SECRET, segment=segment)


def buyer(name: str, segment: Segment, **fields: Any) -> Visitor:
    person = customer(name, segment=segment, **fields)
    ordered(person, "tea", 90, 80)
    return person


def compared(*, later: dt.timedelta = dt.timedelta(0)) -> int:
    return webhooks.compare_all(serving.loaded().shelf, at=timezone.now() + later)


def told() -> tuple[int, int]:
    """What one night and one minute do."""
    compared()
    return webhooks.deliver_due(at=timezone.now())


def test_people_who_consented_are_posted_with_the_columns_of_the_file(
    receiver: Receiver, webhook: Webhook, segment: Segment
) -> None:
    for name in ("ada", "bob"):
        buyer(name, segment)
    buyer("eve", segment, has_objected=True)
    buyer("ian", segment, is_profiled=False)
    Visitor.objects.create(segment=segment)
    assert told() == (1, 0)
    (message,) = receiver.messages
    assert (message["list"], message["segment"]) == ("segment", {"number": 4, "name": "tea lovers"})
    (ada, bob) = message["changes"]
    assert (ada["event"], ada["user"], bob["user"]) == ("entered", "ada", "bob")
    ((row,),) = [ada["rows"]]
    assert (row["orders"], row["interests"], set(row)) == (2, "Tea", {"orders", "last_order", "interests"})
    assert told() == (0, 0)
    assert len(receiver.posted) == 1


def test_only_what_differs_is_told_the_next_night(receiver: Receiver, webhook: Webhook, segment: Segment) -> None:
    people = {name: buyer(name, segment) for name in ("ada", "bob", "cat", "dan")}
    told()
    ordered(people["ada"], "tea", 3)
    Visitor.objects.filter(user_key="bob").update(segment=None)
    privacy.set_consent(False, user_key="cat")
    buyer("eve", segment)
    assert told() == (1, 0)
    assert receiver.changes == [("changed", "ada"), ("entered", "eve"), ("left", "bob"), ("left", "cat")]
    assert set(WebhookMember.objects.values_list("user_key", flat=True)) == {"ada", "dan", "eve"}


def test_erased_person_is_told_within_a_minute_and_then_forgotten(
    receiver: Receiver, webhook: Webhook, segment: Segment
) -> None:
    for name in ("ada", "bob"):
        buyer(name, segment)
    told()
    assert [row["receiver"] for row in privacy.export(user_key="ada")["told_to"]] == ["mails"]
    erasure.erase(user_key="ada")
    assert WebhookMember.objects.get(user_key="ada").digest == ""
    Webhook.objects.update(is_active=False)
    receiver.status = 500
    work.deliver_webhooks()
    work.deliver_webhooks()
    assert len(receiver.posted) == 2
    receiver.status = 200
    webhooks.deliver_due(at=timezone.now() + dt.timedelta(minutes=2))
    assert receiver.messages[-1]["changes"] == [{"event": "erased", "user": "ada"}]
    assert not WebhookMember.objects.filter(user_key="ada").exists()
    work.deliver_webhooks()
    assert len(receiver.posted) == 3


def test_nothing_of_an_erased_person_waits_to_be_sent(receiver: Receiver, webhook: Webhook, segment: Segment) -> None:
    for name in ("ada", "bob"):
        buyer(name, segment)
    compared()
    erasure.erase(user_key="ada")
    assert "ada" not in json.dumps(list(Delivery.objects.values_list("changes", flat=True)))
    webhooks.deliver_due(at=timezone.now())
    assert receiver.changes == [("entered", "bob")]


def test_person_erased_while_they_are_posted_is_owed_the_message_of_that(
    receiver: Receiver, webhook: Webhook, segment: Segment, monkeypatch: pytest.MonkeyPatch
) -> None:
    buyer("ada", segment)
    compared()
    real = webhooks.post

    def slow(*positional: Any, **named: Any) -> posting.Answer:
        answer = real(*positional, **named)
        erasure.erase(user_key="ada")
        return answer

    monkeypatch.setattr(webhooks, "post", slow)
    webhooks.deliver_due(at=timezone.now())
    monkeypatch.undo()
    work.deliver_webhooks()
    assert receiver.changes == [("erased", "ada")]


def test_consent_withdrawn_since_it_was_written_is_obeyed(
    receiver: Receiver, webhook: Webhook, segment: Segment
) -> None:
    buyer("ada", segment)
    compared()
    privacy.set_consent(False, user_key="ada")
    assert webhooks.deliver_due(at=timezone.now()) == (1, 0)
    assert not receiver.posted
    assert not WebhookMember.objects.exists()


def test_failures_are_tried_again_with_longer_pauses_then_given_up_and_told_the_next_night(
    receiver: Receiver, webhook: Webhook, segment: Segment
) -> None:
    buyer("ada", segment)
    compared()
    receiver.status, at = 500, timezone.now()
    for pause in (0, 1, 5, 30, 120, 360):
        at += dt.timedelta(minutes=pause)
        assert webhooks.deliver_due(at=at - dt.timedelta(seconds=1)) == (0, 0)
        assert webhooks.deliver_due(at=at) == (0, 1)
    delivery = Delivery.objects.get()
    assert (delivery.state, delivery.n_attempts, delivery.status, delivery.changes) == ("failed", 6, 500, [])
    assert len({headers["Recommender-Delivery"] for headers, _body in receiver.posted}) == 1
    assert webhooks.deliver_due(at=at + dt.timedelta(days=2)) == (0, 0)
    receiver.status = 200
    assert told() == (1, 0)
    assert receiver.changes == [("entered", "ada")]


def test_newer_comparison_replaces_what_waits(receiver: Receiver, webhook: Webhook, segment: Segment) -> None:
    buyer("ada", segment)
    receiver.status = 503
    told()
    buyer("bob", segment)
    receiver.status = 200
    told()
    assert receiver.changes == [("entered", "ada"), ("entered", "bob")]
    assert list(Delivery.objects.order_by("pk").values_list("state", "changes")) == [
        ("replaced", []),
        ("delivered", []),
    ]


@pytest.mark.parametrize(
    ("status", "fault"),
    [
        (302, "redirect"),
        (401, "refused"),
        (404, "gone"),
        (413, "size"),
        (429, "busy"),
        (422, "request"),
        (500, "server"),
    ],
)
def test_each_answer_that_is_no_success_has_its_repair(
    receiver: Receiver, webhook: Webhook, segment: Segment, admin_client: Client, status: int, fault: str
) -> None:
    buyer("ada", segment)
    receiver.status, receiver.location = status, f"{receiver.url}/elsewhere"
    assert told() == (0, 1)
    assert len(receiver.posted) == 1
    assert Delivery.objects.get().fault == fault
    page = admin_client.get(f"{URL}{webhook.pk}/change/").content.decode()
    assert str(webhooks.FAULTS[fault]) in page
    assert "Next attempt:" in page


@pytest.mark.parametrize("dribbles", [True, False])
def test_slow_receiver_is_cut_off(
    receiver: Receiver, webhook: Webhook, segment: Segment, monkeypatch: pytest.MonkeyPatch, dribbles: bool
) -> None:
    buyer("ada", segment)
    monkeypatch.setattr(posting, "TIMEOUT_SECONDS", 0.5)
    receiver.dribbles, receiver.seconds = dribbles, 3.0
    started = time.monotonic()
    assert told() == (0, 1)
    assert time.monotonic() - started < 2.5
    assert Delivery.objects.get().fault == "timeout"


def test_receiver_that_is_down_is_a_connection_that_fails(
    receiver: Receiver, webhook: Webhook, segment: Segment
) -> None:
    buyer("ada", segment)
    receiver.shutdown()
    receiver.server_close()
    assert told() == (0, 1)
    assert Delivery.objects.get().fault == "connection"


def test_example_of_the_documentation_checks_the_signature(
    receiver: Receiver, webhook: Webhook, segment: Segment
) -> None:
    buyer("ada", segment)
    told()
    ((headers, body),) = receiver.posted
    (example,) = re.findall(r"```python\n(import hashlib.*?)```", DOCS.read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    exec(example, names)  # noqa: S102 - our own documentation
    is_genuine = names["is_genuine"]
    assert is_genuine(body, headers, SECRET)
    assert not is_genuine(body + b" ", headers, SECRET)
    assert not is_genuine(body, headers, SECRET + "x")
    assert not is_genuine(body, headers | {"Recommender-Timestamp": str(int(time.time()) - 301)}, SECRET)
    assert headers["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.0.0.7", "192.168.1.1", "172.16.5.5", "169.254.169.254", "100.64.0.1", "224.0.0.1",
     "::1", "fe80::1", "fc00::1", "::ffff:10.0.0.1", "2002:a00:1::1", "64:ff9b::a00:1"],
)  # fmt: skip
def test_address_inside_the_network_is_refused(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    resolved = [(2, 1, 6, "", ("93.184.216.34", 443)), (2, 1, 6, "", (address, 443))]
    monkeypatch.setattr(posting.socket, "getaddrinfo", lambda *_host, **_kind: resolved)
    with pytest.raises(WebhookError, match="is inside your network") as raised:
        posting.target_of("https://hooks.example/in")
    assert raised.value.fault == "inside"
    assert posting.post("https://hooks.example/in", b"{}", secret="s", delivery="1", timestamp=1).fault == "inside"


def test_public_address_is_connected_to_as_it_was_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(posting.socket, "getaddrinfo", lambda *_host, **_kind: [(2, 1, 6, "", ("93.184.216.34", 8443))])
    target = posting.target_of("https://hooks.example:8443/in?a=1")
    assert (target.address, target.port, target.host, target.path) == (
        "93.184.216.34",
        8443,
        "hooks.example",
        "/in?a=1",
    )


@pytest.mark.parametrize(
    ("url", "repair"),
    [
        ("http://hooks.example/", "must begin with https"),
        ("ftp://hooks.example/", "must begin with https"),
        ("https://", "Write https:// and a host"),
        ("https://hooks.example:99999/", "Write https:// and a host"),
        ("https://a:b@hooks.example/", "Leave the user and the password out"),
        ("https://hooks.example/a b", "Write https:// and a host"),
        ("https://no-such-host.invalid/", "cannot be found"),
    ],
)
def test_address_that_makes_no_sense_is_refused_with_its_repair(url: str, repair: str) -> None:
    with pytest.raises(WebhookError, match=repair):
        posting.target_of(url)


def test_certificate_of_nobody_is_refused(receiver: Receiver, webhook: Webhook, segment: Segment) -> None:
    """The receiver speaks no TLS at all."""
    buyer("ada", segment)
    Webhook.objects.update(url=receiver.url.replace("http://", "https://"))
    assert told() == (0, 1)
    assert Delivery.objects.get().fault == "tls"


def test_ready_lists_are_posted_with_all_rows_of_a_person(receiver: Receiver, segment: Segment) -> None:
    item("soap")
    ada = customer("ada")
    for item_id in ("tea", "soap"):
        ordered(ada, item_id, 70, 50, 30)
    Webhook.objects.create(name="due", url=receiver.url, secret=SECRET, source="due")
    assert told() == (1, 0)
    (change,) = receiver.messages[0]["changes"]
    assert {row["item"] for row in change["rows"]} == {"tea", "soap"}
    assert receiver.messages[0]["segment"] is None


def test_many_people_are_posted_in_batches(
    receiver: Receiver, webhook: Webhook, segment: Segment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "CHANGES_A_DELIVERY", 2)
    for name in ("a", "b", "c", "d", "e"):
        buyer(name, segment)
    assert told() == (3, 0)
    assert [len(message["changes"]) for message in receiver.messages] == [2, 2, 1]


def test_receiver_that_hangs_holds_up_the_others_for_one_timeout(
    receiver: Receiver, webhook: Webhook, segment: Segment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "CHANGES_A_DELIVERY", 1)
    for name in ("a", "b", "c"):
        buyer(name, segment)
    receiver.status = 500
    assert told() == (0, 1)
    assert len(receiver.posted) == 1
    receiver.status = 200
    assert webhooks.deliver_due(at=timezone.now()) == (2, 0)


def test_webhook_follows_a_merged_segment(receiver: Receiver, webhook: Webhook, segment: Segment) -> None:
    other, _third = (Segment.objects.create(number=number, n_people=9) for number in (5, 6))
    buyer("ada", segment)
    buyer("bob", other)
    whole = merging.merge([segment.pk, other.pk], name="Both")
    told()
    assert receiver.changes == [("entered", "ada"), ("entered", "bob")]
    merging.divide(whole.pk)
    told()
    assert receiver.changes == [("left", "bob")]


def test_two_workers_post_a_delivery_once(receiver: Receiver, webhook: Webhook, segment: Segment) -> None:
    buyer("ada", segment)
    compared()
    at, pk = timezone.now(), Delivery.objects.get().pk
    receiver.while_answering = lambda: None
    Delivery.objects.filter(pk=pk).update(next_attempt_at=at + webhooks.LEASE)
    assert webhooks.deliver(pk, at=at) is None
    assert not receiver.posted


def test_command_does_what_a_worker_does(
    receiver: Receiver, webhook: Webhook, segment: Segment, capsys: pytest.CaptureFixture[str]
) -> None:
    buyer("ada", segment)
    call_command("recommender_webhooks", "--compare")
    assert capsys.readouterr().out.splitlines() == [
        "1 change to tell",
        "1 delivered, 0 failed; failed ones are tried again.",
    ]
    webhooks.request(webhook)
    buyer("bob", segment)
    call_command("recommender_webhooks")
    assert receiver.changes == [("entered", "bob")]


def test_secret_is_encrypted_and_follows_a_new_key(settings: Any, segment: Segment) -> None:
    from cryptography.fernet import Fernet

    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    settings.RECOMMENDER = {**settings.RECOMMENDER, "ENCRYPTION_KEYS": [old]}
    webhook = Webhook.objects.create(name="w", url="https://x.example", secret=SECRET, segment=segment)
    settings.RECOMMENDER = {**settings.RECOMMENDER, "ENCRYPTION_KEYS": [new, old]}
    encrypting.encrypt_stored()
    settings.RECOMMENDER = {**settings.RECOMMENDER, "ENCRYPTION_KEYS": [new]}
    webhook.refresh_from_db()
    assert webhook.secret == SECRET


def form(receiver: Receiver, of: Segment, **fields: Any) -> dict[str, Any]:
    values = {"name": "mails", "source": "segment", "segment": of.pk, "url": receiver.url, "is_active": "on"}
    return {**values, "secret": "", **fields}


def test_webhook_is_written_with_a_secret_that_is_shown_once(
    receiver: Receiver, segment: Segment, admin_client: Client
) -> None:
    page = admin_client.post(f"{URL}add/", form(receiver, segment), follow=True).content.decode()
    webhook = Webhook.objects.get()
    assert len(webhook.secret) >= 32
    assert webhook.secret in page
    url = f"{URL}{webhook.pk}/change/"
    assert webhook.secret not in admin_client.get(url).content.decode()
    admin_client.post(url, form(receiver, segment, name="letters"))
    assert (Webhook.objects.get().name, Webhook.objects.get().secret) == ("letters", webhook.secret)
    admin_client.post(url, form(receiver, segment, secret=SECRET))
    assert Webhook.objects.get().secret == SECRET


@pytest.mark.parametrize(
    ("fields", "repair"),
    [
        ({"url": "https://127.0.0.2/"}, "127.0.0.2 is inside your network"),
        ({"secret": "short"}, "at least 16 signs"),
        ({"segment": ""}, "Choose the segment whose people are sent"),
    ],
)
def test_webhook_that_makes_no_sense_is_refused(
    receiver: Receiver, segment: Segment, admin_client: Client, fields: dict[str, str], repair: str
) -> None:
    page = admin_client.post(f"{URL}add/", form(receiver, segment, **fields)).content.decode()
    assert repair in page
    assert not Webhook.objects.exists()


def test_sending_now_asks_first_and_is_written_down(
    receiver: Receiver, webhook: Webhook, segment: Segment, admin_client: Client
) -> None:
    buyer("ada", segment)
    question = admin_client.get(f"{URL}{webhook.pk}/send/").content.decode()
    assert receiver.url.replace("&", "&amp;") in question
    assert "name it in your privacy policy" in question
    admin_client.post(f"{URL}{webhook.pk}/send/")
    work.deliver_webhooks()
    assert receiver.changes == [("entered", "ada")]
    assert LogEntry.objects.get().change_message == "Sent by hand."
    assert Webhook.objects.get().requested_at is None
    page = admin_client.get(f"{URL}{webhook.pk}/change/").content.decode()
    assert "delivered" in page
    assert "ada" not in page


def test_who_may_not_see_people_sends_none(webhook: Webhook, receiver: Receiver, segment: Segment) -> None:
    client = clerk("view_webhook", "add_webhook", "change_webhook", "send_webhook")
    assert client.get(f"{URL}add/").status_code == 403
    assert client.post(f"{URL}{webhook.pk}/change/", form(receiver, segment, name="x")).status_code == 403
    assert client.post(f"{URL}{webhook.pk}/send/").status_code == 403
    assert "/send/" not in client.get(f"{URL}{webhook.pk}/change/").content.decode()
