"""Log lines can be read by machines and found by request, and an outage writes one traceback a minute."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from django.http import HttpResponse
from django.test import AsyncClient, Client
from django.urls import path

from recommender import capture, logs

logger = logging.getLogger("recommender.tests.logs")


def shown_page(request: Any) -> HttpResponse:
    """A page that logs, and whose events fail once it has been sent."""
    logger.warning("a page was shown")
    capture.record_later(request, _broken_source)
    return HttpResponse(logs.request_id())


def _broken_source(shopper: Any) -> Iterator[Any]:
    raise RuntimeError("no events")


urlpatterns = [path("shown/", shown_page)]


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """What a handler with our formatter and our filter writes of the logger `recommender`."""
    logs.current_headers.set(None)
    output = io.StringIO()
    handler = logging.StreamHandler(output)
    handler.setFormatter(logs.JSONFormatter())
    handler.addFilter(logs.OneTraceback())
    ours = logging.getLogger("recommender")
    ours.addHandler(handler)
    yield output
    ours.removeHandler(handler)


@pytest.fixture
def clock(monkeypatch: Any) -> list[float]:
    seconds = [0.0]
    monkeypatch.setattr(logs.time, "monotonic", lambda: seconds[0])
    return seconds


def written(lines: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines.getvalue().splitlines()]


def fail(message: str = "run %s failed", error: type[Exception] = ValueError, number: int = 1) -> None:
    try:
        raise error(f"reason {number}")
    except error:
        logger.exception(message, number)


def test_record_is_one_line_of_json(lines: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger("recommender"), "propagate", False)  # no report can hold such a character
    fail("run %s failed:\nbadly \udcff")
    (line,) = written(lines)
    assert (line["level"], line["logger"]) == ("ERROR", "recommender.tests.logs")
    assert line["message"].startswith("run 1 failed:\nbadly")
    assert "ValueError: reason 1" in line["exception"]
    assert line["time"].endswith("+00:00")
    assert {"request_id", "left_out"}.isdisjoint(line)


def test_outage_writes_one_traceback_a_minute_and_counts_the_others(lines: io.StringIO, clock: list[float]) -> None:
    for number in range(870):
        fail(number=number)
    assert len(written(lines)) == 1
    clock[0] = logs.FLOOD_SECONDS
    fail(number=870)
    assert [line.get("left_out") for line in written(lines)] == [None, 869]


def test_other_messages_and_other_errors_are_written(lines: io.StringIO, clock: list[float]) -> None:
    fail()
    fail("another message of %s")
    fail(error=KeyError)
    try:
        raise ValueError("at another line")
    except ValueError:
        logger.exception("run %s failed", 1)
    logger.warning("without a traceback")
    logger.warning("without a traceback")
    assert len(written(lines)) == 6


def test_texts_that_are_never_the_same_need_no_more_memory(lines: io.StringIO, clock: list[float]) -> None:
    flood = logs.OneTraceback()
    for number in range(logs.MOST_MESSAGES + 5):
        error = ValueError()
        record = logging.LogRecord("x", logging.ERROR, "", 0, f"{number}", (), (ValueError, error, None))
        assert flood.filter(record)
    assert len(flood._passed) <= logs.MOST_MESSAGES


@pytest.mark.django_db
@pytest.mark.urls("tests.test_logs")
def test_lines_of_a_request_have_its_id_also_after_the_response(lines: io.StringIO) -> None:
    assert Client().get("/shown/", headers={"X-Request-ID": "from-the-proxy"}).content == b"from-the-proxy"
    ids = [(line["message"].partition(" ")[0], line["request_id"]) for line in written(lines)]
    assert ids == [("a", "from-the-proxy"), ("a", "from-the-proxy")]
    assert "a source of events failed" in written(lines)[1]["message"]


@pytest.mark.django_db
@pytest.mark.urls("tests.test_logs")
@pytest.mark.parametrize("sent", ["", "two words", "x" * 200])
def test_request_without_a_sound_id_gets_one(lines: io.StringIO, sent: str) -> None:
    shown = Client().get("/shown/", headers={"X-Request-ID": sent} if sent else {}).content.decode()
    assert len(shown) == 32
    assert {line["request_id"] for line in written(lines)} == {shown}
    assert Client().get("/shown/").content.decode() != shown


@pytest.mark.django_db(transaction=True)
@pytest.mark.urls("tests.test_logs")
def test_requests_that_are_answered_asynchronously_have_their_own(lines: io.StringIO) -> None:
    async def both() -> list[Any]:
        return await asyncio.gather(
            *(AsyncClient().get("/shown/", headers={"X-Request-ID": name}) for name in ("one", "two"))
        )

    assert {response.content for response in asyncio.run(both())} == {b"one", b"two"}
    shown = [line["request_id"] for line in written(lines) if line["message"] == "a page was shown"]
    assert sorted(shown) == ["one", "two"]
