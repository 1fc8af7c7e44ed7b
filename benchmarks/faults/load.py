"""Clients of the shop that work in threads: those that post events note what was acknowledged, readers how long they
waited."""

from __future__ import annotations

import http.client
import json
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

API = "/recommender/api/v1"
TIMEOUT_SECONDS = 30.0
PAUSE_SECONDS = 0.05
PARTING_SECONDS = 20.0
"""How long a client goes on repeating its last batch once the load is to end."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A status, 0 where no answer came; a body of JSON, else empty; and when the request was sent."""

    status: int
    body: dict[str, Any]
    sent_at: float
    seconds: float


def call(
    address: str,
    path: str,
    *,
    body: Any = None,
    token: str = "",
    method: str = "",
    timeout: float = TIMEOUT_SECONDS,
) -> Answer:
    """Send one request, by a connection of its own; whatever happens to it is an answer."""
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Visitor {token}"} if token else {})
    content = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(  # noqa: S310  a loopback address made here
        f"{address}{path}", data=content, headers=headers, method=method or ("GET" if content is None else "POST")
    )
    started = time.monotonic()
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:  # noqa: S310
            status, raw = answer.status, answer.read()
    except urllib.error.HTTPError as error:
        status, raw = error.code, error.read()
    except (OSError, http.client.HTTPException):
        status, raw = 0, b""
    return Answer(status, _json(raw), started, time.monotonic() - started)


def _json(raw: bytes) -> dict[str, Any]:
    try:
        content = json.loads(raw)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def new_visitor(address: str) -> str:
    """The token of a new visitor who consents. Raises RuntimeError where the shop gives none."""
    answer = call(address, f"{API}/visitors", body={"consent": True})
    if answer.status != 201:
        raise RuntimeError(f"POST visitors was answered with {answer.status}: {answer.body}")
    return str(answer.body["token"])


@dataclass(slots=True)
class Ledger:
    """What clients sent, and what the answers said of it.

    balance: events of answered batches that no answer accounts for, less those that were counted twice.
    """

    acknowledged: set[str] = field(default_factory=set)
    dropped: set[str] = field(default_factory=set)
    n_sent: int = 0
    balance: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    answered: list[Answer] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def enter(self, batch: Sequence[Mapping[str, Any]], answer: Answer) -> bool:
        """Note an answer to a batch; return whether it was acknowledged."""
        with self.lock:
            self.statuses[answer.status] += 1
            self.answered.append(answer)
            if answer.status != 202:
                return False
            receipt, rejected = answer.body, {one["index"] for one in answer.body["rejected"]}
            self.n_sent += len(batch)
            self.balance += len(batch) - receipt["accepted"] - receipt["duplicate"] - len(rejected) - receipt["dropped"]
            ids = {event["message_id"] for index, event in enumerate(batch) if index not in rejected}
            (self.dropped if receipt["dropped"] else self.acknowledged).update(ids)
            return True

    def longest_wait(self) -> float:
        """Seconds of the slowest answer."""
        return max((answer.seconds for answer in self.answered), default=0.0)

    def n_failed(self, *, allowed: Iterable[int] = (200, 202)) -> int:
        """How many answers had another status."""
        return sum(n for status, n in self.statuses.items() if status not in set(allowed))


class Clients:
    """Threads that do the same work again and again until the block ends."""

    def __init__(self, n_clients: int) -> None:
        self.stopping = threading.Event()
        self.threads = [
            threading.Thread(target=self._repeat, args=(number,), daemon=True) for number in range(n_clients)
        ]

    def work(self, number: int) -> None:
        raise NotImplementedError

    def _repeat(self, number: int) -> None:
        while not self.stopping.is_set():
            self.work(number)

    def __enter__(self) -> Any:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stopping.set()
        for thread in self.threads:
            thread.join(timeout=PARTING_SECONDS + TIMEOUT_SECONDS)


class Load(Clients):
    """Visitors of an app: each posts batches of events, and repeats a batch until it is acknowledged."""

    def __init__(self, address: str, *, n_clients: int = 4, batch_size: int = 5) -> None:
        super().__init__(n_clients)
        self.address, self.batch_size, self.prefix = address, batch_size, f"load-{uuid.uuid4().hex[:12]}-"
        self.tokens = [new_visitor(address) for _ in range(n_clients)]
        self.ledger = Ledger()

    def work(self, number: int) -> None:
        batch = [event_of(f"{self.prefix}{uuid.uuid4().hex}") for _ in range(self.batch_size)]
        deadline = 0.0
        while not self.ledger.enter(batch, self.post(number, batch)):
            if self.stopping.is_set():
                deadline = deadline or time.monotonic() + PARTING_SECONDS
                if time.monotonic() > deadline:
                    return
            time.sleep(PAUSE_SECONDS)

    def post(self, number: int, batch: Sequence[Mapping[str, Any]]) -> Answer:
        return call(self.address, f"{API}/events", body=batch, token=self.tokens[number])

    def recovered_in(self, *, since: float, seconds: float = 60.0) -> float:
        """Wait for the first acknowledgement of what was sent after a moment; return the seconds from that moment.
        Raises TimeoutError."""
        while time.monotonic() - since < seconds:
            with self.ledger.lock:
                later = [one for one in self.ledger.answered[-200:] if one.status == 202 and one.sent_at >= since]
            if later:
                return min(one.sent_at + one.seconds for one in later) - since
            time.sleep(PAUSE_SECONDS / 5)
        raise TimeoutError(f"nothing was acknowledged within {seconds:.0f} s")


class Readers(Clients):
    """Shoppers who open pages and send searches, as nobody or by one token; `look` gets the answers to the latter."""

    PATHS = ("/", "/search/?q=heart", f"{API}/search?q=heart", f"{API}/recommendations/home")

    def __init__(
        self,
        address: str,
        *,
        n_clients: int = 2,
        paths: Sequence[str] = PATHS,
        token: str = "",
        look: Callable[[str, Answer], None] = lambda path, answer: None,
    ) -> None:
        super().__init__(n_clients)
        self.address, self.paths, self.token, self.look = address, paths, token, look
        self.ledger = Ledger()

    def work(self, number: int) -> None:
        for path in self.paths:
            answer = call(self.address, path, token=self.token)
            with self.ledger.lock:
                self.ledger.statuses[answer.status] += 1
                self.ledger.answered.append(answer)
            self.look(path, answer)
        time.sleep(PAUSE_SECONDS)


def event_of(message_id: str, **values: Any) -> dict[str, Any]:
    """The view of an item."""
    return {"message_id": message_id, "type": "view_item", "item_id": "85123A", **values}
