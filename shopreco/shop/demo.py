"""Takes the demo from an empty folder to a running shop; each step is skipped if its result exists."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import signal
import socket
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command

from recommender.jobs import worker
from recommender.models import Bundle, Event, ItemStatistics, Run
from shopreco.shop.models import Department, OrderLine, Product
from shopreco.shop.processes import Child, Children

HOST = "127.0.0.1"
STALL_SECONDS = 120.0
"""A starting process counts as hanging after this long without a new log line or processor time."""

WORD_SECONDS = 15.0
"""How often the demo says what it waits for."""

LOOK_SECONDS = 0.2

LONGER_MINUTES = 12.0
"""Time box of the training behind the served shop: enough to fine-tune BERT on two cores, which takes about seven."""

ADMIN = "admin"

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Step:
    """A part of the demo: its title, whether its result exists, and the function that produces it."""

    title: str
    is_done: Callable[[], bool]
    work: Callable[[], Any]


def prepare(say: Say) -> None:
    """Fill the database where it is empty: shop, events, items, vectors, statistics, departments, administrator."""
    for step in STEPS:
        run_step(step, say)


def run_step(step: Step, say: Say) -> None:
    """Do one step, or say that it is done."""
    if step.is_done():
        say(f"- {step.title}: there already")
        return
    say(f"- {step.title} …")
    started = time.monotonic()
    step.work()
    say(f"  {time.monotonic() - started:.1f} s")


def start_workers(children: Children, say: Say) -> None:
    """Start what does the background work: Celery's processes, or where it is not installed our own worker."""
    if importlib.util.find_spec("celery") is not None:
        _start_celery(children, say)
        return
    child = children.start("worker", [sys.executable, "manage.py", "recommender_worker"])
    _wait_until(lambda: worker.is_alive(worker.TRAINING), child, say)


def _start_celery(children: Children, say: Say) -> None:
    """Start a Celery worker for each queue, and beat; wait for the one that trains."""
    from recommender import tasks
    from shopreco.celery import app

    (Path(settings.VAR_DIR) / "broker" / "control").mkdir(parents=True, exist_ok=True)
    celery = [sys.executable, "-m", "celery", "-A", "shopreco"]
    folder = children.log_folder.parent
    short, training = tasks.queues(app)
    command = [*celery, "worker", "--loglevel", "INFO", "--pool", "solo", "--without-gossip", "--without-mingle"]
    children.start("worker-default", [*command, "--queues", short, "--hostname", "default@%h"])
    trainer = children.start("worker-training", [*command, "--queues", training, "--hostname", "training@%h"])
    children.start(
        "beat", [*celery, "beat", "--loglevel", "INFO", "--schedule", str(folder / "beat-schedule"), "--pidfile", ""]
    )
    _wait_until(lambda: " ready." in trainer.log.read_text(errors="replace"), trainer, say)


def train(say: Say) -> None:
    """Train once; if the training fails, the shop is served with the untrained encoder."""
    if is_trained():
        say("- Training: there already")
        return
    say("- Training …")
    started = time.monotonic()
    try:
        call_command("recommender_train")
    except CommandError as error:
        say(f"  {error}\n  The shop is served without a trained model; the schedule trains again.")
    say(f"  {time.monotonic() - started:.1f} s")


def train_longer(say: Say) -> None:
    """Queue a longer training behind the shop, unless a second one was started before. The gate decides on it."""
    if Run.objects.filter(kind=Run.Kind.TRAINING).count() != 1:
        return
    call_command("recommender_train", minutes=LONGER_MINUTES, no_wait=True, stdout=io.StringIO())
    say(f"- A training of {LONGER_MINUTES:.0f} minutes runs behind the shop; it is promoted if it is better.")


def serve(children: Children, say: Say, *, port: int) -> Child:
    """Start the web server and wait until it answers. Raises `CommandError`."""
    child = children.start("web", _web_command(port))
    _wait_until(lambda: _answers(port), child, say)
    return child


def watch(children: Children, web: Child, say: Say) -> None:
    """Wait for Ctrl-C. A worker that ends is reported once. Raises `CommandError` when the web server ends."""
    reported: set[str] = set()
    while web.process.poll() is None:
        for child in children.ended():
            if child.name not in reported:
                reported.add(child.name)
                say(f"{child.name} has ended with code {child.process.returncode}; see {child.log}.")
        time.sleep(LOOK_SECONDS)
    raise CommandError(f"The web server has ended with code {web.process.returncode}; see {web.log}.")


def check_port(port: int) -> None:
    """Raise `CommandError` if another program uses the port, before minutes are spent."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise CommandError(
                f"Port {port} is taken ({error.strerror}). Stop what listens there, or choose another: "
                f"manage.py demo --port {port + 1}"
            ) from error


def is_trained() -> bool:
    """Has a run written a bundle, promoted or not?"""
    return Bundle.objects.filter(is_trained=True).exists()


def are_orders_recorded() -> bool:
    """Is the newest order line an event? They are recorded oldest first."""
    newest = OrderLine.objects.order_by("-pk").values_list("pk", flat=True).first()
    return newest is None or Event.objects.filter(message_id=f"order:shop.orderline:{newest}").exists()


def create_admin() -> None:
    """Create the user admin with the password admin: for this demo only."""
    users: Any = get_user_model().objects
    users.create_superuser(ADMIN, "admin@example.com", ADMIN)


def has_admin() -> bool:
    return get_user_model().objects.filter(is_superuser=True).exists()


def log_folder() -> Path:
    return Path(settings.VAR_DIR) / "logs"


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """SIGTERM ends the block like Ctrl-C, so that the children are stopped, even if the shell ignores SIGINT."""

    def interrupt(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait_until(is_up: Callable[[], bool], child: Child, say: Say) -> None:
    """Wait as long as the process makes progress, and say so. Raises `CommandError` if it has ended or hangs."""
    started = moved_at = said_at = time.monotonic()
    progress = child.progress()
    while not is_up():
        now = time.monotonic()
        if child.process.poll() is not None:
            raise CommandError(
                f"{child.name} did not start, it ended with code {child.process.returncode}: {child.last_line()} "
                f"See {child.log}."
            )
        if (seen := child.progress()) != progress:
            progress, moved_at = seen, now
        if now - moved_at > STALL_SECONDS:
            raise CommandError(
                f"{child.name} did not start: for {STALL_SECONDS:.0f} s it has neither computed nor written a line. "
                f"{child.last_line()} See {child.log}."
            )
        if now - said_at > WORD_SECONDS:
            said_at = now
            say(f"  waiting for {child.name} to start, {now - started:.0f} s so far. {child.last_line()}")
        time.sleep(LOOK_SECONDS)


def _web_command(port: int) -> list[str]:
    if importlib.util.find_spec("gunicorn") is None:
        return [sys.executable, "manage.py", "runserver", "--noreload", f"{HOST}:{port}"]
    return [
        *(sys.executable, "-m", "gunicorn", "shopreco.wsgi"),
        *("--bind", f"{HOST}:{port}", "--workers", "1", "--threads", "2", "--access-logfile", "-"),
    ]


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://{HOST}:{port}/", timeout=30) as page:
            return bool(page.status == 200)
    except OSError:
        return False


STEPS = (
    Step("Tables", lambda: False, lambda: call_command("migrate", verbosity=0, interactive=False)),
    Step("Products, customers and orders", lambda: Product.objects.exists(), lambda: call_command("demo_load")),
    Step("Orders as events", are_orders_recorded, lambda: call_command("recommender_reconcile")),
    Step(
        "Items, vectors and statistics",
        lambda: ItemStatistics.objects.exists(),
        lambda: call_command("recommender_sync"),
    ),
    Step("Departments", lambda: Department.objects.exists(), lambda: call_command("demo_departments")),
    Step("Administrator", has_admin, create_admin),
)
