"""The events table by month: divided while others write, each message id once, old months dropped whole."""

from __future__ import annotations

import datetime as dt
import importlib
import threading
import uuid
from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
from django.apps import apps
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection, transaction
from django.db.migrations.loader import MigrationLoader
from django.test import Client
from django.utils import timezone

from recommender.capture import EventDraft, months, retention, storage
from recommender.capture.erasure import erase
from recommender.management import doctor
from recommender.models import Event, Visitor
from recommender.models.connections import committed
from tests.capture.drafts import draft

MONTH = dt.timedelta(days=31)
OLD = ("recommender", "0037_watch_exposure")
dropping = importlib.import_module("recommender.migrations.0038_drop_unused_indexes_of_events")


@pytest.fixture
def _whole_again(transactional_db: None) -> Iterator[None]:
    """Put the table of the migrations back."""
    yield
    storage._divided.clear()
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE IF EXISTS {months.TABLE}, {months.KEYS} CASCADE")
        cursor.execute(f"DROP FUNCTION IF EXISTS {months.FUNCTION} CASCADE")
    with connection.schema_editor() as editor:
        editor.create_model(Event)
    with connection.schema_editor() as editor:
        dropping.drop_indexes(apps, editor)


pytestmark = [pytest.mark.postgres, pytest.mark.usefixtures("_whole_again")]


def partition(*options: str) -> str:
    output = StringIO()
    call_command("recommender_partition", *options, stdout=output)
    return output.getvalue()


def store(*drafts: EventDraft) -> storage.Stored:
    """Past the checks, which refuse a time that is not near."""
    events = sorted(drafts, key=lambda event: event.message_id)
    return committed(lambda: storage.store(events, [], at=timezone.now(), alias="default"), using="default")


def read(sql: str) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(sql.format(events=months.TABLE, keys=months.KEYS))
        return [row[0] for row in cursor.fetchall()]


def n_keys() -> int:
    return int(read("SELECT count(*) FROM {keys}")[0])


def partitions() -> list[str]:
    return sorted(months._partitions())


def indexed_columns() -> set[str]:
    """Of the table and its partitions, but for what is unique."""
    return set(
        read(
            "SELECT substring(pg_get_indexdef(indexrelid) FROM ' USING .*') FROM pg_index "
            "JOIN pg_class ON pg_class.oid = indrelid WHERE relname LIKE 'recommender_event%' AND NOT indisunique"
        )
    )


def test_migration_drops_its_indexes_from_every_month_too() -> None:
    before = indexed_columns()
    with connection.schema_editor() as editor:
        dropping.create_indexes(MigrationLoader(None).project_state(OLD).apps, editor)
    store(draft(occurred_at=timezone.now()))
    partition()
    gone = {" USING btree (visitor_id)", " USING btree (message_id varchar_pattern_ops)"}
    assert gone < indexed_columns()
    with connection.schema_editor() as editor:
        dropping.drop_indexes(apps, editor)
    assert not gone & indexed_columns()
    assert before <= indexed_columns()


def test_message_id_is_stored_once_in_whatever_month_it_comes_again() -> None:
    """From before the division, from after it, with a corrected clock, and with the date of an order corrected."""
    now = timezone.now()
    before, after = draft(occurred_at=now), draft(occurred_at=now)
    store(before)
    partition()
    first = store(after, draft(message_id=before.message_id, occurred_at=now))
    assert (first.n_accepted, first.n_duplicate) == (1, 1)
    for n in (0, 3):
        moved = now + n * MONTH
        again = [draft(message_id=event.message_id, occurred_at=moved) for event in (before, after)]
        result = store(*again)
        assert (result.n_accepted, result.n_duplicate) == (0, 2)
    assert (Event.objects.count(), n_keys()) == (2, 2)


def test_months_hold_their_own_events_and_old_months_are_dropped_whole(settings: Any) -> None:
    settings.RECOMMENDER = settings.RECOMMENDER | {"RETENTION_DAYS": 20, "RETENTION": {}}
    now = timezone.now()
    store(draft(occurred_at=now))
    assert "months from then on are created" in partition()
    later = now + 2 * MONTH
    store(draft(occurred_at=later))
    event = Event.objects.order_by("-occurred_at")[0]
    assert months.name_of(later.date()) in read("SELECT tableoid::regclass::text FROM {events}")
    removed = retention.purge(at=later)
    assert removed["events"] == 1
    assert not [name for name in partitions() if "_until_" in name]
    assert list(Event.objects.values_list("pk", flat=True)) == [event.pk]
    assert n_keys() == 1
    assert not months.missing_months(at=later)


def test_event_of_a_missing_month_waits_and_moves_into_it() -> None:
    now = timezone.now()
    partition()
    late = now + 8 * MONTH
    waiting = draft(occurred_at=late)
    assert store(waiting).n_accepted == 1
    months.create_months(at=late)
    assert read("SELECT tableoid::regclass::text FROM {events}") == [months.name_of(late.date())]
    assert store(draft(message_id=waiting.message_id, occurred_at=now)).n_duplicate == 1


def test_two_writers_of_one_message_id_in_two_months_store_it_once() -> None:
    partition()
    now, name = timezone.now(), uuid.uuid4().hex
    meet, accepted = threading.Barrier(8, timeout=20), []

    def write(n: int) -> None:
        try:
            meet.wait()
            result = store(draft(message_id=name, occurred_at=now + (n % 3) * MONTH))
            accepted.append(result.n_accepted)
        finally:
            connection.close()

    threads = [threading.Thread(target=write, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(accepted) == [0] * 7 + [1]
    assert Event.objects.filter(message_id=name).count() == 1


def test_events_that_come_in_during_the_division_are_all_stored_once() -> None:
    store(*(draft(message_id=f"past-{n}") for n in range(50)))
    end, sent = threading.Event(), []

    def write() -> None:
        try:
            while not end.is_set():
                batch = [draft() for _ in range(5)]
                sent.extend(event.message_id for event in batch if store(*batch).n_accepted == 5)
                store(*batch)
        finally:
            connection.close()

    threads = [threading.Thread(target=write) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        partition()
    finally:
        end.set()
        for thread in threads:
            thread.join()
    stored = Event.objects.values_list("message_id", flat=True)
    assert set(sent) - set(stored) == set()
    assert len(stored) == len(set(stored)) == n_keys()


def test_erased_person_leaves_no_key_and_the_admin_lists_the_events(admin_client: Client) -> None:
    visitor = Visitor.objects.create()
    store(draft(visitor_key=visitor.key))
    partition()
    store(draft(visitor_key=visitor.key), draft(item_id="bowl"))
    event = Event.objects.get(item_id="bowl")
    assert admin_client.get(f"/admin/recommender/event/{event.pk}/change/").status_code == 200
    assert Visitor.objects.get(key=visitor.key).events.count() == 2
    erase(visitor_key=visitor.key)
    assert (Event.objects.count(), n_keys()) == (1, 1)


def test_rolled_back_event_leaves_no_key() -> None:
    partition()
    event = draft()
    with transaction.atomic():
        store(event)
        transaction.set_rollback(True)
    assert store(event).n_accepted == 1


def test_divided_table_is_not_divided_again_and_only_it_gets_months() -> None:
    with pytest.raises(CommandError, match="leave out --ahead"):
        partition("--ahead")
    partition()
    with pytest.raises(CommandError, match="divided by month already"):
        partition()
    assert "0 months" in partition("--ahead")


def test_doctor_says_which_months_are_missing() -> None:
    assert not list(doctor._months())
    partition()
    assert not list(doctor._months())
    ahead = months.name_of(months.month_after(timezone.now().date(), months.N_MONTHS_AHEAD))
    months.run(f"DROP TABLE {ahead}")
    [finding] = doctor._months()
    assert (finding.level, ahead[-6:-2] in finding.message) == ("warning", True)
    partition("--ahead")
    assert not list(doctor._months())


def set_back_sequence() -> None:
    """As on a replica that takes over: logical replication does not copy sequences."""
    lowest = Event.objects.order_by("pk").values_list("pk", flat=True)[0]
    read(f"SELECT setval(pg_get_serial_sequence('{{events}}', 'id'), {lowest}, false)")


def test_sequence_that_lags_behind_makes_no_event_a_duplicate() -> None:
    """It is refused, and stored when it comes again."""
    store(*(draft() for _ in range(20)))
    for is_divided in (False, True):
        if is_divided:
            partition()
        set_back_sequence()
        event = draft()
        result = store(event)
        assert (result.n_accepted, result.n_duplicate, list(result.refused)) == (0, 0, [event.message_id])
        read("SELECT setval(pg_get_serial_sequence('{events}', 'id'), max(id)) FROM {events}")
        assert store(event).n_accepted == 1
    assert (Event.objects.count(), n_keys()) == (22, 22)


def test_keys_of_an_interrupted_drop_are_deleted_by_the_next(monkeypatch: Any) -> None:
    partition()
    store(draft())
    later = timezone.now() + 4 * MONTH
    with monkeypatch.context() as patch:
        patch.setattr(months, "_delete_keys", lambda before: None)
        assert months.drop_months(before=later) == 1
    assert n_keys() == 1
    assert months.drop_months(before=later) == 0
    assert n_keys() == 0


def test_orm_is_told_of_a_repeated_message_id() -> None:
    partition()
    now = timezone.now()
    Event.objects.create(message_id="once", type="view_item", occurred_at=now)
    with transaction.atomic():
        with pytest.raises(IntegrityError, match="once"), transaction.atomic():
            Event.objects.create(message_id="once", type="view_item", occurred_at=now + 2 * MONTH)
        assert Event.objects.count() == 1
