"""An erased person leaves nothing: not in the tables, on the disk, in Redis or in the logs; and does not come back."""

from __future__ import annotations

import datetime as dt
import json
import logging
import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.core.cache import cache
from django.core.management import call_command
from django.db import connection, connections, transaction
from django.test import Client
from django.utils import timezone

from recommender import capture, conf, identity, serving
from recommender.capture import EventDraft, IngestResult, erasure, privacy, visitors
from recommender.capture.replay import replay
from recommender.capture.tombstone_files import file_tombstones
from recommender.datasets import queries
from recommender.identity import forgotten, tombstones
from recommender.jobs import erasing, work
from recommender.models import (
    AppToken,
    Bundle,
    Erasure,
    Event,
    QueryStatistics,
    Run,
    Synonym,
    Tombstone,
    UnpaidRow,
    Visitor,
    VisitorLink,
)
from shopreco.shop.models import Customer, Order, OrderLine, Product

ROOT = Path(__file__).resolve().parents[2]
SECRET_QUERY = "zanzibar lantern"
USER_PK = 918_273_645


@pytest.fixture(autouse=True)
def _forget(settings: Any, tmp_path: Path) -> Iterator[None]:
    settings.RECOMMENDER = {**settings.RECOMMENDER, "DIRECTORY": tmp_path / "recommender"}
    visitors.forget_visitors()
    forgotten.forget()
    yield
    visitors.forget_visitors()
    forgotten.forget()


def event(key: uuid.UUID | None, **values: Any) -> EventDraft:
    defaults = {"message_id": uuid.uuid4().hex, "type": "view_item", "occurred_at": timezone.now(), "item_id": "mug"}
    return EventDraft(**{**defaults, "visitor_key": key, **values})


def searched(key: uuid.UUID, query: str, **values: Any) -> EventDraft:
    return event(key, type="search", item_id="", query=query, **values)


def rows_in_tables() -> str:
    """Every row of every table of ours, as text."""
    tables = [name for name in connection.introspection.table_names() if name.startswith("recommender_")]
    with connection.cursor() as cursor:
        dumped = []
        for table in tables:
            cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")  # noqa: S608
            dumped += [f"{table}: {row!r}" for row in cursor.fetchall()]
    return "\n".join(dumped)


def files_of(folder: Path) -> Iterator[tuple[Path, bytes]]:
    for path in folder.rglob("*"):
        if path.is_file():
            yield path, path.read_bytes()


def values_in_cache() -> str:
    """What Redis holds, if the cache is there."""
    client = getattr(getattr(cache, "_cache", None), "get_client", None)
    if client is None:
        return repr(getattr(cache, "_cache", ""))
    redis = client()
    return " ".join(f"{key!r} {redis.dump(key)!r}" for key in redis.scan_iter())


def residue(names: list[str], *, logs: str = "") -> list[str]:
    """Where any of the names is still found."""
    places = {"tables": rows_in_tables(), "cache": values_in_cache(), "logs": logs}
    places |= {str(path): content.decode("latin-1") for path, content in files_of(conf.directory())}
    return [f"{name} in {where}" for where, text in places.items() for name in names if name in text]


@pytest.mark.django_db(transaction=True)
def test_nothing_of_an_erased_person_is_left(django_user_model: Any, caplog: Any, tmp_path: Path) -> None:
    caplog.set_level(logging.INFO)
    user = django_user_model.objects.create(pk=USER_PK, username="ada")
    key, app = uuid.uuid4(), Visitor.objects.create(user_key=str(USER_PK)).key
    Product.objects.create(stock_code="mug", title="Mug", price=3)
    customer = Customer.objects.create(user=user, code="ada")
    line = OrderLine.objects.create(
        order=Order.objects.create(number="o", customer=customer), product=Product.objects.get(), unit_price=3
    )
    capture.ingest([searched(key, SECRET_QUERY, user_key=str(USER_PK)), event(app, source="api", message_id="app-1")])
    capture.ingest([event(None, user_key=str(USER_PK), type="purchase", source="order", order_id=f"o{line.pk}")])
    UnpaidRow.objects.create(message_id="order:shop.orderline:9", visitor_key=key)
    others = [uuid.uuid4() for _ in range(2)]
    capture.ingest([searched(one, "shared words") for one in (key, *others)])
    QueryStatistics.objects.create(query="shared words", n_visitors=3, items=[])
    Synonym.objects.create(words="zanzibar", meaning="lamp", source="learned", is_active=False)
    Synonym.objects.create(
        words=SECRET_QUERY, meaning="lamp", source="learned", is_active=False, reviewed_at=timezone.now()
    )
    run = Run.objects.create(state=Run.State.FAILED)
    folder = conf.directory() / "runs" / str(run.pk)
    folder.mkdir(parents=True)
    (folder / "dataset.json").write_text(json.dumps({"events.queries": [SECRET_QUERY]}))
    (folder / "log.txt").write_text("stage dataset\n")
    names = [SECRET_QUERY, "zanzibar", str(USER_PK)]
    names += [text for one in (key, app, identity.own_key(str(USER_PK))) for text in (str(one), one.hex)]
    assert len(residue(names)) > 5

    erased = erasure.erase(user_key=str(USER_PK))
    assert not Visitor.objects.filter(user_key=str(USER_PK)).exists()
    work.WORK["erase"]()

    assert residue(names, logs=caplog.text) == []
    erased.refresh_from_db()
    assert erased.state == Erasure.State.FINISHED
    assert erased.receipt["tables"] == {"Visitor": 2, "Event": 5, "UnpaidRow": 1}
    assert erased.receipt["recomputed"]["QueryStatistics, gone"] == 1
    assert erased.receipt["recomputed"]["Synonym, gone"] == 2
    assert erased.receipt["files"] == [f"{run.pk}/dataset.json"]
    assert (folder / "log.txt").exists()
    tomorrow = dt.datetime.fromisoformat(erased.receipt["next_training_at"])
    assert (tomorrow.hour, tomorrow.minute) == (3, 0)
    assert timezone.now() < tomorrow <= timezone.now() + dt.timedelta(days=1)
    assert not QueryStatistics.objects.exists()
    assert Event.objects.filter(query="shared words").count() == 2


@pytest.mark.django_db(transaction=True)
@pytest.mark.postgres
def test_person_whose_events_are_coming_in_is_erased() -> None:
    """Several browsers of one user, each sending batches, and orders of the user, while the user is erased."""
    keys = [uuid.uuid4() for _ in range(4)]
    for key in keys:
        capture.ingest([event(key, user_key="7")])
    stop, errors, n_sent = threading.Event(), [], []

    def send(number: int) -> None:
        try:
            while not stop.is_set():
                batch = [event(key, user_key="7") for key in (keys[number:] + keys[:number])]
                batch.append(event(None, user_key="7", type="purchase", source="order", order_id="o"))
                result = capture.ingest(batch)
                n_sent.append(result.n_accepted + result.n_duplicate + len(result.rejections) + result.n_dropped)
        except Exception as error:
            errors.append(error)
        finally:
            connections.close_all()

    writers = [threading.Thread(target=send, args=(number,)) for number in range(3)]
    for writer in writers:
        writer.start()
    while len(n_sent) < 20 and not errors:
        threading.Event().wait(0.01)
    erasure.erase(user_key="7")
    n_when_erased = len(n_sent)
    while len(n_sent) < n_when_erased + 20 and not errors:
        threading.Event().wait(0.01)
    stop.set()
    for writer in writers:
        writer.join()
    assert errors == []
    assert set(n_sent) == {5}
    assert not Visitor.objects.exists()
    assert set(Event.objects.values_list("type", "visitor")) == {("purchase", None)}


@pytest.mark.django_db(transaction=True)
@pytest.mark.postgres
def test_erasure_waits_for_events_that_are_not_committed_yet() -> None:
    capture.ingest([event(key := uuid.uuid4())])
    is_stored, errors = threading.Event(), []

    def send() -> None:
        try:
            with transaction.atomic():
                capture.ingest([event(key)])
                is_stored.set()
                threading.Event().wait(1)
        except Exception as error:
            errors.append(error)
        finally:
            connections.close_all()

    writer = threading.Thread(target=send)
    writer.start()
    is_stored.wait()
    erased = erasure.erase(visitor_key=key)
    writer.join()
    assert errors == []
    assert erased.receipt["tables"] == {"Event": 2, "Visitor": 1}
    assert not Event.objects.exists()


@pytest.mark.django_db
def test_interrupted_erasure_goes_on_where_it_stopped(monkeypatch: Any) -> None:
    monkeypatch.setattr(erasure, "ROWS_PER_DELETE", 2)
    for key in (first := uuid.uuid4(), uuid.uuid4()):
        capture.ingest([event(key, user_key="7") for _ in range(5)])
    real, calls = erasure._count, []

    def failing(row: Erasure, table: str, n: int) -> None:
        calls.append(table)
        if len(calls) == 3:
            raise RuntimeError("killed")
        real(row, table, n)

    monkeypatch.setattr(erasure, "_count", failing)
    with pytest.raises(RuntimeError, match="killed"):
        erasure.erase(user_key="7")
    (pending,) = Erasure.objects.all()
    assert pending.receipt["tables"] == {"Event": 4}
    assert Event.objects.count() == 6
    assert capture.ingest([event(first)]) == IngestResult(n_dropped=1)
    work.WORK["erase"]()
    pending.refresh_from_db()
    assert (pending.state, pending.names) == (Erasure.State.FINISHED, {})
    assert pending.receipt["tables"] == {"Event": 10, "Visitor": 2}


@pytest.mark.django_db
def test_erasing_twice_counts_nothing_twice() -> None:
    capture.ingest([event(key := uuid.uuid4())])
    first = erasure.erase(visitor_key=key)
    erasure.erase_rows(first)
    assert first.receipt["tables"] == {"Event": 1, "Visitor": 1}
    assert erasure.erase(visitor_key=key).receipt.get("tables", {}) == {}
    work.WORK["erase"]()
    assert set(Erasure.objects.values_list("state", flat=True)) == {Erasure.State.FINISHED}


@pytest.mark.django_db
def test_erasure_waits_for_a_training_that_has_read_the_person_and_names_its_bundle() -> None:
    capture.ingest([event(key := uuid.uuid4())])
    now = timezone.now()
    before = Bundle.objects.create(name="before", created_at=now - dt.timedelta(days=1))
    since = Bundle.objects.create(name="since", created_at=now + dt.timedelta(seconds=1), state="champion")
    run = Run.objects.create(state=Run.State.RUNNING, started_at=now)
    folder = conf.directory() / "runs" / str(run.pk)
    folder.mkdir(parents=True)
    (folder / "dataset.npz").write_bytes(b"x")
    erased = erasure.erase(visitor_key=key)
    work.WORK["erase"]()
    erased.refresh_from_db()
    assert erased.state == Erasure.State.ROWS_ERASED
    assert f"run {run.pk}" in erased.waits_for
    assert (folder / "dataset.npz").exists()
    late = Bundle.objects.create(name="late", created_at=now + dt.timedelta(minutes=3))
    Run.objects.filter(pk=run.pk).update(state=Run.State.SUCCEEDED, bundle=late, finished_at=timezone.now())
    work.WORK["erase"]()
    erased.refresh_from_db()
    assert (erased.state, erased.waits_for) == (Erasure.State.FINISHED, "")
    assert not (folder / "dataset.npz").exists()
    learned = {name: facts["learned_from_events"] for name, facts in erased.receipt["bundles"].items()}
    assert learned == {before.name: False, since.name: True, late.name: True}


@pytest.mark.django_db
def test_run_that_waits_to_be_resumed_reads_its_data_anew() -> None:
    run = Run.objects.create(state=Run.State.QUEUED, fencing_token=1)
    folder = conf.directory() / "runs" / str(run.pk)
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / "encoder.pt").write_bytes(b"x")
    (folder / "dataset.json").write_text("{}")
    erasure.erase(visitor_key=uuid.uuid4())
    work.WORK["erase"]()
    assert list(folder.iterdir()) == []


@pytest.mark.django_db
def test_nothing_is_computed_without_an_erasure(monkeypatch: Any) -> None:
    monkeypatch.setattr(queries, "learn_queries", lambda: pytest.fail("nobody is erased"))
    work.WORK["erase"]()
    erasure.erase(visitor_key=uuid.uuid4())
    monkeypatch.undo()
    work.WORK["erase"]()
    monkeypatch.setattr(queries, "learn_queries", lambda: pytest.fail("everybody is erased"))
    work.WORK["erase"]()


@pytest.mark.django_db
class TestTombstone:
    def test_other_browser_that_comes_back_is_not_recorded_before_a_new_consent(self) -> None:
        browser, other = uuid.uuid4(), uuid.uuid4()
        for key in (browser, other):
            capture.ingest([event(key, user_key="7")])
        erasure.erase(visitor_key=browser)
        visitors.forget_visitors()  # as in another process
        assert capture.ingest([event(other)]) == IngestResult(n_dropped=1)
        assert capture.ingest([event(other, user_key="7")]) == IngestResult(n_dropped=1)
        assert not Visitor.objects.exists()
        assert not Tombstone.objects.filter(digest__contains=other.hex).exists()
        privacy.set_consent(True, visitor_key=other, user_key="7")
        assert capture.ingest([event(other)]) == IngestResult(n_accepted=1)

    def test_browser_that_was_never_linked_is_not_linked_to_an_erased_user(self) -> None:
        capture.ingest([event(uuid.uuid4(), user_key="7"), event(stranger := uuid.uuid4())])
        erasure.erase(user_key="7")
        visitors.forget_visitors()
        assert capture.ingest([event(stranger, user_key="7")]) == IngestResult(n_accepted=1)
        assert Visitor.objects.get().user_key is None
        privacy.set_consent(True, user_key="7")
        visitors.forget_visitors()
        capture.ingest([event(stranger, user_key="7")])
        assert Visitor.objects.get(key=stranger).user_key == "7"

    def test_it_holds_after_the_key_is_replaced(self, settings: Any) -> None:
        capture.ingest([event(key := uuid.uuid4())])
        erasure.erase(visitor_key=key)
        settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "new", [settings.SECRET_KEY]
        assert capture.ingest([event(key)]) == IngestResult(n_dropped=1)
        settings.RECOMMENDER = {**settings.RECOMMENDER, "SUBJECT_KEYS": ("newest", *settings.SECRET_KEY_FALLBACKS)}
        assert capture.ingest([event(key)]) == IngestResult(n_dropped=1)
        settings.RECOMMENDER["SUBJECT_KEYS"] = ("other",)
        assert capture.ingest([event(key)]) == IngestResult(n_accepted=1)

    def test_orders_stay_nobodys_also_where_the_shop_has_a_record(self, settings: Any) -> None:
        settings.RECOMMENDER = {**settings.RECOMMENDER, "ORDER_CONSENT": lambda user_keys: user_keys}
        order = {"user_key": "7", "type": "purchase", "source": "order"}
        capture.ingest([event(None, **order)])
        assert Event.objects.get().visitor is not None
        erasure.erase(user_key="7")
        capture.ingest([event(None, **order)])
        assert Event.objects.get().visitor is None
        assert not Visitor.objects.exists()

    def test_guest_who_was_erased_is_not_remembered_for_unpaid_orders(self) -> None:
        from recommender.tracking.saves import _remember_guest

        class Guest:
            visitor_key, device, region, is_bot, is_profiled = uuid.uuid4(), "", "", False, True

        erasure.erase(visitor_key=Guest.visitor_key)
        _remember_guest({"order:1"}, Guest())  # type: ignore[arg-type]
        assert not UnpaidRow.objects.exists()


@pytest.mark.django_db(transaction=True)
class TestBrowser:
    def browser(self, user: Any = None) -> Client:
        client = Client()
        client.cookies["recommender_consent"] = "granted"
        if user is not None:
            client.force_login(user)
        return client

    @pytest.fixture(autouse=True)
    def _mug(self) -> None:
        Product.objects.create(stock_code="mug", title="Mug", price=3)

    def test_erased_elsewhere_is_asked_again_and_recorded_after_the_answer(self) -> None:
        client = self.browser()
        client.get("/item/mug/")
        first = Visitor.objects.get()
        erasure.erase(visitor_key=first.key)
        client.get("/item/mug/")  # its event is dropped: the tombstone stands
        assert not Event.objects.exists()
        answer = client.get("/item/mug/")
        assert answer.cookies["recommender_visitor"].value == ""
        assert answer.cookies["recommender_consent"].value == ""
        assert not Event.objects.exists()
        client.cookies["recommender_consent"] = "granted"
        client.get("/item/mug/")
        assert Event.objects.count() == 1
        assert Visitor.objects.get().key != first.key

    def test_signing_in_on_a_browser_with_an_old_answer_does_not_bring_the_user_back(
        self, django_user_model: Any
    ) -> None:
        user = django_user_model.objects.create(username="ada")
        self.browser(user).get("/item/mug/")
        other = self.browser()
        other.get("/item/mug/")  # not signed in: nobody knows that it is theirs
        erasure.erase(user_key=str(user.pk))
        request = other.get("/item/mug/").wsgi_request
        shopper = identity.shopper_of(request)
        identity.linking._on_login(request=request, user=user)
        assert shopper.must_ask_again
        assert shopper.visitor_key is None
        assert not Visitor.objects.filter(user_key=str(user.pk)).exists()

    def test_answer_of_a_signed_in_user_after_the_erasure_is_a_new_consent(self, django_user_model: Any) -> None:
        user = django_user_model.objects.create(username="ada")
        client = self.browser(user)
        client.get("/item/mug/")
        erasure.erase(user_key=str(user.pk))
        del client.cookies["recommender_visitor"]  # as `DELETE me` does, with the consent
        client.get("/item/mug/")
        assert Visitor.objects.get().user_key == str(user.pk)
        assert not Tombstone.objects.filter(digest=_digest_of_user(user), lifted_at=None).exists()

    def test_new_visitor_after_a_logout_is_no_new_consent(self, django_user_model: Any) -> None:
        user = django_user_model.objects.create(username="ada")
        client = self.browser(user)
        client.get("/item/mug/")
        erasure.erase(user_key=str(user.pk))
        request = client.get("/").wsgi_request
        shopper = identity.shopper_of(request)
        shopper.start_over()
        assert not shopper.has_consented_anew


def _digest_of_user(user: Any) -> str:
    return identity.tombstones.digests_of(identity.tombstones.name_of_user(str(user.pk)))[0]


@pytest.mark.django_db
def test_app_that_erases_its_person_gets_the_address_of_the_receipt() -> None:
    visitor = Visitor.objects.create()
    capture.ingest([event(visitor.key)])
    token = {"Authorization": f"Visitor {identity.token_for(visitor.key)}"}
    answer = Client().delete("/recommender/api/v1/me", headers=token)
    assert (answer.status_code, Erasure.objects.get().trigger) == (204, Erasure.Trigger.API)
    receipt = Client().get(answer["Location"]).json()
    assert (receipt["state"], receipt["tables"]) == ("rows_erased", {"Event": 1, "Visitor": 1})
    work.WORK["erase"]()
    receipt = Client().get(answer["Location"]).json()
    assert (receipt["state"], receipt["n_files"], receipt["bundles"]) == ("finished", 0, {})
    assert receipt["next_training_at"] == Erasure.objects.get().receipt["next_training_at"]
    assert Client().get(f"/recommender/api/v1/erasures/{uuid.uuid4()}").status_code == 404


@pytest.mark.django_db
def test_app_of_an_erased_user_is_linked_again_only_with_a_newer_consent(django_user_model: Any) -> None:
    user = django_user_model.objects.create(username="ada")
    old = Visitor.objects.create()
    capture.ingest([event(uuid.uuid4(), user_key=str(user.pk))])
    erasure.erase(user_key=str(user.pk))

    def linked(visitor: Visitor) -> bool:
        claims = identity.claims_of(identity.token_for(visitor.key))
        assert claims is not None
        how = {"authentication": "session", "session_hash": "s"}
        return identity.linking.link_app(claims, user, **how) is not None

    assert not linked(old)
    assert not linked(Visitor.objects.create(has_consented=False))
    assert linked(Visitor.objects.create())


@pytest.mark.django_db
def test_undone_link_and_tokens_of_a_user_are_erased_too() -> None:
    visitor = Visitor.objects.create()
    VisitorLink.objects.create(visitor=visitor, user_key="7", authentication="session", unlinked_at=timezone.now())
    AppToken.objects.create(visitor=visitor, user_key="7", expires_at=timezone.now())
    assert erasure.erase(user_key="7").receipt["tables"] == {"AppToken": 1, "VisitorLink": 1}
    assert Visitor.objects.get() == visitor


def subjects(*arguments: str) -> list[str]:
    output = StringIO()
    call_command("recommender_subject", *arguments, stdout=output)
    return output.getvalue().split()


@pytest.mark.django_db
class TestAdmin:
    def test_person_is_erased_after_a_question(self, admin_client: Client) -> None:
        key = uuid.uuid4()
        capture.ingest([event(key, user_key="7"), event(uuid.uuid4(), user_key="7")])
        pk = Visitor.objects.get(key=key).pk
        page = admin_client.get(f"/admin/recommender/persona/{pk}/change/").content.decode()
        address = f"/admin/recommender/persona/{pk}/erase/"
        assert address in page
        assert "cannot be undone" in admin_client.get(address).content.decode()
        assert admin_client.post(address).status_code == 200
        assert Visitor.objects.count() == 2
        answer = admin_client.post(address, {"insist": "yes"}, follow=True)
        assert not Visitor.objects.exists()
        assert Erasure.objects.get().trigger == Erasure.Trigger.ADMIN
        assert "&quot;Visitor&quot;: 2" in answer.content.decode()
        assert not LogEntry.objects.filter(object_repr__contains=key.hex).exists()

    def test_history_names_a_person_by_a_keyed_hash_only(self, admin_client: Client, settings: Any) -> None:
        visitor = Visitor.objects.create(user_key="918273")
        token = AppToken.objects.create(
            visitor=visitor, user_key="918273", name="Ada's phone", expires_at=timezone.now() + dt.timedelta(days=9)
        )
        link = VisitorLink.objects.create(visitor=visitor, user_key="918273", authentication="session")
        for row, action in ((token, "revoke"), (link, "undo")):
            address = f"/admin/recommender/{row._meta.model_name}/"
            admin_client.post(address, {"action": action, "_selected_action": [row.pk]})
        entries = list(LogEntry.objects.order_by("pk"))
        assert [entry.get_change_message() for entry in entries] == ["Revoked.", "Undone."]
        (subject,) = subjects("--user", "918273")
        assert {entry.object_repr for entry in entries} == {f"person {subject}"}
        settings.RECOMMENDER = settings.RECOMMENDER | {"SUBJECT_KEYS": ["new", settings.SECRET_KEY]}
        newest, older = subjects("--user", "918273")
        assert (newest != subject, older) == (True, subject)
        assert subjects("--visitor", str(visitor.key))[1] == tombstones.subjects_of(visitor_key=visitor.key)[1] != older

    def test_erasure_renames_the_person_in_the_history_of_before(self, admin_user: Any) -> None:
        visitor = Visitor.objects.create(user_key="7")
        token = AppToken.objects.create(visitor=visitor, name="Ada's phone", expires_at=timezone.now())
        other = AppToken.objects.create(visitor=Visitor.objects.create(), name="tablet", expires_at=timezone.now())
        for row in (token, other):
            LogEntry.objects.log_actions(admin_user.pk, [row], 2, "Revoked.", single_object=True)
        erased = erasure.erase(user_key="7")
        names = list(LogEntry.objects.order_by("pk").values_list("object_repr", flat=True))
        assert names == [f"person {erased.subject[:16]}", "tablet"]

    def test_who_may_only_look_cannot_erase(self, client: Client, django_user_model: Any) -> None:
        staff = django_user_model.objects.create(username="staff", is_staff=True)
        staff.user_permissions.add(*Permission.objects.filter(codename__in=["view_persona", "view_visitor"]))
        client.force_login(staff)
        visitor = Visitor.objects.create()
        assert "/erase/" not in client.get(f"/admin/recommender/persona/{visitor.pk}/change/").content.decode()
        assert client.post(f"/admin/recommender/persona/{visitor.pk}/erase/", {"insist": "yes"}).status_code == 403
        assert Visitor.objects.exists()

    def test_overdue_erasure_is_named(self, admin_client: Client) -> None:
        Erasure.objects.create(requested_at=timezone.now() - dt.timedelta(hours=25))
        assert "overdue" in admin_client.get("/admin/recommender/erasure/").content.decode()


@pytest.mark.django_db(transaction=True)
class TestAccount:
    def test_deleted_account_is_erased(self, django_user_model: Any) -> None:
        user = django_user_model.objects.create(username="ada")
        key = str(user.pk)
        capture.ingest([event(uuid.uuid4(), user_key=key)])
        user.delete()
        assert Erasure.objects.get().trigger == Erasure.Trigger.ACCOUNT
        assert capture.ingest([event(None, user_key=key, source="order", type="purchase")]).n_accepted == 1
        work.WORK["erase"]()
        assert not Visitor.objects.exists()
        assert list(Event.objects.values_list("visitor", flat=True)) == [None]

    def test_deletion_that_is_rolled_back_erases_nobody(self, django_user_model: Any) -> None:
        user = django_user_model.objects.create(username="ada")
        capture.ingest([event(uuid.uuid4(), user_key=str(user.pk))])
        with transaction.atomic():
            django_user_model.objects.filter(pk=user.pk).delete()
            assert Erasure.objects.exists()
            transaction.set_rollback(True)
        assert not Erasure.objects.exists()
        assert not Tombstone.objects.exists()

    def test_account_without_a_visitor_leaves_no_erasure(self, django_user_model: Any) -> None:
        django_user_model.objects.create(username="ada").delete()
        assert not Erasure.objects.exists()

    def test_failure_never_breaks_the_deletion(self, django_user_model: Any, monkeypatch: Any, caplog: Any) -> None:
        from recommender.capture import accounts

        user = django_user_model.objects.create(username="ada")
        Visitor.objects.create(user_key=str(user.pk))
        monkeypatch.setattr(accounts, "request_erasure", lambda **who: 1 / 0)
        user.delete()
        assert not django_user_model.objects.exists()
        assert "recommender_erase --user" in caplog.text


@pytest.mark.django_db
class TestReplay:
    def restored(self, rows: list[Any]) -> None:
        """As after a restore from a backup that is older than the erasure."""
        Erasure.objects.all().delete()
        Tombstone.objects.all().delete()
        for row in rows:
            type(row).objects.bulk_create([row])
        visitors.forget_visitors()

    def test_person_in_a_restored_backup_is_erased_again(self, capsys: Any) -> None:
        capture.ingest([event(key := uuid.uuid4(), user_key="7"), event(uuid.uuid4())])
        backup = [*Visitor.objects.filter(key=key), *Event.objects.filter(visitor__key=key)]
        erasure.erase(user_key="7")
        work.WORK["erase"]()
        self.restored(backup)
        assert Event.objects.count() == 2
        call_command("recommender_erase", "--replay")
        receipt = json.loads(capsys.readouterr().out.partition("\n")[2].rpartition("}")[0] + "}")
        assert receipt["tables"] == {"Event": 1, "Visitor": 1}
        assert not Visitor.objects.filter(key=key).exists()
        assert capture.ingest([event(key)]) == IngestResult(n_dropped=1)
        assert replay().receipt["tables"] == {}

    def test_who_has_consented_again_loses_only_what_was_before(self) -> None:
        capture.ingest([event(key := uuid.uuid4())])
        backup = list(Event.objects.all())
        erasure.erase(visitor_key=key)
        privacy.set_consent(True, visitor_key=key)
        capture.ingest([event(key, message_id="later")])
        file_tombstones()
        for row in backup:
            row.visitor = Visitor.objects.get()
        self.restored(backup)
        replay()
        assert list(Event.objects.values_list("message_id", flat=True)) == ["later"]

    def test_tombstone_that_could_not_be_filed_is_filed_later(self, monkeypatch: Any) -> None:
        from recommender.capture import tombstone_files

        erasure.erase(visitor_key=uuid.uuid4())
        with monkeypatch.context() as broken:
            broken.setattr(tombstone_files, "_write", lambda stone: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                work.WORK["erase"]()
        assert Tombstone.objects.filter(filed_at=None).count() == 1
        work.WORK["erase"]()
        assert not Tombstone.objects.filter(filed_at=None).exists()
        assert len(list((conf.directory() / "bundles" / "tombstones").iterdir())) == 1


@pytest.mark.django_db
def test_process_that_learned_from_a_query_forgets_it_with_the_person(demo_shop: Any, settings: Any) -> None:
    """The model of what queries are about is fitted anew, although nine tenths of the queries are as before."""
    settings.RECOMMENDER = {**settings.RECOMMENDER, "REFRESH_SECONDS": 0}
    now = timezone.now()
    texts = [f"bag {letter}" for letter in "abcdefghijklmnopqrst"]
    QueryStatistics.objects.bulk_create([QueryStatistics(query=text, n_visitors=9, computed_at=now) for text in texts])
    fitted = serving.reload().shelf.understanding
    assert fitted is not None
    assert len(fitted.queries) == 20
    QueryStatistics.objects.filter(query=texts[0]).delete()
    assert serving.current().shelf.understanding is fitted
    Erasure.objects.create(state=Erasure.State.FINISHED, finished_at=timezone.now())
    fresh = serving.current().shelf.understanding
    assert fresh is not None
    assert len(fresh.queries) == 19


def test_command_names_what_is_missing() -> None:
    from django.core.management import CommandError

    with pytest.raises(CommandError, match="--user KEY"):
        call_command("recommender_erase", "--user", "")


SHOP_WITH_A_FILE = """
import sys, uuid, pathlib
import django
django.setup()
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.contrib.auth import get_user_model
call_command("migrate", verbosity=0)
from recommender.models import Visitor
from shopreco.shop.models import Product
Product.objects.create(stock_code="mug", title="Mug", price=3)
call_command("recommender_sync", verbosity=0)
client = Client(HTTP_HOST="127.0.0.1")
client.cookies["recommender_consent"] = "granted"
for number in range(30):
    client.get("/search/?q={query}")
    client.get("/item/mug/")
key = Visitor.objects.get().key
print("the key is", key.hex)
if sys.argv[1] == "erase":
    call_command("recommender_erase", "--visitor", str(key))
"""


@pytest.mark.parametrize("step", ["erase", "keep"])
def test_files_of_an_embedded_shop_hold_nothing_of_an_erased_person(tmp_path: Path, step: str) -> None:
    """SQLite's free pages and its write-ahead log too."""
    embedded = {name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "REDIS_URL")}
    ended = subprocess.run(
        [sys.executable, "-c", SHOP_WITH_A_FILE.format(query="zanzibar+lantern"), step],
        cwd=ROOT,
        env={**embedded, "DJANGO_SETTINGS_MODULE": "shopreco.settings", "SHOPRECO_VAR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    key = ended.stdout.partition("the key is ")[2].split()[0]
    (tmp_path / "log of the process").write_text(ended.stderr)
    places = {
        path.name
        for path, content in files_of(tmp_path)
        if any(name in content for name in (b"zanzibar", key.encode()))
    }
    assert bool(places) is (step == "keep")


@pytest.mark.django_db
@pytest.mark.parametrize("is_consenting", [True, False])
def test_what_came_between_deletion_and_receipt_stays_only_with_a_new_consent(is_consenting: bool) -> None:
    key = uuid.uuid4()
    Visitor.objects.create(key=key)
    pending = erasure.erase(visitor_key=key)
    if is_consenting:
        tombstones.lift([tombstones.name_of_visitor(key)])
    Visitor.objects.create(key=key)  # as a batch that saw no tombstone left it
    assert erasing.finish_erasures() == 1
    pending.refresh_from_db()
    assert (Visitor.objects.filter(key=key).exists(), pending.names) == (is_consenting, {})
