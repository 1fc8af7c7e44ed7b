"""Shows the progress of a run on the terminal until it ends, for every command that starts one."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from django.core.management.base import OutputWrapper
from django.utils.translation import gettext

from recommender import runs
from recommender.management import background
from recommender.models import Run
from recommender.models.connections import persistently
from recommender.models.words import words_of
from recommender.runs import supervision

LOOK_SECONDS = 0.5
PATIENCE_SECONDS = 10.0
MOST_THREADS = 2
"""How often the run is supervised anew where the supervision itself fails."""


def follow(run: Run, errors: OutputWrapper, *, is_here: bool) -> None:
    """Show the progress until the run ends; with `is_here` a thread of this process supervises it."""
    here = _Here(run) if is_here else None
    started, has_hinted = time.monotonic(), is_here
    try:
        with _drawn() as draw:
            while run.state in runs.ACTIVE:
                time.sleep(LOOK_SECONDS)
                if here is not None:
                    here.look_after()
                persistently(run.refresh_from_db)
                draw(run)
                if not has_hinted and run.state == Run.State.QUEUED and time.monotonic() - started > PATIENCE_SECONDS:
                    has_hinted = True
                    errors.write(_no_worker())
    except KeyboardInterrupt:
        runs.cancel(run)
        errors.write(gettext("Run %d is being cancelled.") % run.pk)
    if here is not None:
        here.thread.join()
    persistently(run.refresh_from_db)


class _Here:
    """Supervises a run from a thread of this process; a thread that ends before its run is started again."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.thread: threading.Thread = supervision.supervise_in_thread(run.pk)
        self.n_threads = 1

    def look_after(self) -> None:
        """Once the thread has ended, end the run or start another thread: nobody else looks after it."""
        if self.thread.is_alive():
            return
        persistently(self.run.refresh_from_db)
        if self.run.state in runs.HELD:  # by another worker, which sends heartbeats, or by nobody
            persistently(runs.reap_stale)
        elif self.run.state == Run.State.QUEUED and self.n_threads < MOST_THREADS:
            self.thread, self.n_threads = supervision.supervise_in_thread(self.run.pk), self.n_threads + 1
        elif self.run.state == Run.State.QUEUED:
            persistently(lambda: runs.give_up(self.run.pk, reason=_not_trained_here(self.run)))


@contextmanager
def _drawn() -> Iterator[Callable[[Run], None]]:
    """Yield a function that shows the progress of a run: a bar on a terminal with tqdm, else a line per stage."""
    try:
        from tqdm import tqdm
    except ImportError:
        tqdm = None
    if tqdm is None or not sys.stderr.isatty():
        yield _line_per_stage()
        return
    with tqdm(total=100, bar_format="{desc:<12} {percentage:3.0f} %|{bar}| {elapsed}") as bar:

        def draw(run: Run) -> None:
            bar.set_description_str(_stage(run), refresh=False)
            bar.update(round(run.progress * 100) - bar.n)
            bar.refresh()

        yield draw


def _line_per_stage() -> Callable[[Run], None]:
    drawn_stages: set[str] = set()

    def draw(run: Run) -> None:
        if _stage(run) not in drawn_stages:
            drawn_stages.add(_stage(run))
            sys.stderr.write(f"{run.progress:4.0%}  {_stage(run)}\n")

    return draw


def _stage(run: Run) -> str:
    return words_of(run.stage) or run.get_state_display()


def _not_trained_here(run: Run) -> str:
    reason = gettext(
        "It was started %(n)d times in the process of this command, and each time the process ended before the run "
        "did. %(reason)s See the messages above and %(log)s, then train again."
    ) % {"n": MOST_THREADS, "reason": run.reason, "log": supervision.log_path(run.pk)}
    return " ".join(reason.split())


def _no_worker() -> str:
    return gettext(
        "No worker took the run within %(seconds)d s. Start one in another terminal:\n  %(command)s\nor leave with "
        "Ctrl-C and run the same command with --here."
    ) % {"seconds": PATIENCE_SECONDS, "command": background.training_command()}
