"""A run in, its progress on the terminal until it ends: what every command that asks for a run shares."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from django.core.management.base import OutputWrapper

from recommender import runs, supervision
from recommender.management import background
from recommender.models import Run

LOOK_SECONDS = 0.5
PATIENCE_SECONDS = 10.0


def follow(run: Run, errors: OutputWrapper, *, is_here: bool) -> None:
    """Show the progress until the run ends; with `is_here` a thread of this process supervises it."""
    thread = supervision.supervise_in_thread(run.pk) if is_here else None
    started, was_told = time.monotonic(), is_here
    try:
        with _drawn() as draw:
            while run.state in runs.ACTIVE:
                time.sleep(LOOK_SECONDS)
                run.refresh_from_db()
                draw(run)
                if not was_told and run.state == Run.State.QUEUED and time.monotonic() - started > PATIENCE_SECONDS:
                    was_told = True
                    errors.write(_no_worker())
    except KeyboardInterrupt:
        runs.cancel(run)
        errors.write(f"Run {run.pk} is being cancelled.")
    if thread is not None:
        thread.join()
    run.refresh_from_db()


@contextmanager
def _drawn() -> Iterator[Callable[[Run], None]]:
    """Yield what shows the progress of a run: a bar on a terminal with tqdm, else a line per stage."""
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
    told: list[str] = []

    def draw(run: Run) -> None:
        if _stage(run) not in told:
            told.append(_stage(run))
            sys.stderr.write(f"{run.progress:4.0%}  {_stage(run)}\n")

    return draw


def _stage(run: Run) -> str:
    return (run.stage or run.get_state_display()).replace("_", " ")


def _no_worker() -> str:
    return (
        f"No worker took the run within {PATIENCE_SECONDS:.0f} s. Start one in another terminal:\n"
        f"  {background.training_command()}\n"
        "or leave with Ctrl-C and run the same command with --here."
    )
