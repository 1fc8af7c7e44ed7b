"""Clients of `benchmarks.load`: coroutines that hold a connection each and ask one address of this host."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import random
import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

API = "/recommender/api/v1"
TIMEOUT_SECONDS = 30.0
AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101"


@dataclass(slots=True)
class Answers:
    """Of one phase: milliseconds and statuses by kind of request, and the rungs that the API named."""

    milliseconds: dict[str, list[float]] = field(default_factory=dict)
    failures: Counter[str] = field(default_factory=Counter)
    rungs: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    @property
    def all_milliseconds(self) -> list[float]:
        return sorted(value for values in self.milliseconds.values() for value in values)

    @property
    def per_second(self) -> float:
        return len(self.all_milliseconds) / max(self.seconds, 1e-9)

    @property
    def n_failed(self) -> int:
        return self.failures.total()

    def percentile(self, share: float, kind: str = "") -> float:
        """Milliseconds within which a share of the requests was answered; infinite without any."""
        ordered = sorted(self.milliseconds.get(kind, ())) if kind else self.all_milliseconds
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else math.inf


@dataclass(slots=True)
class Shopper:
    """A connection with cookies and a token of the API."""

    host: str
    port: int
    cookies: dict[str, str] = field(default_factory=lambda: {"recommender_consent": "granted"})
    token: str = ""
    reader: asyncio.StreamReader | None = None
    writer: asyncio.StreamWriter | None = None

    async def ask(self, path: str, body: Any = None) -> tuple[int, bytes]:
        """The status and the body of an answer. Once more on a new connection where the server closed an idle one."""
        is_fresh = self.writer is None
        try:
            return await asyncio.wait_for(self._ask(path, body), TIMEOUT_SECONDS)
        except (ConnectionError, asyncio.IncompleteReadError):
            self.close()
            if is_fresh:
                raise
            return await asyncio.wait_for(self._ask(path, body), TIMEOUT_SECONDS)

    async def _ask(self, path: str, body: Any) -> tuple[int, bytes]:
        if self.reader is None or self.writer is None:
            self.reader, self.writer = await asyncio.open_connection(self.host, self.port)
        content = b"" if body is None else json.dumps(body).encode()
        lines = [
            f"{'GET' if body is None else 'POST'} {path} HTTP/1.1",
            f"Host: {self.host}:{self.port}",
            f"User-Agent: {AGENT}",
            "Cookie: " + "; ".join(f"{name}={value}" for name, value in self.cookies.items()),
            f"Content-Length: {len(content)}",
        ]
        if path.startswith(API):
            lines += ["Content-Type: application/json", *([f"Authorization: Visitor {self.token}"] * bool(self.token))]
        self.writer.write("\r\n".join([*lines, "", ""]).encode() + content)
        return await self._answer(self.reader)

    async def _answer(self, reader: asyncio.StreamReader) -> tuple[int, bytes]:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = [line.partition(":") for line in head[1:] if line]
        values = {name.lower(): value.strip() for name, _, value in headers}
        for name, _, value in headers:
            if name.lower() == "set-cookie":
                cookie, _, text = value.strip().partition(";")[0].partition("=")
                self.cookies[cookie] = text
        if values.get("transfer-encoding") == "chunked":
            content = await _chunks(reader)
        else:
            content = await reader.readexactly(int(values.get("content-length", 0)))
        if values.get("connection", "").lower() == "close":
            self.close()
        return int(head[0].split()[1]), content

    def close(self) -> None:
        if self.writer is not None:
            with contextlib.suppress(ConnectionError):
                self.writer.close()
        self.reader = self.writer = None


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    content = b""
    while size := int((await reader.readline()).split(b";")[0], 16):
        content += await reader.readexactly(size)
        await reader.readline()
    await reader.readline()
    return content


@dataclass(frozen=True, slots=True)
class Traffic:
    """What shoppers ask: pages, searches, lists and events, drawn by how often they come."""

    item_ids: Sequence[str]
    words: Sequence[str]
    chance: random.Random

    def draw(self) -> tuple[str, str, Any]:
        """A kind, a path and a body."""
        kind = self.chance.choices(list(WEIGHTS), weights=list(WEIGHTS.values()))[0]
        return kind, *PATHS[kind](self)

    def query(self) -> str:
        return "+".join(self.chance.sample(self.words, k=self.chance.choice((1, 1, 2, 3))))

    def item(self) -> str:
        return self.chance.choice(self.item_ids)

    def events(self) -> list[dict[str, str]]:
        n = self.chance.randint(1, 8)
        return [
            {"message_id": f"load-{uuid.uuid4().hex}", "type": "view_item", "item_id": self.item()} for _ in range(n)
        ]


WEIGHTS = {"home": 10, "item": 30, "search page": 15, "search": 15, "list": 10, "events": 20}
PATHS: dict[str, Callable[[Traffic], tuple[str, Any]]] = {
    "home": lambda traffic: ("/", None),
    "item": lambda traffic: (f"/item/{traffic.item()}/", None),
    "search page": lambda traffic: (f"/search/?q={traffic.query()}", None),
    "search": lambda traffic: (f"{API}/search?q={traffic.query()}", None),
    "list": lambda traffic: (f"{API}/recommendations/{traffic.chance.choice(('home', 'trending'))}", None),
    "events": lambda traffic: (f"{API}/events", traffic.events()),
}


@dataclass(slots=True)
class Clients:
    """A bounded number of shoppers. per_second: requests begin at that pace, whether answers come or not, and wait for
    a free shopper; 0: each shopper asks again as soon as it was answered."""

    host: str
    port: int
    draw: Callable[[], tuple[str, str, Any]]
    n_clients: int
    per_second: float = 0.0
    shoppers: list[Shopper] = field(default_factory=list)

    async def drive(self, seconds: float) -> Answers:
        """Ask for so long. A request's time begins when it was due, also where no shopper was free."""
        answers, started = Answers(), time.monotonic()
        while len(self.shoppers) < self.n_clients:
            self.shoppers.append(await _consenting(self.host, self.port))
        started = time.monotonic()
        starts = iter(_starts(started, seconds, self.per_second))
        await asyncio.gather(*(self._shop(shopper, starts, answers, started + seconds) for shopper in self.shoppers))
        answers.seconds = time.monotonic() - started
        return answers

    async def _shop(self, shopper: Shopper, starts: Any, answers: Answers, until: float) -> None:
        while (due := next(starts, math.inf)) < until and time.monotonic() < until + TIMEOUT_SECONDS:
            if not self.per_second:
                due = time.monotonic()
                if due >= until:
                    return
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            await _enter(shopper, *self.draw(), due=due, answers=answers)

    def close(self) -> None:
        for shopper in self.shoppers:
            shopper.close()


def _starts(started: float, seconds: float, per_second: float) -> Any:
    if not per_second:
        while True:
            yield started
    for number in range(int(seconds * per_second)):
        yield started + number / per_second


async def _consenting(host: str, port: int) -> Shopper:
    shopper = Shopper(host, port)
    status, content = await shopper.ask(f"{API}/visitors", {"consent": True})
    if status != 201:
        raise RuntimeError(f"POST visitors was answered with {status}: {content[:200]!r}")
    shopper.token = json.loads(content)["token"]
    return shopper


async def _enter(shopper: Shopper, kind: str, path: str, body: Any, *, due: float, answers: Answers) -> None:
    try:
        status, content = await shopper.ask(path, body)
    except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
        shopper.close()
        answers.failures[f"{kind}: {type(error).__name__}"] += 1
        return
    if status >= 400:
        answers.failures[f"{kind}: {status}"] += 1
        return
    answers.milliseconds.setdefault(kind, []).append((time.monotonic() - due) * 1e3)
    if kind in ("search", "list"):
        answers.rungs[json.loads(content)["rung"]] += 1
