"""A web process of the demo, as production runs it: one gunicorn worker on a free port."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def gunicorn() -> Iterator[tuple[str, int]]:
    """Serve until the block ends; gives the address and the process id of the worker."""
    address = f"127.0.0.1:{free_port()}"
    command = [sys.executable, "-m", "gunicorn", "shopreco.wsgi:application", "--bind", address, "--log-level", "error"]
    server = subprocess.Popen(command, cwd=ROOT)
    try:
        wait_until_served(f"http://{address}/", seconds=60)
        yield f"http://{address}", _child_of(server.pid)
    finally:
        server.terminate()
        server.wait(timeout=20)


def wait_until_served(url: str, *, seconds: float) -> float:
    """Seconds until the page answers 200. Raises `TimeoutError`."""
    started = time.perf_counter()
    while time.perf_counter() - started < seconds:
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310  a loopback address made here
                if answer.status == 200:
                    return time.perf_counter() - started
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.2)
    raise TimeoutError(f"{url} did not answer within {seconds:.0f} s")


def resident_megabytes(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"process {pid} shows no resident memory")


def _child_of(pid: int) -> int:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(children[0])
