"""Each event is stored under a visitor who exists and has consented, or under nobody."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from recommender import identity
from recommender.capture import ImpressionDraft, IngestResult, ingest, visitors
from recommender.models import Event, Impression, Visitor
from tests.capture.drafts import NEW_VISITORS, draft, n_statements_of, ranking_of, statements

pytestmark = pytest.mark.django_db


def test_event_of_a_user_without_consent_is_dropped_and_an_order_is_nobodys() -> None:
    identity.visitor_of_user("7")
    result = ingest([draft(user_key="7"), draft(user_key="7", source="order", type="purchase", order_id="o")])
    assert (result.n_accepted, result.n_dropped) == (1, 1)
    assert Event.objects.get().visitor is None
    assert Visitor.objects.get().has_consented is False


def test_visitors_without_consent_are_never_made() -> None:
    ingest([draft(), draft(user_key="7"), draft(user_key="8", source="order")])
    assert not Visitor.objects.exists()


def test_withdrawn_visitor_is_recorded_no_more() -> None:
    visitor = Visitor.objects.create()
    assert ingest([draft(visitor_key=visitor.key)]).n_accepted == 1
    Visitor.objects.update(has_consented=False)
    visitors.forget_visitors()
    assert ingest([draft(visitor_key=visitor.key)]) == IngestResult(n_dropped=1)
    visitor.refresh_from_db()
    assert visitor.has_consented is False


def test_withdrawal_in_another_process_holds_while_the_visitor_is_remembered() -> None:
    visitor = Visitor.objects.create()
    ingest([draft(visitor_key=visitor.key)])
    Visitor.objects.update(has_consented=False)
    shown = ImpressionDraft(ranking_of("a"), timezone.now(), visitor_key=visitor.key)
    order = draft(message_id="order", type="purchase", source="order", visitor_key=visitor.key)
    late = [draft(message_id="late", visitor_key=visitor.key), order, draft(message_id="nobody's")]
    assert ingest(late, [shown]) == IngestResult(n_accepted=2, n_dropped=1)
    nobodys = Event.objects.filter(visitor=None).values_list("message_id", flat=True)
    assert set(nobodys) == {"order", "nobody's"}
    assert Event.objects.filter(visitor=visitor).count() == 1
    assert not Event.objects.filter(message_id="late").exists()
    assert not Impression.objects.exists()


def test_consent_given_again_in_another_process_holds_at_the_event_after_the_next() -> None:
    visitor = Visitor.objects.create()
    ingest([draft(visitor_key=visitor.key)])
    Visitor.objects.update(has_consented=False)
    assert ingest([draft(visitor_key=visitor.key)]) == IngestResult(n_dropped=1)
    Visitor.objects.update(has_consented=True)
    assert ingest([draft(visitor_key=visitor.key)]) == IngestResult(n_accepted=1)


def test_duplicates_and_dropped_events_of_a_withdrawn_visitor_are_told_apart() -> None:
    consenting, withdrawn = Visitor.objects.create(), Visitor.objects.create()
    first = draft(visitor_key=consenting.key)
    ingest([first, draft(visitor_key=withdrawn.key)])
    Visitor.objects.filter(pk=withdrawn.pk).update(has_consented=False)
    result = ingest([first, draft(visitor_key=consenting.key), draft(visitor_key=withdrawn.key)])
    assert result == IngestResult(n_accepted=1, n_duplicate=1, n_dropped=1)


def test_order_of_a_consenting_user_is_under_their_own_visitor() -> None:
    identity.grant_consent(["7"])
    ingest([draft(user_key="7", source="order", type="purchase")])
    event = Event.objects.select_related("visitor").get()
    assert event.visitor is not None
    assert event.visitor.key == identity.own_key("7")


def test_order_of_a_user_who_consented_in_a_browser_is_that_visitors() -> None:
    visitor = Visitor.objects.create(user_key="7")
    ingest([draft(user_key="7", source="order", type="purchase")])
    assert Event.objects.get().visitor == visitor
    assert Visitor.objects.count() == 1


def test_visitor_is_linked_to_the_user_it_comes_with_and_never_moved() -> None:
    key = uuid.uuid4()
    ingest([draft(visitor_key=key)])
    ingest([draft(visitor_key=key, user_key="7")])
    assert Visitor.objects.get(key=key).user_key == "7"
    ingest([draft(message_id="other", visitor_key=key, user_key="8")])
    assert Visitor.objects.get(key=key).user_key == "7"
    stored = Event.objects.select_related("visitor").get(message_id="other")
    assert stored.visitor is not None
    assert stored.visitor.key == identity.own_key("8")


def test_visitor_remembers_first_and_last_time_and_a_switched_off_profile() -> None:
    key, now = uuid.uuid4(), timezone.now()
    ingest([draft(visitor_key=key, occurred_at=now - dt.timedelta(hours=1)), draft(visitor_key=key, occurred_at=now)])
    visitors.forget_visitors()
    ingest([draft(visitor_key=key, occurred_at=now - dt.timedelta(days=3), is_profiled=False)])
    visitor = Visitor.objects.get()
    assert (visitor.first_seen_at, visitor.last_seen_at) == (now - dt.timedelta(days=3), now)
    assert visitor.is_profiled is False
    visitors.forget_visitors()
    ingest([draft(visitor_key=key)])
    visitor.refresh_from_db()
    assert visitor.is_profiled is False


def test_visitor_of_a_batch_has_the_first_device_and_user_and_is_a_bot_only_by_all_its_events() -> None:
    now = timezone.now()
    keys = {name: uuid.uuid4() for name in ("mixed", "bot", "unprofiled")}
    moments = [now - dt.timedelta(minutes=minutes) for minutes in (2, 3, 1)]
    values: dict[str, list[dict[str, Any]]] = {
        "mixed": [{"is_bot": True}, {"device": "mobile", "user_key": "7"}, {"device": "tablet"}],
        "bot": [{"is_bot": True}] * 3,
        "unprofiled": [{}, {"is_profiled": False}, {}],
    }
    ingest(
        [
            draft(message_id=f"{number}", visitor_key=keys[name], occurred_at=at, **given)
            for name, of_visitor in values.items()
            for number, (at, given) in enumerate(zip(moments, of_visitor, strict=True), 3 * list(keys).index(name))
        ]
    )
    columns = ("key", "user_key", "has_consented", "is_profiled", "is_bot", "device", "first_seen_at", "last_seen_at")
    assert set(Visitor.objects.values_list(*columns)) == {
        (keys["mixed"], "7", True, True, False, "mobile", moments[1], moments[2]),
        (keys["bot"], None, True, True, True, "", moments[1], moments[2]),
        (keys["unprofiled"], None, True, False, False, "", moments[1], moments[2]),
    }


def test_earlier_event_never_moves_the_last_time_nor_a_later_one_the_first() -> None:
    key, now = uuid.uuid4(), timezone.now()
    for hours in (2, 4, 1, 3):
        visitors.forget_visitors()
        ingest([draft(visitor_key=key, occurred_at=now - dt.timedelta(hours=hours))])
    visitor = Visitor.objects.get()
    assert (visitor.first_seen_at, visitor.last_seen_at) == (now - dt.timedelta(hours=4), now - dt.timedelta(hours=1))


@pytest.mark.parametrize(("n_visitors", "n_statements"), [(100, 1), (101, 2), (201, 3)])
def test_new_visitors_take_one_statement_for_each_hundred(n_visitors: int, n_statements: int) -> None:
    drafts = [draft(visitor_key=uuid.uuid4()) for _ in range(n_visitors)]
    with CaptureQueriesContext(connection) as context:
        assert ingest(drafts).n_accepted == n_visitors
    assert len(statements(context)) == n_statements * (1 + NEW_VISITORS) + 1
    assert Event.objects.exclude(visitor=None).count() == Visitor.objects.count() == n_visitors


@pytest.mark.parametrize(("seconds", "n_statements"), [(0, 1), (599.5, 1), (600, 2)])
def test_visitor_is_remembered_for_ten_minutes(monkeypatch: Any, seconds: float, n_statements: int) -> None:
    key, clock = uuid.uuid4(), [5.0]
    monkeypatch.setattr(visitors.time, "monotonic", lambda: clock[0])
    assert n_statements_of(draft(visitor_key=key)) == 2 + NEW_VISITORS
    clock[0] += seconds
    assert n_statements_of(draft(visitor_key=key)) == n_statements


def test_remembered_visitor_is_read_again_for_a_user_and_for_a_switched_off_profile() -> None:
    key = uuid.uuid4()
    assert n_statements_of(draft(visitor_key=key)) == 2 + NEW_VISITORS
    assert n_statements_of(draft(visitor_key=key), draft(visitor_key=key, is_profiled=False)) == 2
    assert n_statements_of(draft(visitor_key=key), draft(visitor_key=key, user_key="7")) == 2
    assert n_statements_of(draft(visitor_key=key, user_key="7"), draft(visitor_key=key)) == 1
    assert Visitor.objects.filter(user_key="7", is_profiled=False).count() == 1


def test_remembered_visitor_has_the_same_user_as_one_that_is_read() -> None:
    key = uuid.uuid4()
    of_user = [draft(visitor_key=key, user_key="7")]
    assert visitors._touched(of_user, alias="default") == {key: "7"}
    with CaptureQueriesContext(connection) as context:
        assert visitors._touched([draft(visitor_key=key)], alias="default") == {key: "7"}
    assert statements(context) == []


def test_users_own_visitor_is_never_remembered() -> None:
    identity.grant_consent(["7"])
    own = identity.own_key("7")
    assert n_statements_of(draft(visitor_key=own, user_key="7")) == 2
    assert n_statements_of(draft(visitor_key=own, user_key="7")) == 2
    Visitor.objects.update(has_consented=False)
    assert ingest([draft(visitor_key=own, user_key="7")]) == IngestResult(n_dropped=1)


def test_memory_of_visitors_is_emptied_before_it_grows_over_its_limit(monkeypatch: Any) -> None:
    monkeypatch.setattr(visitors, "MAX_REMEMBERED", 2)
    first, second, third = (uuid.uuid4() for _ in range(3))
    ingest([draft(visitor_key=first)])
    ingest([draft(visitor_key=second)])
    assert n_statements_of(draft(visitor_key=first)) == n_statements_of(draft(visitor_key=second)) == 1
    ingest([draft(visitor_key=third)])
    assert n_statements_of(draft(visitor_key=third)) == 1
    assert n_statements_of(draft(visitor_key=first)) == 2


def test_users_events_are_under_their_own_visitor_else_under_the_browsers_that_was_seen_last() -> None:
    now = timezone.now()
    for user_key, hours in (("7", 1), ("7", 2), ("8", 2), ("8", 1)):
        Visitor.objects.create(user_key=user_key, last_seen_at=now - dt.timedelta(hours=hours), device=f"{hours}")
    Visitor.objects.create(user_key="7", has_consented=False, device="refused", last_seen_at=now)
    identity.grant_consent(["8"])
    Visitor.objects.filter(key=identity.own_key("8")).update(last_seen_at=now - dt.timedelta(days=9), device="own")
    ingest([draft(user_key="7", item_id="a"), draft(user_key="8", item_id="b"), draft(item_id="c")])
    assert dict(Event.objects.values_list("item_id", "visitor__device")) == {"a": "1", "b": "own", "c": None}


def test_shown_list_of_a_user_without_consent_is_dropped_and_of_a_consenting_one_is_theirs() -> None:
    identity.grant_consent(["7"])
    shown = {name: ranking_of("a") for name in ("7", "8")}
    ingest([], [ImpressionDraft(ranking, timezone.now(), user_key=name) for name, ranking in shown.items()])
    assert list(Impression.objects.values_list("ranking_id", "visitor__key")) == [
        (shown["7"].id, identity.own_key("7"))
    ]


def test_order_of_a_withdrawn_visitor_is_stored_as_nobodys() -> None:
    visitor = Visitor.objects.create(has_consented=False)
    result = ingest([draft(visitor_key=visitor.key, type="purchase", source="order"), draft(visitor_key=visitor.key)])
    assert result == IngestResult(n_accepted=1, n_dropped=1)
    assert Event.objects.get().visitor is None
