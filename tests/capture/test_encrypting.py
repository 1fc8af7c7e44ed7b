"""Queries are encrypted where they are stored if the shop has keys, and everything reads them as before."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Callable
from io import StringIO
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from recommender import datasets
from recommender.capture import EventDraft, ImpressionDraft, encrypting, ingest, privacy, retention
from recommender.checks import check_settings, check_stored_queries
from recommender.management import doctor
from recommender.models import Event, Impression, RejectedEvent, encryption
from recommender.text.masking import MASK
from recommender.types import Entry, Ranking, Rung, Slot

pytestmark = pytest.mark.django_db

OLD, NEW = (Fernet.generate_key().decode() for _ in range(2))
MODELS = (Event, Impression, RejectedEvent)


@pytest.fixture
def with_keys(settings: Any) -> Callable[..., None]:
    def use(*keys: Any) -> None:
        settings.RECOMMENDER = settings.RECOMMENDER | {"ENCRYPTION_KEYS": keys}

    return use


def search(query: str = "red mug") -> uuid.UUID:
    """A search, the list that it led to, and a rejected search."""
    key, at = uuid.uuid4(), timezone.now()
    ranking = Ranking(uuid.uuid4(), Slot.SEARCH, (Entry("mug", 1, 1.0),), Rung.POPULARITY, query=query)
    sent = [
        EventDraft(uuid.uuid4().hex, "search", at, query=query, visitor_key=key, quantity=quantity)
        for quantity in (1, -1)
    ]
    ingest(sent, [ImpressionDraft(ranking, at, visitor_key=key)])
    return key


def stored() -> list[str]:
    """The columns as they are in the database."""
    columns = []
    for model in MODELS:
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT query FROM {model._meta.db_table} ORDER BY 1")  # noqa: S608
            columns += [query for (query,) in cursor.fetchall()]
    return columns


def read() -> list[str]:
    return [query for model in MODELS for query in model.objects.order_by("pk").values_list("query", flat=True)]


def encrypted() -> str:
    output = StringIO()
    call_command("recommender_encrypt", stdout=output)
    return output.getvalue().strip()


def test_without_keys_queries_are_stored_as_they_are() -> None:
    search()
    assert stored() == read() == ["red mug"] * 3


def test_with_a_key_no_column_holds_the_text_and_every_reader_does(with_keys: Any) -> None:
    with_keys(NEW)
    key = search()
    search("")
    assert not any("mug" in query for query in stored())
    assert [query for query in stored() if not query]  # what is empty is found as such
    assert sorted(filter(None, read())) == ["red mug"] * 3
    exported = privacy.export(visitor_key=key)
    assert {exported[kind][0]["query"] for kind in ("events", "impressions", "rejected_events")} == {"red mug"}
    assert datasets.read_interactions(datasets.read_items()).interactions.queries == ("red mug",)
    (rejected,) = RejectedEvent.objects.exclude(query="")
    assert rejected.event["query"] == "red mug"


def test_longest_query_fits(with_keys: Any) -> None:
    with_keys(NEW)
    search("🎁" * 255)
    assert read() == ["🎁" * 255] * 3


def test_rows_of_before_the_first_key_stay_readable(with_keys: Any) -> None:
    search()
    with_keys(NEW)
    search("blue mug")
    assert sorted(read()) == ["blue mug"] * 3 + ["red mug"] * 3


def test_rotation_reads_by_both_keys_and_command_leaves_only_the_new_one(with_keys: Any) -> None:
    search()
    with_keys(OLD)
    search("blue mug")
    with_keys(NEW, OLD)
    search("green mug")
    before = read()
    assert encrypted() == "6 queries encrypted"
    assert encrypted() == "0 queries encrypted"
    with_keys(NEW)
    assert read() == before
    assert not any("mug" in query for query in stored())


def test_command_goes_on_in_chunks(with_keys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encrypting, "ROWS_PER_CHUNK", 2)
    for _ in range(5):
        search()
    with_keys(NEW)
    assert encrypted() == "15 queries encrypted"


def test_query_whose_key_is_gone_is_masked_and_never_overwritten(with_keys: Any) -> None:
    with_keys(OLD)
    search()
    before = stored()
    with_keys(NEW)
    assert read() == [MASK] * 3
    with pytest.raises(CommandError, match="3 queries cannot be read"):
        encrypted()
    assert stored() == before
    with_keys()
    assert read() == [MASK] * 3


def test_key_that_does_not_fit_is_an_error_of_the_check_and_the_doctor(with_keys: Any) -> None:
    with_keys(OLD)
    search()
    assert check_stored_queries(None, databases=["default"]) == []
    with_keys(NEW)
    assert check_stored_queries(None) == []  # no database may be read
    (message,) = check_stored_queries(None, databases=["default"])
    assert (message.id, message.msg.startswith("3 of")) == ("recommender.E010", True)
    said = [finding.message for finding in doctor.examine() if finding.topic == "settings"]
    assert any("E010" in text for text in said)


KEYS = {"short": ("too short",), "number": (3,), "text": NEW, "mapping": {"a": 1}}


@pytest.mark.parametrize("keys", KEYS.values(), ids=KEYS)
def test_what_is_no_list_of_keys_is_an_error(settings: Any, keys: Any) -> None:
    settings.RECOMMENDER = {"ENCRYPTION_KEYS": keys}
    (message,) = check_settings(None)
    assert (message.id, "ENCRYPTION_KEYS" in message.msg) == ("recommender.E009", True)


def test_missing_package_is_named_and_nothing_is_stored_in_clear(
    with_keys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    encryption._cipher.cache_clear()
    monkeypatch.setitem(sys.modules, "cryptography.fernet", None)
    with_keys(NEW)
    (message,) = check_settings(None)
    assert "shopreco[encryption]" in message.msg
    with pytest.raises(CommandError, match="pip install"):
        encrypted()
    with pytest.raises(Exception, match="pip install"):
        search()
    assert not any("mug" in query for query in stored())


def test_command_without_keys_says_what_to_set() -> None:
    with pytest.raises(CommandError, match="ENCRYPTION_KEYS"):
        encrypted()


def test_old_encrypted_queries_are_forgotten_like_others(with_keys: Any) -> None:
    with_keys(NEW)
    search()
    removed = retention.purge(at=timezone.now() + timezone.timedelta(days=91))
    assert removed["queries"] == 2
    assert set(Impression.objects.values_list("query", flat=True)) == {""}
