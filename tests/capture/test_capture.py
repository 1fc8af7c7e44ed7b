"""Every event is accounted for: sent = accepted + duplicate + rejected + dropped."""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from typing import Any

import pytest
from django.db import transaction
from django.test import RequestFactory
from django.utils import timezone
from hypothesis import HealthCheck, given
from hypothesis import settings as budget
from hypothesis import strategies as st

from recommender import capture, identity
from recommender.capture import EventDraft, IngestResult, ingest
from recommender.models import Event, Impression, Visitor
from recommender.signals import event_recorded
from tests.capture.drafts import accounted, draft, ranking_of, refuse_rows

pytestmark = pytest.mark.django_db


def test_receipt_lists_refusals_by_their_place_in_the_batch(monkeypatch: Any) -> None:
    refuse_rows(monkeypatch, "bad")
    ingest([draft(message_id="earlier"), draft(message_id="earlier"), draft(quantity=0)])
    counts = {name: capture.counts[name] for name in ("accepted", "duplicate", "rejected", "dropped")}
    identity.visitor_of_user("7")
    result = ingest(
        [
            draft(item_id="bad"), draft(quantity=0), draft(message_id="m"), draft(item_id="bad"), draft(message_id="m"),
            draft(message_id="m"), draft(user_key="7"), draft(user_key="7"), draft(user_key="7"), draft(user_key="7"),
        ]
    )  # fmt: skip
    assert [(rejection.index, rejection.field) for rejection in result.rejections] == [
        (0, ""),
        (1, "quantity"),
        (3, ""),
    ]
    assert result.rejections[1].message == "Expected a number above 0 and at most 1000000000."
    assert result.rejections[0].message.startswith("The database does not take the event: ")
    assert "null" in result.rejections[0].message.lower()
    assert (result.n_accepted, result.n_duplicate, result.n_dropped, result.n_attached) == (1, 2, 4, 0)
    added = {name: capture.counts[name] - before for name, before in counts.items()}
    assert added == {"accepted": 1, "duplicate": 2, "rejected": 3, "dropped": 4}


def test_nothing_is_stored_of_an_empty_batch(django_assert_num_queries: Any) -> None:
    assert ingest([]) == IngestResult()
    assert not Visitor.objects.exists()


ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.floats(),
    st.decimals(),
    st.text(st.characters(codec=None), max_size=140),
    st.binary(max_size=5),
    st.uuids(),
    st.datetimes(),
    st.datetimes(timezones=st.just(dt.UTC)),
    st.lists(st.integers(), max_size=2),
)


SOUND = st.fixed_dictionaries(
    {"message_id": st.sampled_from(["a", "b", "c", "d"]), "type": st.sampled_from(sorted(capture.TYPES))},
    optional={"visitor_key": st.sampled_from([uuid.UUID(int=1), None]), "user_key": st.sampled_from(["7", "8", None])},
)


FIELDS = [column.name for column in dataclasses.fields(EventDraft)]


@budget(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batch=st.lists(st.tuples(SOUND, st.dictionaries(st.sampled_from(FIELDS), ANYTHING, max_size=3)), max_size=6))
def test_every_event_is_accounted_for_whatever_is_sent(batch: list[tuple[dict[str, Any], dict[str, Any]]]) -> None:
    drafts = [draft(**{**sound, **odd}) for sound, odd in batch]
    n_before = Event.objects.count()
    result = ingest(drafts)
    assert accounted(result) == len(drafts)
    assert Event.objects.count() - n_before == result.n_accepted
    assert {rejection.index for rejection in result.rejections} <= set(range(len(drafts)))


@pytest.mark.django_db(transaction=True)
def test_signal_tells_after_the_commit_how_many_were_stored() -> None:
    heard: list[tuple[Any, int]] = []

    def listen(sender: Any, n_accepted: int, **_: Any) -> None:
        heard.append((sender, n_accepted))

    event_recorded.connect(listen)
    try:
        with transaction.atomic():
            ingest([draft(message_id="m"), draft()])
            assert heard == []
        ingest([draft(message_id="m")])
    finally:
        event_recorded.disconnect(listen)
    assert heard == [(Event, 2)]


@pytest.mark.django_db(transaction=True)
def test_failing_listener_loses_no_event(caplog: Any) -> None:
    def fail(**_: Any) -> None:
        raise RuntimeError("not my day")

    event_recorded.connect(fail)
    try:
        assert ingest([draft()]).n_accepted == 1
    finally:
        event_recorded.disconnect(fail)
    assert Event.objects.count() == 1
    messages = [record.getMessage() for record in caplog.records if record.name == "recommender.capture"]
    assert messages == [f"receiver {fail!r} of event_recorded failed: RuntimeError('not my day')"]


def request_with(consent: str | None = "granted") -> Any:
    request: Any = RequestFactory().get("/", HTTP_USER_AGENT="Mozilla/5.0 (iPhone)", HTTP_ACCEPT_LANGUAGE="en-GB")
    if consent:
        request.COOKIES["recommender_consent"] = consent
    return request


def test_recorded_events_wait_for_the_flush_and_get_their_shopper(django_assert_num_queries: Any) -> None:
    request = request_with()
    ranking = ranking_of("a")
    with django_assert_num_queries(0):
        capture.record(request, draft(message_id="m"))
        capture.record_impression(request, ranking, current_item_id="b")
        capture.record_impression(request, ranking, current_item_id="b")
    assert len(capture.buffer_of(request).impressions) == 1
    assert capture.flush(request) == IngestResult(n_accepted=1)
    event, impression = Event.objects.get(), Impression.objects.get()
    assert event.visitor is not None
    assert event.visitor == impression.visitor
    assert (event.device, event.region) == ("mobile", "GB")
    assert capture.flush(request) == IngestResult()


def test_flushed_events_and_lists_say_who_was_there(django_user_model: Any) -> None:
    request = request_with()
    request.user = user = django_user_model.objects.create(username="ada")
    request.META |= {"HTTP_SEC_PURPOSE": "prefetch", "HTTP_SEC_GPC": "1"}
    before = timezone.now()
    capture.record(request, draft(item_id="seen"))
    capture.record_impression(request, ranking_of("a"))
    later = draft(item_id="later", device="overwritten", region="overwritten")
    capture.record_later(request, lambda shopper: [later] if shopper is identity.shopper_of(request) else [])
    order = draft(item_id="order", type="purchase", source="order", device="till", user_key=str(user.pk))
    capture.record(request, order)
    assert capture.flush(request) == IngestResult(n_accepted=3)
    visitor = Visitor.objects.get()
    assert visitor.key == identity.shopper_of(request).visitor_key
    assert (visitor.user_key, visitor.device, visitor.is_profiled) == (str(user.pk), "mobile", False)
    columns = ("item_id", "source", "device", "region", "is_bot", "visitor")
    assert set(Event.objects.values_list(*columns)) == {
        ("seen", "page", "mobile", "GB", True, visitor.pk),
        ("later", "page", "mobile", "GB", True, visitor.pk),
        ("order", "order", "till", "", False, None),
    }
    impression = Impression.objects.get()
    assert (impression.source, impression.device, impression.is_bot) == ("page", "mobile", True)
    assert (impression.visitor, impression.current_item_id) == (visitor, "")
    assert before <= impression.occurred_at <= timezone.now()


def test_without_consent_only_orders_are_kept_and_the_others_are_counted() -> None:
    request = request_with(consent=None)
    for values in ({}, {"source": "order", "type": "purchase"}, {"type": "search", "query": "mug"}):
        capture.record(request, draft(**values))
    n_dropped = capture.counts["dropped"]
    assert capture.flush(request) == IngestResult(n_accepted=1, n_dropped=2)
    assert capture.counts["dropped"] == n_dropped + 2
    assert (Event.objects.get().source, Event.objects.get().visitor) == ("order", None)


def test_orders_alone_need_no_visitor_and_a_list_alone_is_stored() -> None:
    request = request_with()
    capture.record(request, draft(source="order", type="purchase"))
    assert capture.flush(request) == IngestResult(n_accepted=1)
    assert not Visitor.objects.exists()
    capture.record_impression(request, ranking_of("a"))
    assert capture.flush(request) == IngestResult()
    assert Impression.objects.get().visitor == Visitor.objects.get()


def test_request_of_rest_framework_shares_the_buffer_of_djangos() -> None:
    request = request_with()
    wrapped = type("RestRequest", (), {"_request": request})()
    capture.record(wrapped, draft())
    capture.record_impression(wrapped, ranking_of("a"))
    assert capture.buffer_of(wrapped) is capture.buffer_of(request)
    assert request.recommender_is_personal is True
    assert capture.flush(wrapped) == IngestResult(n_accepted=1)
    assert capture.flush(request) == IngestResult()


def test_list_drawn_twice_keeps_what_was_recorded_first() -> None:
    request, ranking = request_with(), ranking_of("a")
    capture.record_impression(request, ranking, current_item_id="first")
    capture.record_impression(request, ranking, current_item_id="second")
    capture.flush(request)
    assert Impression.objects.get().current_item_id == "first"


def test_list_that_nobody_sees_is_no_impression() -> None:
    request = request_with()
    request.method = "HEAD"
    capture.record_impression(request, ranking_of("a"))
    request.method = "GET"
    capture.record_impression(request, ranking_of())
    assert capture.flush(request) == IngestResult()
    assert not Impression.objects.exists()


def test_without_consent_nothing_is_stored_and_the_loss_is_counted() -> None:
    request = request_with(consent=None)
    capture.record(request, draft())
    capture.record_impression(request, ranking_of("a"))
    n_dropped = capture.counts["dropped"]
    assert capture.flush(request) == IngestResult(n_dropped=1)
    assert capture.counts["dropped"] == n_dropped + 1
    assert [model.objects.count() for model in (Event, Impression, Visitor)] == [0, 0, 0]


def test_failing_source_keeps_the_events_of_the_others(caplog: Any) -> None:
    request = request_with()
    capture.record_later(request, lambda shopper: 1 / 0)  # type: ignore[arg-type, return-value]
    capture.record_later(request, lambda shopper: [draft()])
    n_failed = capture.counts["failed"]
    assert capture.flush(request).n_accepted == 1
    assert caplog.messages == ["a source of events failed; the others of its request are kept"]
    assert caplog.records[0].exc_info is not None
    assert capture.counts["failed"] == n_failed + 1


def test_page_with_a_list_is_kept_out_of_caches() -> None:
    request = request_with()
    request._cache_update_cache = True
    capture.record_impression(request, ranking_of("a"))
    assert request._cache_update_cache is False
