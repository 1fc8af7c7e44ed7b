"""PostgreSQL, Redis, gunicorn and Celery of the benchmark's own, which a fault may stop, kill and start again."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from benchmarks.web import ROOT, free_port, wait_until_served
from shopreco.shop.processes import Child, Children

POSTGRES_BINARIES = Path("/usr/lib/postgresql")
START_SECONDS = 60.0
LOOK_SECONDS = 0.05


def wait_for(is_true: Callable[[], object], *, what: str, seconds: float = START_SECONDS) -> float:
    """Seconds until it is true. Raises TimeoutError that names what was waited for."""
    started = time.monotonic()
    while not is_true():
        if time.monotonic() - started > seconds:
            raise TimeoutError(f"waited {seconds:.0f} s for {what}")
        time.sleep(LOOK_SECONDS)
    return time.monotonic() - started


def listens(port: int) -> bool:
    """Whether something accepts connections on a port of this host."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def children_of(pid: int) -> list[int]:
    """The processes that a process has started and that live."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    """Send a signal; a process that has just ended needs none."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


class Server:
    """A process that can be ended and started again under the same name, on the same port."""

    name = "server"

    def __init__(self, children: Children, folder: Path, environment: Mapping[str, str] | None = None) -> None:
        self.children, self.folder, self.environment = children, folder, dict(environment or {})
        self.port = free_port()
        self.child: Child | None = None
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def pid(self) -> int:
        """Of the leading process. Raises RuntimeError while it is not started."""
        if self.child is None:
            raise RuntimeError(f"{self.name} is not started")
        return self.child.process.pid

    def command(self) -> Sequence[str]:
        raise NotImplementedError

    def is_ready(self) -> bool:
        return listens(self.port)

    def start(self) -> None:
        """Start it and wait until it is ready."""
        self.child = self.children.start(f"{self.name}-{self.port}", self.command(), environment=self.environment)
        wait_for(self.is_ready, what=f"{self.name}, whose log is {self.child.log}")

    def ensure(self) -> None:
        """Start it where it does not run, and let it go on where it was stopped."""
        if self.child is not None and self.child.process.poll() is None:
            kill(self.pid, signal.SIGCONT)
            return
        if self.child is not None:
            self.end()
        self.start()

    def end(self, number: int = signal.SIGTERM) -> None:
        """End it by a signal and wait for its end."""
        if self.child is None:
            return
        kill(self.pid, number)
        self.child.process.wait(timeout=START_SECONDS)
        self.children.children.remove(self.child)
        self.child = None


class Postgres(Server):
    """A cluster of its own; as the user postgres where this process is root, whom PostgreSQL refuses."""

    name = "postgres"

    def __init__(self, children: Children, folder: Path) -> None:
        super().__init__(children, folder)
        self.cluster = folder / "cluster"
        self.binaries = max(POSTGRES_BINARIES.glob("*/bin"), key=lambda path: int(path.parent.name))
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres")
        command = [*self._as_user(), str(self.binaries / "initdb"), "-D", str(self.cluster), "-U", "postgres"]
        subprocess.run([*command, "-A", "trust", "-E", "UTF8"], check=True, capture_output=True, cwd=folder)

    @property
    def url(self) -> str:
        return f"postgres://postgres@127.0.0.1:{self.port}/postgres"

    def command(self) -> Sequence[str]:
        options = [
            "-D",
            self.cluster,
            "-p",
            self.port,
            "-h",
            "127.0.0.1",
            "-k",
            self.folder,
            "-c",
            "max_connections=200",
        ]
        return [*self._as_user(), str(self.binaries / "postgres"), *map(str, options)]

    def is_ready(self) -> bool:
        probe = [str(self.binaries / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(probe, check=False).returncode == 0

    def crash(self) -> None:
        """Kill every process of the cluster at once, as a power cut would."""
        for pid in [self.pid, *children_of(self.pid)]:
            kill(pid)
        self.end(signal.SIGKILL)

    def _as_user(self) -> list[str]:
        return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []


class Redis(Server):
    """The cache and the broker; it keeps nothing over its end."""

    name = "redis"

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def command(self) -> Sequence[str]:
        options = ["--port", self.port, "--bind", "127.0.0.1", "--save", "", "--dir", self.folder]
        return ["redis-server", *map(str, options)]


class Web(Server):
    """gunicorn with the demo."""

    name = "web"

    def __init__(
        self,
        children: Children,
        folder: Path,
        environment: Mapping[str, str],
        *,
        options: Sequence[str] = ("--workers", "2"),
        application: str = "shopreco.wsgi:application",
    ) -> None:
        super().__init__(children, folder, environment)
        self.options, self.application = options, application

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def command(self) -> Sequence[str]:
        bind = ["--bind", f"127.0.0.1:{self.port}", "--log-level", "warning"]
        return [*_without_rights(), sys.executable, "-m", "gunicorn", self.application, *bind, *self.options]

    def start(self) -> None:
        """Start it and wait for its first answer, one that needs no model."""
        super().start()
        wait_until_served(f"{self.address}/recommender/api/v1/suggest?q=a", seconds=START_SECONDS)

    def workers(self) -> list[int]:
        """The processes that answer."""
        return children_of(self.pid)


class Celery(Server):
    """A worker of Celery, or beat."""

    name = "celery"

    def __init__(self, children: Children, folder: Path, environment: Mapping[str, str], *options: str) -> None:
        super().__init__(children, folder, environment)
        self.options = options

    def command(self) -> Sequence[str]:
        return [sys.executable, "-m", "celery", "-A", "shopreco", *self.options, "--loglevel", "INFO"]

    def is_ready(self) -> bool:
        log = self.log()
        return " ready." in log or "beat: Starting" in log

    def log(self) -> str:
        return "" if self.child is None else self.child.log.read_text(errors="replace")


def python(*arguments: str, environment: Mapping[str, str], folder: Path = ROOT) -> str:
    """What Python printed in a process of its own. Raises RuntimeError with its last lines where it failed.

    folder: of the code of the shop.
    """
    ended = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    if ended.returncode:
        raise RuntimeError(f"{' '.join(arguments)[:80]} failed: {ended.stderr[-600:]}")
    return ended.stdout


def _without_rights() -> list[str]:
    """Root without the right to read what the mode of a file forbids, as a web process of production."""
    if os.geteuid() != 0:
        return []
    return ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-dac_override,-dac_read_search"]
