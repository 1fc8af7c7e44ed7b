"""Every event is accounted for by day and source, and what was rejected is kept for a while and sent again."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import sys
import uuid
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import DatabaseError, connection, transaction
from django.test import Client
from django.utils import timezone

from recommender import capture, identity, jobs
from recommender.capture import counting, erasure, ingest, privacy, rejections
from recommender.models import Event, EventCount, RejectedEvent, Visitor
from recommender.models.claims import message_id_of_client
from tests.capture.drafts import draft, n_statements_of, refuse_rows

pytestmark = pytest.mark.django_db

Committed = Callable[..., Any]
ROOT = Path(__file__).resolve().parents[2]
OUTCOMES = ("accepted", "duplicate", "rejected", "dropped")
EVENTS = "/recommender/api/v1/events"


@pytest.fixture
def account(django_capture_on_commit_callbacks: Committed) -> Callable[[Callable[[], Any]], dict[str, list[int]]]:
    """Does something as if it were committed, and returns the account of all days by source."""

    def account_of(act: Callable[[], Any]) -> dict[str, list[int]]:
        with django_capture_on_commit_callbacks(execute=True):
            act()
        counting.write()
        rows = EventCount.objects.order_by("day", "source")
        return {row.source: [getattr(row, outcome) for outcome in OUTCOMES] for row in rows}

    return account_of


def send(*events: dict[str, Any], key: uuid.UUID | None = None, consent: str = "granted") -> Any:
    client = Client()
    client.cookies["recommender_consent"] = consent
    if key is not None:
        client.cookies["recommender_visitor"] = identity.cookie_for(key)
    return client.post(EVENTS, json.dumps(list(events)), content_type="application/json")


def view(message_id: str = "1", **values: Any) -> dict[str, Any]:
    return {"message_id": message_id, "type": "view_item", "item_id": "mug", **values}


def replayed(*arguments: str) -> str:
    output = StringIO()
    call_command("recommender_replay_rejected", *arguments, stdout=output)
    return output.getvalue().strip()


def test_account_holds_what_became_of_every_event(account: Any) -> None:
    key = uuid.uuid4()
    events = [view("1"), view("1"), view("2"), view("3", item_id=""), view("4", type="lick_item")]
    assert account(lambda: send(*events, key=key)) == {"api": [2, 1, 2, 0]}
    assert account(lambda: send(*events, key=key)) == {"api": [2, 4, 4, 0]}
    assert account(lambda: send(view(), consent="denied")) == {"api": [2, 4, 4, 1]}
    assert EventCount.objects.get().sent == 11


def test_batch_of_two_sources_is_counted_by_source(account: Any) -> None:
    bought = draft(type="purchase", source="order", user_key="7")
    seen = draft(visitor_key=uuid.uuid4())
    assert account(lambda: ingest([bought, seen, seen])) == {"order": [1, 0, 0, 0], "page": [1, 1, 0, 0]}
    wrong = [draft(item_id=""), draft(source="x" * 99), draft(source=["page"])]
    assert account(lambda: ingest([bought, seen, *wrong])) == {
        "": [0, 0, 2, 0], "order": [1, 1, 0, 0], "page": [1, 2, 1, 0],
    }  # fmt: skip


def test_page_without_consent_and_withdrawn_consent_are_dropped(account: Any) -> None:
    visitor = Visitor.objects.create(has_consented=False)
    assert account(lambda: ingest([draft(visitor_key=visitor.key), draft()])) == {"page": [1, 0, 0, 1]}
    assert account(lambda: Client().get("/item/mug/"))["page"][3] >= 1


def test_what_is_rolled_back_is_not_counted(account: Any) -> None:
    def fail() -> None:
        with transaction.atomic():
            ingest([draft()])
            transaction.set_rollback(True)

    assert account(fail) == {}


def test_counting_costs_a_page_view_no_statement(django_capture_on_commit_callbacks: Committed) -> None:
    key = uuid.uuid4()
    ingest([draft(visitor_key=key)])
    with django_capture_on_commit_callbacks(execute=True):
        assert n_statements_of(draft(visitor_key=key)) == 1
    assert not EventCount.objects.exists()


def test_process_writes_once_a_minute(
    monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: Committed
) -> None:
    monkeypatch.setattr(counting, "_written_at", counting._written_at - counting.WRITE_SECONDS)
    for _ in range(2):
        with django_capture_on_commit_callbacks(execute=True):
            ingest([draft()])
    assert EventCount.objects.get().accepted == 1
    counting.write()
    assert EventCount.objects.get().accepted == 2


@pytest.mark.django_db(transaction=True)
def test_job_writes_what_it_counted() -> None:
    jobs.perform("reconcile", lambda: ingest([draft()]))
    assert EventCount.objects.get().accepted == 1


@pytest.mark.django_db(transaction=True)
def test_process_writes_at_its_end() -> None:
    code = "from recommender.capture import count_dropped; count_dropped(['page'] * 3)"
    subprocess.run([sys.executable, "manage.py", "shell", "--command", code], cwd=ROOT, check=True, capture_output=True)
    assert EventCount.objects.get().dropped == 3


def test_what_a_test_database_counted_is_not_written_to_the_one_after_it(
    monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: Committed
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        ingest([draft()])
    monkeypatch.setitem(connection.settings_dict, "NAME", "shop")
    counting.write()
    assert not EventCount.objects.exists()


def test_counts_that_cannot_be_written_are_kept(monkeypatch: pytest.MonkeyPatch, account: Any) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(counting, "_add", lambda numbers: (_ for _ in ()).throw(DatabaseError("gone")))
        account(lambda: ingest([draft()]))
    assert account(lambda: ingest([draft()])) == {"page": [2, 0, 0, 0]}


def test_rejected_event_is_kept_with_its_reason_and_without_what_identifies() -> None:
    key = uuid.uuid4()
    query = "call me at grace@example.org today"
    send(view("1", type="search", query=query, price="free", email="grace@example.org"), key=key)
    row = RejectedEvent.objects.select_related("visitor").get()
    assert row.visitor is not None
    assert (row.visitor.key, row.source, row.code) == (key, "api", "price")
    assert "number" in row.reason
    assert row.event == {
        "message_id": "1", "type": "search", "item_id": "mug", "query": "call me at ••• today", "price": "free",
    }  # fmt: skip


def test_text_that_no_database_takes_is_kept_without_it() -> None:
    ingest([draft(query="mug \x00", item_id="\ud800", quantity=float("nan"))])
    event = RejectedEvent.objects.get().event
    assert [event[name] for name in ("query", "item_id", "quantity")] == ["mug \ufffd", "?", "nan"]


@pytest.mark.parametrize("event", [[], "x", None, {"item_id": {"a": [1]}, "quantity": 1e300, "position": 10**300}])
def test_whatever_is_sent_can_be_kept(event: Any) -> None:
    assert send(event, key=uuid.uuid4()).status_code in (202, 400)
    assert all(isinstance(row.payload, dict) for row in RejectedEvent.objects.all())


@pytest.mark.parametrize(
    "wrong",
    [{"visitor_key": "no key"}, {"source": "x" * 99}, {"device": 7}, {"occurred_at": "soon"}],
)
def test_draft_whose_sender_is_wrong_is_kept_too(wrong: dict[str, Any]) -> None:
    assert len(ingest([draft(**wrong)]).rejections) == 1
    assert RejectedEvent.objects.get().code == next(iter(wrong))


def test_what_the_database_refuses_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_rows(monkeypatch, "bad")
    ingest([draft(), draft(item_id="bad")])
    assert RejectedEvent.objects.get().code == "database"
    assert Event.objects.count() == 1


def test_without_consent_nothing_of_a_person_is_kept() -> None:
    visitor = Visitor.objects.create(has_consented=False)
    ingest([draft(item_id="", visitor_key=visitor.key), draft(item_id="", user_key="7")])
    send(view(item_id=""), key=uuid.uuid4(), consent="denied")
    assert not RejectedEvent.objects.exists()


def test_an_hour_keeps_so_many_and_counts_the_others(monkeypatch: pytest.MonkeyPatch, account: Any) -> None:
    monkeypatch.setattr(rejections, "MOST_PER_HOUR", 3)
    assert account(lambda: send(*[view(str(n), item_id="") for n in range(5)]))["api"][2] == 5
    assert RejectedEvent.objects.count() == 3
    RejectedEvent.objects.update(received_at=timezone.now() - dt.timedelta(hours=2))
    send(view("9", item_id=""))
    assert RejectedEvent.objects.count() == 4


def test_rejections_that_cannot_be_kept_take_no_event_with_them(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(rejections, "_row", lambda *arguments, **names: (_ for _ in ()).throw(DatabaseError("full")))
    assert ingest([draft(), draft(item_id="")]).n_accepted == 1
    assert "1 rejected events were not kept" in caplog.text


class TestReplay:
    def test_repaired_event_is_stored_once_under_its_own_key(self, account: Any) -> None:
        key = uuid.uuid4()
        account(lambda: send(view("1", item_id=""), view("2", item_id=""), key=key))
        assert replayed() == "0 accepted, 0 duplicate, 0 dropped, 2 rejected still"
        for row in RejectedEvent.objects.all():
            row.payload["item_id"] = "mug"
            row.save()
        account(lambda: send(view("2"), key=key))  # the client was repaired too
        assert replayed("--dry-run") == "2 can be stored, 0 are rejected still"
        assert account(lambda: replayed()) == {"api": [2, 1, 0, 0]}
        stored = Event.objects.select_related("visitor").get(message_id=message_id_of_client(key, "1"))
        assert stored.visitor is not None
        assert (stored.visitor.key, stored.item_id, stored.source) == (key, "mug", "api")
        assert not RejectedEvent.objects.exists()
        assert replayed() == "0 accepted, 0 duplicate, 0 dropped, 0 rejected still"

    def test_account_of_its_own_day_is_moved(self, account: Any) -> None:
        day = timezone.now() - dt.timedelta(days=3)
        EventCount.objects.create(day=day.date(), source="page", rejected=1)
        ingest([draft(item_id="", message_id="m")])
        payload = RejectedEvent.objects.get().payload | {"item_id": "mug", "occurred_at": day.isoformat()}
        RejectedEvent.objects.update(received_at=day, payload=payload)
        EventCount.objects.exclude(day=day.date()).delete()
        account(replayed)
        row = EventCount.objects.get(day=day.date())
        assert (row.accepted, row.rejected) == (1, 0)
        assert Event.objects.get().message_id == "m"

    def test_only_the_named_reason_is_replayed(self) -> None:
        ingest([draft(item_id=""), draft(quantity=-1)])
        assert replayed("--reason", "quantity").endswith("1 rejected still")

    def test_time_is_corrected_by_the_clock_of_then(self) -> None:
        sent_at = timezone.now() - dt.timedelta(hours=5)
        client = Client()
        client.cookies["recommender_consent"] = "granted"
        body = {"sent_at": sent_at.isoformat(), "events": [view(occurred_at=sent_at.isoformat(), item_id="")]}
        client.post(EVENTS, json.dumps(body), content_type="application/json")
        row = RejectedEvent.objects.get()
        row.payload["item_id"] = "mug"
        row.save()
        assert replayed().startswith("1 accepted")
        assert timezone.now() - Event.objects.get().occurred_at < dt.timedelta(minutes=5)

    def test_event_of_which_something_was_hidden_is_not_stored(self) -> None:
        ingest([draft(item_id="grace@example.org", quantity=-1)])
        row = RejectedEvent.objects.get()
        row.payload["quantity"] = 1
        row.save()
        assert replayed().endswith("1 rejected still")

    def test_event_of_a_user_keeps_its_key(self) -> None:
        own = identity.visitor_of_user("7")
        identity.grant_consent(["7"])
        ingest([draft(message_id="m", user_key="7", source="api", item_id="")])
        row = RejectedEvent.objects.get()
        assert (row.visitor, row.names_user) == (own, True)
        row.payload["item_id"] = "mug"
        row.save()
        ingest([draft(message_id="m", user_key="7", source="api")])
        assert replayed().startswith("0 accepted, 1 duplicate")


class TestPerson:
    def rejected(self) -> uuid.UUID:
        send(view(item_id=""), key=(key := uuid.uuid4()))
        send(view(item_id=""), key=uuid.uuid4())
        assert RejectedEvent.objects.count() == 2
        return key

    def test_erasure_takes_the_rejections_of_the_person(self) -> None:
        key = self.rejected()
        erased = erasure.erase(visitor_key=key)
        assert erased.receipt["tables"]["RejectedEvent"] == 1
        assert RejectedEvent.objects.exclude(visitor__key=key).count() == RejectedEvent.objects.count() == 1

    def test_withdrawn_consent_takes_them(self) -> None:
        privacy.set_consent(False, visitor_key=self.rejected())
        assert RejectedEvent.objects.count() == 1

    def test_export_shows_them(self) -> None:
        (row,) = privacy.export(visitor_key=self.rejected())["rejected_events"]
        assert (row["code"], row["payload"]["message_id"]) == ("item_id", "1")


def test_admin_shows_the_account_and_the_reasons(admin_client: Client, account: Any) -> None:
    account(lambda: send(view("1"), view("2", item_id=""), view("3", quantity=-1)))
    shown = admin_client.get("/admin/recommender/eventcount/").content.decode()
    assert '<td class="field-n_sent">3</td>' in shown
    assert '<td class="field-rejected">2</td>' in shown
    listed = admin_client.get("/admin/recommender/rejectedevent/", {"code": "item_id"}).content.decode()
    assert listed.count('class="field-code"') == 1
    row = RejectedEvent.objects.get(code="quantity")
    page = admin_client.get(f"/admin/recommender/rejectedevent/{row.pk}/change/").content.decode()
    assert "&quot;message_id&quot;: &quot;3&quot;" in page
    for model in ("eventcount", "rejectedevent"):
        assert admin_client.get(f"/admin/recommender/{model}/add/").status_code == 403


def test_dropped_events_of_a_request_are_counted_in_the_process() -> None:
    before = capture.counts["dropped"]
    capture.count_dropped(["page", "page"])
    assert capture.counts["dropped"] == before + 2
