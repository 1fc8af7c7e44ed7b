"""Faults of clients: wrong clocks, odd dates, bodies that never end, lost answers, a person who is erased meanwhile."""

from __future__ import annotations

import datetime as dt
import json
import random
import socket
import time
import uuid
from calendar import isleap
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from benchmarks.faults.bench import Bench, summary
from benchmarks.faults.load import API, Answer, Ledger, Load, Readers, call, event_of, new_visitor
from benchmarks.faults.registry import Outcome, fault
from benchmarks.faults.servers import Web

N_SOCKETS = 500
LONGEST_ANSWER_SECONDS = 5.0
CLOCK_TOLERANCE = dt.timedelta(seconds=20)
ZONES = ("Europe/London", "Pacific/Kiritimati", "Pacific/Pago_Pago")


@fault(12, "clocks of clients are 10 years behind to 10 ahead")
def wrong_clocks(bench: Bench) -> Outcome:
    """Each event is stored at a time of this clock, or refused with a reason."""
    token, prefix = new_visitor(bench.web.address), f"clock-{uuid.uuid4().hex[:8]}-"
    sent: dict[str, bool] = {}
    ledger, unexplained = Ledger(), []
    for days in (-3652, -1000, -731, -729, -365, -30, -1, -0.1, 0, 0.1, 0.9, 1.1, 30, 365, 729, 731, 1000, 3652):
        for says_when in (True, False):
            shown = dt.datetime.now(dt.UTC) + dt.timedelta(days=days)
            batch = [event_of(f"{prefix}{days}{says_when}", occurred_at=(shown - dt.timedelta(seconds=9)).isoformat())]
            body = {"events": batch} | ({"sent_at": shown.isoformat()} if says_when else {})
            answer = call(bench.web.address, f"{API}/events", body=body, token=token)
            if ledger.enter(batch, answer):
                unexplained += [one for one in answer.body["rejected"] if not one["message"]]
                sent[batch[0]["message_id"]] = says_when
            elif answer.status != 400 or not answer.body.get("detail"):
                unexplained.append(answer)
    moments = _moments(bench, prefix)
    now = dt.datetime.now(dt.UTC)
    wrong = [one for one, at in moments.items() if sent.get(one) and not now - CLOCK_TOLERANCE - _minute() < at <= now]
    wrong += [one for one, at in moments.items() if not now - dt.timedelta(days=731) < at <= now]
    n_missing = len(ledger.acknowledged - set(moments))
    bench.n_missing += n_missing
    bench.balance += ledger.balance
    n_refused = 36 - len(moments)
    figure = f"{len(moments)} stored, {n_refused} refused, {len(wrong)} at a wrong time, {len(unexplained)} unexplained"
    return Outcome(not wrong and not unexplained and not n_missing, figure, ledger.longest_wait())


def _minute() -> dt.timedelta:
    return dt.timedelta(minutes=1)


def _moments(bench: Bench, prefix: str) -> dict[str, dt.datetime]:
    """When each stored event of a prefix happened, by its id as it was sent."""
    from recommender.models import Event
    from recommender.models.claims import message_id_as_sent

    rows = Event.objects.filter(message_id__contains=prefix).values_list("message_id", "occurred_at")
    return {message_id_as_sent(message_id): at for message_id, at in rows}


@fault(18, "time zones, 29 February and the year's end")
def odd_dates(bench: Bench) -> Outcome:
    """Each time is stored as the moment that it names, in shops of three time zones, or refused; then the statistics
    are computed at such moments."""
    n_stored, wrong = 0, []
    for zone in ZONES:
        with bench.serving(("--workers", "1"), FAULTS_TIME_ZONE=zone) as web:
            stored, others = _dates_in(bench, web)
            n_stored += stored
            wrong += others
    n_failed = _computed_at_odd_moments()
    figure = f"{n_stored} stored at their moments, {len(wrong)} wrong{wrong[:2] or ''}; {n_failed} computations failed"
    return Outcome(not wrong and not n_failed, figure)


def _dates_in(bench: Bench, web: Web) -> tuple[int, list[str]]:
    """How many dates were stored as the moment that they name; those that were not, and were not refused either."""
    token, prefix, now = new_visitor(web.address), f"date-{uuid.uuid4().hex[:8]}-", dt.datetime.now(dt.UTC)
    dates = list(_dates(now.year))
    batch = [event_of(f"{prefix}{number}", occurred_at=text) for number, (text, _) in enumerate(dates)]
    answer = call(web.address, f"{API}/events", body=batch, token=token)
    if answer.status != 202:
        return 0, [f"status {answer.status}"]
    refused = {one["index"] for one in answer.body["rejected"] if one["message"]}
    moments = _moments(bench, prefix)
    right, wrong = 0, []
    for number, (text, moment) in enumerate(dates):
        is_storable = moment is not None and now - dt.timedelta(days=730) < moment < now
        stored = moments.get(f"{prefix}{number}")
        right += is_storable and stored == moment
        if (is_storable and stored != moment) or (not is_storable and number not in refused):
            wrong.append(text)
    return right, wrong


def _dates(year: int) -> Iterator[tuple[str, dt.datetime | None]]:
    """Times of this year and the last ones as clients write them, and the moments that they name."""
    leap = next(one for one in range(year, 0, -1) if isleap(one))
    texts = [
        f"{year - 1}-12-31T23:59:59.999999-12:00", f"{year}-01-01T00:00:00+14:00", f"{year - 1}-12-31T23:59:59Z",
        f"{year}-03-01T00:30:00+05:45", f"{leap}-02-29T23:59:59+14:00", f"{year - 1}-03-30T01:30:00+00:00",
    ]  # fmt: skip
    for text in texts:
        yield text, dt.datetime.fromisoformat(text)
    common = next(one for one in range(year, 0, -1) if not isleap(one))
    for text in (f"{common}-02-29T12:00:00Z", f"{common}-06-30T23:59:61Z", "0001-01-01T00:00:00+14:00",
                 "9999-12-31T23:59:59-12:00", f"{common}-13-01T00:00:00Z", "yesterday"):  # fmt: skip
        yield text, None


def _computed_at_odd_moments() -> int:
    """How often the statistics could not be computed on 29 February and at the year's end; then as of now again."""
    from unittest import mock

    from recommender.datasets import statistics

    moments = [
        dt.datetime(2028, 2, 29, 23, 59, 59, tzinfo=dt.UTC),
        dt.datetime(2027, 12, 31, 23, 59, 59, tzinfo=dt.UTC),
    ]
    n_failed = 0
    for moment in moments:
        with mock.patch("django.utils.timezone.now", lambda moment=moment: moment):
            try:
                statistics.refresh_statistics()
            except Exception:  # the edge: that it fails is the figure
                n_failed += 1
    statistics.refresh_statistics()
    return n_failed


@fault(14, "500 sockets send their bodies slowly")
def slow_bodies(bench: Bench) -> Outcome:
    """gunicorn as documented for clients that it must not trust, without a proxy before it: its worker for ASGI."""
    options = ("--workers", "2", "--worker-class", "asgi")
    with bench.serving(options, application="shopreco.asgi:application") as web:
        with Readers(web.address) as before:
            bench.rest(2)
        with _slow_sockets(web.port, N_SOCKETS) as sockets, Readers(web.address) as readers, Load(web.address) as load:
            for _ in range(8 if bench.is_quick else 20):
                time.sleep(1)
                _trickle(sockets)
    n_missing, n_twice = bench.settle(load)
    n_failed = readers.ledger.n_failed() + load.ledger.n_failed()
    seconds = max(readers.ledger.longest_wait(), load.ledger.longest_wait())
    passed = not n_failed and not n_missing and not n_twice and seconds < LONGEST_ANSWER_SECONDS
    usual = before.ledger.longest_wait()
    figure = f"{len(sockets)} sockets, {n_failed} other answers failed, the longest {usual:.1f} s without them"
    return Outcome(passed, f"{figure}; {summary(load.ledger, n_missing, n_twice)}", seconds)


@contextmanager
def _slow_sockets(port: int, n_sockets: int) -> Iterator[list[socket.socket]]:
    """Connections that have sent their headers and announced a body."""
    head = (
        f"POST {API}/events HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        "Content-Length: 1000\r\n\r\n["
    )
    with ExitStack() as stack:
        sockets = []
        for _ in range(n_sockets):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=5))
            connection.sendall(head.encode())
            sockets.append(connection)
        yield sockets


def _trickle(sockets: Sequence[socket.socket]) -> None:
    """One byte more on each connection that is still open."""
    for connection in sockets:
        try:
            connection.sendall(b" ")
        except OSError:  # the server has given it up, which it may
            continue


@fault(19, "a person is erased while their events come in")
def erased_meanwhile(bench: Bench) -> Outcome:
    n_people, left, unexpected, ledger = 5 if bench.is_quick else 25, 0, Counter[int](), Ledger()
    for _ in range(n_people):
        with _OnePerson(bench.web.address) as person:
            time.sleep(0.7)
            erased = call(bench.web.address, f"{API}/me", token=person.tokens[0], method="DELETE")
            unexpected[erased.status] += erased.status != 204
            time.sleep(0.5)
        left += len(bench.stored_ids(person.prefix))
        for status, n in person.ledger.statuses.items():
            unexpected[status] += n if status not in (202, 401) else 0
        ledger.n_sent += person.ledger.n_sent
        ledger.balance += person.ledger.balance
    bench.balance += ledger.balance
    failures = {status: n for status, n in unexpected.items() if n}
    figure = f"{n_people} people, {ledger.n_sent:,} events; {left} left of them, failed answers {failures or 0}"
    return Outcome(not left and not failures and not ledger.balance, figure)


class _OnePerson(Load):
    """Several devices of one visitor, none of which repeats what is not acknowledged."""

    def __init__(self, address: str) -> None:
        super().__init__(address)
        self.tokens = self.tokens[:1] * len(self.tokens)

    def work(self, number: int) -> None:
        batch = [event_of(f"{self.prefix}{uuid.uuid4().hex}") for _ in range(self.batch_size)]
        self.ledger.enter(batch, self.post(number, batch))


@fault(20, "answers are lost, and clients repeat their batches")
def lost_answers(bench: Bench) -> Outcome:
    with _Forgetful(bench.web.address) as load:
        bench.rest(6)
    n_missing, n_twice = bench.settle(load)
    n_known = sum(answer.body.get("duplicate", 0) for answer in load.ledger.answered)
    passed = not n_missing and not n_twice and n_known > 0
    return Outcome(passed, f"{summary(load.ledger, n_missing, n_twice)}, {n_known:,} had been stored before")


class _Forgetful(Load):
    """Clients that hang up before the answer, and then send the same batch again."""

    def post(self, number: int, batch: Sequence[Any]) -> Answer:
        content = json.dumps(batch).encode()
        head = (
            f"POST {API}/events HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nConnection: close\r\n"
            f"Authorization: Visitor {self.tokens[number]}\r\nContent-Length: {len(content)}\r\n\r\n"
        )
        port = int(self.address.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(head.encode() + content)
            time.sleep(random.uniform(0, 0.05))
        return super().post(number, batch)
