"""The archive of events: written once, the same as SQL, whole or not counted, and forgetful where SQL forgets."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.files.storage import storages
from django.core.management import CommandError, call_command
from django.test import override_settings
from django.utils import timezone

from recommender import conf, datasets
from recommender.capture import erasure, privacy, retention
from recommender.datasets import archive, pages, reading
from recommender.datasets.archive import manifest as manifests
from recommender.datasets.archive import parts, updating
from recommender.datasets.report import data_hash
from recommender.jobs import archiving, erasing, ledger, work
from recommender.models import Erasure, Event, Item, Job, Visitor

pytestmark = pytest.mark.django_db

NOW = timezone.now().replace(hour=12, minute=0, second=0) - dt.timedelta(days=1)
DAY = dt.timedelta(days=1)


@pytest.fixture(autouse=True)
def _own_folder(settings: Any, tmp_path: Path) -> None:
    settings.RECOMMENDER = {**settings.RECOMMENDER, "DIRECTORY": tmp_path / "recommender", "ARCHIVE": True}


@pytest.fixture
def items() -> Any:
    for name in ("mug", "bag"):
        Item.objects.create(
            item_id=name, label="shop.Product", object_id=name, title=name, text=name, text_hash=name,
            first_seen_at=NOW - 90 * DAY,
        )  # fmt: skip
    return datasets.read_items()


def record(
    kind: str = "view_item", item_id: str = "mug", *, days_ago: float = 1.0, late: float = 0.0, **values: Any
) -> Event:
    """An event that occurred some days ago and was received `late` days later."""
    occurred = NOW - days_ago * DAY
    values = {"source": "order" if kind == "purchase" else "page", "received_at": occurred + late * DAY} | values
    return Event.objects.create(message_id=uuid.uuid4().hex, type=kind, item_id=item_id, occurred_at=occurred, **values)


def a_small_shop() -> list[Visitor]:
    """Two visitors, an app, an order, searches, a bot, an item that is gone, and an event that came days late."""
    ada, bob = Visitor.objects.create(user_key="7"), Visitor.objects.create()
    record("search", "", query="red mug", visitor=ada, days_ago=3, device="mobile", region="GB")
    record(visitor=ada, days_ago=3, source="api")
    record("purchase", "bag", visitor=ada, days_ago=2.5, order_id="A1", quantity=2)
    record("purchase", "bag", visitor=bob, days_ago=2.5, source="api", order_id="claimed")
    record("search", "", query="blue bag", visitor=bob, days_ago=2)
    record("view_item", "gone", visitor=bob, days_ago=2, is_bot=True)
    record(visitor=None, days_ago=1.5)
    record("search", "", query="red mug", visitor=bob, days_ago=1, device="desktop", region="DE")
    record("add_to_cart", "mug", visitor=bob, days_ago=9, late=8, source="api")
    return [ada, bob]


def update(**options: Any) -> archive.ArchiveReport:
    """Archive everything that was received until now."""
    return archive.update(at=NOW + updating.SETTLE + dt.timedelta(seconds=1), **options)


def files() -> list[Path]:
    return sorted((conf.directory() / "bundles" / "archive").rglob("*.parquet"))


def archived_rows() -> list[dict[str, Any]]:
    tables = list(archive.archived_tables(archive.read_manifest()))
    return [row for table in tables for row in table.to_pylist()]


def from_sql(items: Any, **options: Any) -> Any:
    with override_settings(RECOMMENDER={**conf._overrides(), "ARCHIVE": False}):
        return datasets.read_interactions(items, **options)


def assert_same(ours: Any, theirs: Any, items: Any) -> None:
    assert ours.is_bot.tolist() == theirs.is_bot.tolist()
    for name, column in theirs.interactions.columns().items():
        np.testing.assert_array_equal(getattr(ours.interactions, name), column, err_msg=name)
    assert data_hash(ours.interactions, items) == data_hash(theirs.interactions, items)


def test_archive_reads_the_same_as_sql(items: Any) -> None:
    a_small_shop()
    theirs = from_sql(items)
    assert update().n_new == len(theirs) == 9
    assert len(files()) == 3  # days of receipt
    assert_same(datasets.read_interactions(items), theirs, items)


def test_archive_and_what_came_since_read_the_same_as_sql(items: Any) -> None:
    ada, _ = a_small_shop()
    update()
    record("search", "", query="new words", visitor=ada, days_ago=0)
    record("purchase", "mug", visitor=ada, days_ago=0, order_id="A2")
    assert_same(datasets.read_interactions(items), from_sql(items), items)


@pytest.mark.parametrize("chosen", ["until", "received_until"])
def test_archive_ends_where_it_is_told_to(items: Any, chosen: str) -> None:
    a_small_shop()
    update()
    moment = {chosen: NOW - 1.75 * DAY}
    theirs = from_sql(items, **moment)
    assert 0 < len(theirs) < 9
    assert_same(datasets.read_interactions(items, **moment), theirs, items)


def test_events_are_read_from_the_files_and_not_from_sql(items: Any, django_assert_max_num_queries: Any) -> None:
    a_small_shop()
    update()
    Event.objects.update(query="only in SQL")
    assert datasets.read_interactions(items).interactions.queries == ("red mug", "blue bag")


def test_event_leaves_sql_once(items: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    a_small_shop()
    update()
    before = {path: path.stat().st_mtime_ns for path in files()}
    assert update().n_new == 0
    assert {path: path.stat().st_mtime_ns for path in files()} == before
    record(days_ago=0.5)
    report = update()
    assert (report.n_new, report.n_events, report.rewritten, report.damaged) == (1, 10, [], [])
    assert len(archived_rows()) == len({row["pk"] for row in archived_rows()}) == 10


def test_large_archive_is_written_part_by_part(items: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(updating, "PART_EVENTS", 4)
    monkeypatch.setattr(pages, "CHUNK_SIZE", 2)
    a_small_shop()
    update()
    first, *_ = [part.last_pk for part in archive.read_manifest().parts]
    assert first < archive.read_manifest().last_pk
    assert_same(datasets.read_interactions(items), from_sql(items), items)


def test_late_event_belongs_to_the_day_on_which_it_came(items: Any) -> None:
    late = record(days_ago=40, late=39)
    update()
    (part,) = archive.read_manifest().parts
    assert part.day == late.received_at.date().isoformat()
    assert datasets.read_interactions(items).interactions.time.tolist() == [late.occurred_at.timestamp()]


def test_event_that_may_not_be_alone_yet_waits() -> None:
    record(days_ago=0)
    assert archive.update(at=NOW).n_new == 0
    assert update().n_new == 1


def test_event_that_was_committed_late_comes_in(items: Any) -> None:
    first = record(days_ago=1)
    gap, last = record(days_ago=1), record(days_ago=1)
    gap.delete()
    update()
    gap.pk = first.pk + 1
    gap.save(force_insert=True)
    report = update()
    assert [len(report.rewritten), report.n_events] == [1, 3]
    assert [row["pk"] for row in archived_rows()] == [first.pk, gap.pk, last.pk]


def test_file_that_was_cut_in_half_is_written_anew_from_sql(items: Any) -> None:
    a_small_shop()
    update()
    path = files()[0]
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    report = update()
    assert report.damaged == [path.relative_to(conf.directory() / "bundles").as_posix()]
    assert path.read_bytes() == whole
    assert_same(datasets.read_interactions(items), from_sql(items), items)


def test_changed_byte_is_noticed_by_reader_and_verification(items: Any, caplog: Any) -> None:
    a_small_shop()
    update()
    path = files()[0]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(Exception, match=r"recommender_archive --verify"):
        list(archive.archived_tables(archive.read_manifest()))
    assert_same(datasets.read_interactions(items), from_sql(items), items)
    assert "from the database instead of the archive" in caplog.text
    assert not update().damaged  # its size is right
    output = StringIO()
    call_command("recommender_archive", "--verify", stdout=output)
    assert f"{path.name} was damaged or gone, and was written anew" in output.getvalue()
    assert not update(thoroughly=True).damaged


def test_half_written_file_never_counts(items: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    a_small_shop()

    def lost(*arguments: Any) -> None:
        raise OSError("the host is gone")

    with monkeypatch.context() as patched:
        patched.setattr(updating, "write_manifest", lost)
        with pytest.raises(OSError, match="gone"):
            update()
    assert files()
    assert not archive.exists()
    orphan = files()[0].with_name("1-2-0000.new")
    orphan.write_bytes(b"half")
    update()
    assert_same(datasets.read_interactions(items), from_sql(items), items)
    assert not orphan.exists()


def test_damaged_manifest_is_passed_over_for_the_one_before(items: Any, caplog: Any) -> None:
    a_small_shop()
    update()
    record(days_ago=0.5)
    update()
    newest = max((conf.directory() / "bundles" / "archive").glob("manifest-*.json"))
    for content in (newest.read_text().replace('"last_pk": ', '"last_pk": 9'), newest.read_text()[:100]):
        newest.write_text(content)
        assert archive.read_manifest().n_events == 9
    assert "is damaged and passed over" in caplog.text
    assert update().n_new == 1
    assert_same(datasets.read_interactions(items), from_sql(items), items)


def test_rows_that_change_in_sql_change_in_the_archive(items: Any) -> None:
    ada, bob = a_small_shop()
    update()
    nobodys, bought = Event.objects.get(visitor=None), Event.objects.get(order_id="A1")
    Event.objects.filter(pk=nobodys.pk).update(visitor=ada)
    Event.objects.filter(pk=bought.pk).update(quantity=1)
    Event.objects.filter(visitor=bob, type="search").update(query="")
    assert len(update().rewritten) == 2
    assert_same(datasets.read_interactions(items), from_sql(items), items)
    assert len(files()) == 3


def test_keys_that_a_restored_database_gives_out_again_are_archived_again(items: Any) -> None:
    a_small_shop()
    update()
    newest = Event.objects.order_by("-pk")[:2]
    reused = newest[0].pk
    Event.objects.filter(pk__in=[event.pk for event in newest]).delete()
    update()
    Event.objects.create(pk=reused, message_id="new", type="view_item", item_id="bag", occurred_at=NOW - DAY / 2)
    archive.update(at=timezone.now() + updating.SETTLE * 2)
    assert sorted(row["pk"] for row in archived_rows()) == sorted(Event.objects.values_list("pk", flat=True))
    assert_same(datasets.read_interactions(items), from_sql(items), items)


def test_retention_reaches_the_archive(settings: Any, items: Any) -> None:
    settings.RECOMMENDER |= {"RETENTION_DAYS": 30, "RETENTION": {"queries": 10}}
    visitor = Visitor.objects.create()
    record("view_item", "mug", days_ago=35, visitor=visitor)
    record("search", "", query="old words", days_ago=20, visitor=visitor)
    record("add_to_cart", "bag", query="old words", days_ago=20, visitor=visitor)
    record("search", "", query="new words", days_ago=2, visitor=visitor)
    update()
    assert len(archived_rows()) == 4
    work.purge_retention()
    assert sorted((row["type"], row["query"]) for row in archived_rows()) == [
        ("add_to_cart", ""),
        ("search", "new words"),
    ]
    assert not any(b"old words" in path.read_bytes() for path in files())
    assert retention.n_overdue(at=NOW)["events"] == 0


def test_command_purges_the_archive_too(settings: Any) -> None:
    settings.RECOMMENDER |= {"RETENTION_DAYS": 30}
    record(days_ago=35)
    update()
    call_command("recommender_purge", "--dry-run", stdout=StringIO())
    assert len(archived_rows()) == 1
    call_command("recommender_purge", stdout=StringIO())
    assert archived_rows() == []


def test_erasure_reaches_the_archive_and_its_receipt_names_the_files(items: Any) -> None:
    ada, bob = a_small_shop()
    update()
    assert ada.pk in {row["visitor_id"] for row in archived_rows()}
    erased = erasure.erase(visitor_key=ada.key)
    assert erasing.finish_erasures() == 1
    erased.refresh_from_db()
    assert erased.receipt["archive"]
    assert all(name.startswith("archive/day=") for name in erased.receipt["archive"])
    assert not any((conf.directory() / "bundles" / name).exists() for name in erased.receipt["archive"])
    assert {row["visitor_id"] for row in archived_rows()} == {bob.pk, None}
    assert_same(datasets.read_interactions(items), from_sql(items), items)


def test_erasure_waits_while_another_process_writes_the_archive() -> None:
    ada, _ = a_small_shop()
    update()
    ledger.state_of(archiving.ARCHIVE)
    Job.objects.filter(name=archiving.ARCHIVE).update(held_by="another", held_until=timezone.now() + DAY)
    erased = erasure.erase(visitor_key=ada.key)
    assert erasing.finish_erasures() == 0
    erased.refresh_from_db()
    assert "archive" in erased.waits_for
    with pytest.raises(CommandError, match="Another process"):
        call_command("recommender_archive")
    Job.objects.filter(name=archiving.ARCHIVE).update(held_until=None)
    assert erasing.finish_erasures() == 1
    assert Erasure.objects.get(pk=erased.pk).receipt["archive"]


def test_withdrawn_consent_counts_at_once_in_the_archive_as_in_sql(items: Any) -> None:
    _, bob = a_small_shop()
    update()
    n_before = (datasets.read_interactions(items).interactions.visitor >= 0).sum()
    privacy.set_consent(False, visitor_key=bob.key)
    recorded = datasets.read_interactions(items)
    assert (recorded.interactions.visitor >= 0).sum() == n_before - 5
    assert_same(recorded, from_sql(items), items)


def test_queries_are_encrypted_in_the_archive_under_the_newest_key(settings: Any, items: Any) -> None:
    from cryptography.fernet import Fernet

    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    settings.RECOMMENDER |= {"ENCRYPTION_KEYS": [old]}
    a_small_shop()
    update()
    assert all(row["query"] == "" or row["query"].startswith("\x01") for row in archived_rows())
    assert_same(datasets.read_interactions(items), from_sql(items), items)
    settings.RECOMMENDER |= {"ENCRYPTION_KEYS": [new, old]}
    call_command("recommender_encrypt", stdout=StringIO())
    settings.RECOMMENDER |= {"ENCRYPTION_KEYS": [new]}
    assert datasets.read_interactions(items).interactions.queries == ("red mug", "blue bag")


def test_archive_that_is_switched_off_is_deleted(settings: Any, items: Any) -> None:
    a_small_shop()
    update()
    settings.RECOMMENDER |= {"ARCHIVE": False}
    with pytest.raises(CommandError, match="Set RECOMMENDER"):
        call_command("recommender_archive")
    assert len(datasets.read_interactions(items)) == 9
    archiving.archive_events()
    assert not files()
    assert not archive.exists()


def test_nothing_is_archived_unless_the_shop_asks_for_it(settings: Any) -> None:
    settings.RECOMMENDER |= {"ARCHIVE": False}
    record()
    work.WORK["archive_events"]()
    assert not archive.exists()


def test_command_and_job_archive_and_say_so() -> None:
    record(days_ago=2)
    output = StringIO()
    call_command("recommender_archive", stdout=output)
    assert output.getvalue().startswith("1 events archived, 1 in all; 0 files written anew")
    record(days_ago=1)
    work.WORK["archive_events"]()
    assert len(archived_rows()) == 2


def test_archive_on_another_storage_reads_the_same(settings: Any, items: Any) -> None:
    settings.STORAGES = {
        **settings.STORAGES, "elsewhere": {"BACKEND": "django.core.files.storage.InMemoryStorage"},
    }  # fmt: skip
    settings.RECOMMENDER |= {"BUNDLE_STORAGE": "elsewhere"}
    a_small_shop()
    update()
    assert storages["elsewhere"].exists(archive.read_manifest().parts[0].name)
    assert_same(datasets.read_interactions(items), from_sql(items), items)
    assert not list(conf.directory().glob(f"{parts.DRAFT_PREFIX}*"))
    name = archive.read_manifest().parts[0].name
    storages["elsewhere"].delete(name)
    assert update().damaged == [name]


def test_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "pyarrow", None)
    record()
    with pytest.raises(CommandError, match=r"shopreco\[archive\]"):
        call_command("recommender_archive")


def test_manifest_names_the_hash_of_every_file(items: Any) -> None:
    import hashlib

    a_small_shop()
    update()
    folder = conf.directory() / "bundles"
    values = json.loads(max((folder / manifests.FOLDER).glob("manifest-*.json")).read_text())
    assert {part["name"]: part["sha256"] for part in values["parts"]} == {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files()
    }
    assert reading.archive.is_in_use()


def test_part_claims_only_the_primary_keys_around_its_own(items: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(updating, "MARGIN", 1)
    events = [record(days_ago=days_ago) for days_ago in (4, 4, 4, 2, 2, 2)]
    keys = [event.pk for event in events]
    update()
    claimed = [(part.first_pk, part.last_pk) for part in archive.read_manifest().parts]
    assert claimed == [(max(1, keys[0] - 1), keys[2] + 1), (keys[3] - 1, keys[5])]
    assert not update().rewritten
    record(days_ago=1)
    update()
    assert archive.read_manifest().parts[-1].first_pk == keys[5] + 1
