"""The demo's child processes: started with a log each, watched, and stopped together whatever happens."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

GRACE_SECONDS = 10.0
"""Processes that are still running this long after SIGTERM get SIGKILL."""

LOOK_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Child:
    """One running process, the leader of a group of its own, and where its output goes."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def progress(self) -> tuple[int, int]:
        """The size of its log and the CPU seconds of its group; both grow while it works."""
        return self.log.stat().st_size, _computed_seconds(self.process.pid)

    def last_line(self) -> str:
        """The last line of its log, at most 300 characters."""
        return " ".join(self.log.read_text(errors="replace").strip().splitlines()[-1:])[:300]


class Children:
    """Processes that live as long as the `with` block. Ctrl-C reaches only the parent, which stops their groups."""

    def __init__(self, log_folder: Path, *, grace_seconds: float = GRACE_SECONDS) -> None:
        self.log_folder = log_folder
        self.grace_seconds = grace_seconds
        self.children: list[Child] = []

    def __enter__(self) -> Children:
        self.log_folder.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self, name: str, command: Sequence[str], *, environment: Mapping[str, str] | None = None) -> Child:
        """Start a process in a group of its own; its output goes to `<name>.log`, which is overwritten."""
        log = self.log_folder / f"{name}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(  # noqa: S603 - commands of this demo
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )
        child = Child(name, process, log)
        self.children.append(child)
        return child

    def ended(self) -> list[Child]:
        """Return the children that have ended by themselves."""
        return [child for child in self.children if child.process.poll() is not None]

    def stop(self) -> None:
        """End every group: ask, wait, then force; a second Ctrl-C forces at once."""
        for child in self.children:
            _signal(child, signal.SIGTERM)
        with contextlib.suppress(KeyboardInterrupt):
            self._wait()
        for child in self.children:
            _signal(child, signal.SIGKILL)
            child.process.wait()
        self.children.clear()

    def _wait(self) -> None:
        deadline = time.monotonic() + self.grace_seconds
        while time.monotonic() < deadline and any(child.process.poll() is None for child in self.children):
            time.sleep(LOOK_SECONDS)


def _computed_seconds(group: int) -> int:
    """CPU time of the processes of a group; 0 if the system has no /proc. Source: proc(5), fields 5, 14, 15."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):  # a process may end while it is read
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[2]) == group:
                ticks += int(fields[11]) + int(fields[12])
    return ticks // os.sysconf("SC_CLK_TCK")


def _signal(child: Child, number: signal.Signals) -> None:
    try:
        os.killpg(child.process.pid, number)
    except ProcessLookupError:  # the whole group has ended
        return
