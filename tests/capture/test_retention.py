"""Each kind of row is deleted after its own days, by the job and by the command, and what is late is named."""

from __future__ import annotations

import datetime as dt
import uuid
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from recommender import capture, conf, tasks
from recommender.capture import EventDraft, ImpressionDraft, retention
from recommender.checks import check_settings
from recommender.management import doctor
from recommender.models import (
    Alarm,
    AppToken,
    Erasure,
    Event,
    EventCount,
    HourlyFigures,
    Impression,
    Item,
    PriceChange,
    QueryFigures,
    QueryStatistics,
    RejectedEvent,
    UnpaidRow,
    Visitor,
    VisitorLink,
    Webhook,
)
from recommender.types import Entry, Ranking, Rung, Slot

pytestmark = pytest.mark.django_db

KEPT_DAYS = {
    "queries": 3,
    "impressions": 5,
    "unpaid_rows": 4,
    "past_prices": 5,
    "alarms": 6,
    "tokens": 7,
    "links": 8,
    "rejected_events": 2,
    "event_counts": 9,
    "figures": 10,
    "query_figures": 3,
    "deliveries": 11,
    "erasures": 20,
}


@pytest.fixture(autouse=True)
def _short_days(settings: Any) -> None:
    settings.RECOMMENDER = settings.RECOMMENDER | {"RETENTION_DAYS": 10, "RETENTION": KEPT_DAYS}


def seen(key: uuid.UUID, *, days: float, query: str = "") -> None:
    """A search, a click on what it listed, and the list, of one visitor."""
    at = timezone.now() - dt.timedelta(days=days)
    ranking = Ranking(uuid.uuid4(), Slot.SEARCH, (Entry("bowl", 1, 1.0),), Rung.POPULARITY, query=query)
    click = EventDraft(uuid.uuid4().hex, "select_item", at, "mug", query=query, visitor_key=key)
    search = EventDraft(uuid.uuid4().hex, "search", at, query=query, visitor_key=key)
    drafts = [click, search] if query else [click]
    capture.ingest(drafts, [ImpressionDraft(ranking, at, visitor_key=key)])


def an_item() -> Item:
    key = uuid.uuid4().hex
    return Item.objects.create(item_id=key, label="shop.Product", object_id=key)


def rows_at(at: dt.datetime) -> dict[str, Any]:
    """A row of each kind beside behaviour, at a moment."""
    stays = Visitor.objects.create(last_seen_at=at + dt.timedelta(days=99))
    return {
        "unpaid_rows": UnpaidRow.objects.create(message_id=uuid.uuid4().hex, occurred_at=at),
        "past_prices": PriceChange.objects.create(item=an_item(), price=9, ended_at=at),
        "alarms": Alarm.objects.create(kind="look", item_id=uuid.uuid4().hex, day=at.date(), raised_at=at),
        "tokens": AppToken.objects.create(visitor=stays, expires_at=at),
        "links": VisitorLink.objects.create(visitor=stays, user_key="7", unlinked_at=at),
        "rejected_events": RejectedEvent.objects.create(received_at=at),
        "figures": HourlyFigures.objects.create(hour=at, slot="home", rung="champion"),
        "query_figures": QueryFigures.objects.create(n_days=1, computed_at=at),
        "event_counts": EventCount.objects.create(day=at.date(), source="page"),
        "deliveries": Webhook.objects.create(name="w", url="https://x.example", source="due").deliveries.create(
            ended_at=at
        ),
        "erasures": Erasure.objects.create(state=Erasure.State.FINISHED, finished_at=at),
        "visitors": Visitor.objects.create(last_seen_at=at),
    }


def purged(*arguments: str) -> list[str]:
    output = StringIO()
    call_command("recommender_purge", *arguments, stdout=output)
    return output.getvalue().splitlines()


@pytest.mark.parametrize("kind", sorted({*KEPT_DAYS, "visitors"} - {"queries", "impressions"}))
def test_row_stays_until_the_last_of_its_days(kind: str) -> None:
    at = timezone.now()
    row = rows_at(at)[kind]
    stored = type(row).objects.filter(pk=row.pk)
    days = conf.retention()[kind]
    retention.purge(at=at + dt.timedelta(days=days - 0.1))
    assert stored.exists()
    assert retention.purge(at=at + dt.timedelta(days=days + 1.1))[kind] == 1
    assert not stored.exists()


def test_purge_forgets_what_is_older_and_who_has_not_come_since(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "ROWS_PER_DELETE", 2)
    gone, stays = uuid.uuid4(), uuid.uuid4()
    for _ in range(5):
        seen(gone, days=11)
    seen(stays, days=11)
    seen(stays, days=1)
    removed = retention.purge(at=timezone.now())
    assert (removed["events"], removed["impressions"], removed["visitors"]) == (6, 6, 1)
    assert [model.objects.count() for model in (Event, Impression)] == [1, 1]
    assert Visitor.objects.get().key == stays
    assert not any(retention.purge(at=timezone.now()).values())


def test_text_of_a_query_is_forgotten_before_what_followed_from_it() -> None:
    seen(uuid.uuid4(), days=4, query="red mug")
    seen(uuid.uuid4(), days=2, query="blue mug")
    assert retention.purge(at=timezone.now())["queries"] == 3
    assert sorted(Event.objects.values_list("type", "query")) == [
        ("search", "blue mug"),
        ("select_item", ""),
        ("select_item", "blue mug"),
    ]
    assert sorted(Impression.objects.values_list("query", flat=True)) == ["", "blue mug"]


def test_published_query_goes_with_the_searches_behind_it(few_are_enough: None) -> None:
    QueryStatistics.objects.create(query="red mug", n_visitors=5, n_searches=10)
    tasks.purge_retention()
    assert QueryStatistics.objects.exists()
    seen(uuid.uuid4(), days=4, query="red mug")
    tasks.purge_retention()
    assert not QueryStatistics.objects.exists()


def test_nothing_of_a_person_outlives_the_events_but_receipts_do(settings: Any) -> None:
    settings.RECOMMENDER = settings.RECOMMENDER | {"RETENTION_DAYS": 2, "RETENTION": {"queries": 1}}
    days = conf.retention()
    assert {kind: days[kind] for kind in ("events", "visitors", "queries", "impressions")} == {
        "events": 2, "visitors": 2, "queries": 1, "impressions": 2,
    }  # fmt: skip
    assert days["erasures"] == 1095


def test_receipt_of_an_unfinished_erasure_stays() -> None:
    Erasure.objects.create(requested_at=timezone.now() - dt.timedelta(days=99))
    retention.purge(at=timezone.now())
    assert Erasure.objects.exists()


def test_command_says_what_is_removed_and_what_is_overdue() -> None:
    seen(uuid.uuid4(), days=6)
    assert "impressions, 5 days: 0 removed, 1 overdue" in purged("--dry-run")
    assert Impression.objects.exists()
    assert "impressions, 5 days: 1 removed, 0 overdue" in purged()
    assert "impressions, 5 days: 0 removed, 0 overdue" in purged()
    assert len(purged()) == len(conf.retention())


def test_what_the_job_should_have_deleted_is_named_by_doctor_and_admin(admin_client: Client) -> None:
    def said() -> tuple[str, bool]:
        (finding,) = [finding for finding in doctor.examine() if finding.topic == "retention"]
        shown = admin_client.get("/admin/recommender/run/").content.decode()
        assert ("Overdue" in shown) != ("In time" in shown)
        return finding.message, "impressions: 1" in shown

    seen(uuid.uuid4(), days=6)  # a day too long: the job comes once a day
    assert said() == ("Nothing is kept longer than RETENTION_DAYS and RETENTION allow.", False)
    Impression.objects.update(occurred_at=timezone.now() - dt.timedelta(days=8))
    message, is_shown = said()
    assert is_shown
    assert "impressions 1" in message


@pytest.mark.parametrize("days", [{"querys": 3}, {"queries": -1}, {"queries": "3"}, {"queries": None}, 30])
def test_unknown_kind_and_days_that_are_no_number_are_an_error(settings: Any, days: Any) -> None:
    settings.RECOMMENDER = {"RETENTION": days}
    (message,) = check_settings(None)
    assert (message.id, "RETENTION" in message.msg) == ("recommender.E004", True)
