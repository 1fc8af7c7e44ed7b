"""The benchmark of load serves a shop of its own, drives it, and says what it measured."""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from benchmarks.load_clients import WEIGHTS, Answers, Clients, Shopper, Traffic
from benchmarks.web import ROOT


async def _served(answer: bytes, work: Any) -> Any:
    """What the work gives while a server answers each request with these bytes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = next(line for line in head.split(b"\r\n") if line.startswith(b"Content-Length"))
                await reader.readexactly(int(length.split()[1]))
                writer.write(answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        outcome = await work(server.sockets[0].getsockname()[1])
        await asyncio.sleep(0.1)  # the server sees that its clients have gone
    return outcome


def served(answer: bytes, work: Any) -> Any:
    return asyncio.run(_served(answer, work))


VISITOR = b'HTTP/1.1 201 Created\r\nContent-Length: 13\r\nSet-Cookie: a=b; Path=/\r\n\r\n{"token":"t"}'


def test_answers_in_chunks_are_read_to_their_end_and_cookies_are_kept() -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nSet-Cookie: a=b; Path=/\r\n\r\n"
    answer = head + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"

    async def work(port: int) -> Any:
        shopper = Shopper("127.0.0.1", port)
        answers = [await shopper.ask("/"), await shopper.ask("/again/")]
        shopper.close()
        return answers, shopper.cookies["a"]

    assert served(answer, work) == ([(200, b"abcde")] * 2, "b")


def test_a_steady_rate_is_kept_by_few_clients() -> None:
    async def work(port: int) -> Answers:
        clients = Clients("127.0.0.1", port, lambda: ("page", "/", None), n_clients=3, per_second=40)
        answers = await clients.drive(1.0)
        clients.close()
        return answers

    answers = served(VISITOR, work)
    assert (len(answers.all_milliseconds), answers.n_failed) == (40, 0)
    assert answers.percentile(0.5) <= answers.percentile(0.99)


def test_errors_and_lost_connections_are_failures() -> None:
    async def work(port: int) -> Answers:
        clients = Clients("127.0.0.1", port, lambda: ("page", "/", None), 1, 20, [Shopper("127.0.0.1", port)])
        answers = await clients.drive(0.3)
        clients.close()
        return answers

    broken = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"
    assert served(broken, work).failures == {"page: 500": 6}
    assert set(asyncio.run(work(1)).failures) == {"page: ConnectionRefusedError"}


def test_traffic_has_every_kind() -> None:
    traffic = Traffic(["a", "b"], ["red", "blue", "mug"], random.Random(0))
    drawn = [traffic.draw() for _ in range(400)]
    assert Counter(kind for kind, _path, _body in drawn).keys() == WEIGHTS.keys()
    assert all((body is not None) == (kind == "events") for kind, _path, body in drawn)


@pytest.mark.broker
def test_small_shop_is_served_and_driven(tmp_path: Path) -> None:
    """With gunicorn on SQLite: what a busy machine measures is not judged, that it measures is."""
    options = ["--seconds", "3", "--rate", "5", "--clients", "2", "--step-seconds", "1", "--items", "120"]
    report = tmp_path / "report.json"
    ended = subprocess.run(
        [sys.executable, "-m", "benchmarks.load", *options, "--json", report],
        cwd=ROOT,
        env=os.environ | {"DATABASE_URL": "", "REDIS_URL": "", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    figures = json.loads(report.read_text())
    assert figures["mixed"]["n_failed"] == 0, ended.stdout
    assert figures["mixed"]["per_second"] > 1
    assert figures["ratio_to_floor"] > 0
    assert figures["steps"][0]["n_clients"] == 1
    assert sum(figures["rungs"].values()) > 0
    assert "rungs: " in ended.stdout
