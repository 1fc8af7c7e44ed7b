"""`manage.py recommender_train`: ask for a run, follow it to its end, show what it is worth beside its competitors."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from recommender import conf, runs, tasks
from recommender.exceptions import RunError
from recommender.management.figures import table
from recommender.models import Run

LOOK_SECONDS = 0.5
PATIENCE_SECONDS = 10.0


class Command(BaseCommand):
    help = "Train on what shoppers did until now, and promote the model if it is better than what serves."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--here", action="store_true", help="train from this process: no Celery worker is needed")
        parser.add_argument("--no-wait", action="store_true", help="ask for the run and return at once")
        parser.add_argument("--minutes", type=float, help="time box of this run (default: TRAINING_MINUTES)")
        parser.add_argument("--tuning", choices=conf.CHOICES["TUNING"], help="how BERT is tuned (default: TUNING)")
        parser.add_argument("--cancel", action="store_true", help="cancel the run that is active")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["cancel"]:
            return self._cancel()
        settings = {name: options[name] for name in ("minutes", "tuning") if options[name]}
        try:
            run = runs.request_run(trigger=tasks.HERE if options["here"] else "command", settings=settings)
        except RunError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"Run {run.pk} is queued.")
        if options["no_wait"]:
            return None
        self._follow(run, is_here=options["here"])
        return self._show(run)

    def _cancel(self) -> None:
        run = Run.objects.filter(state__in=runs.ACTIVE).order_by("pk").first()
        if run is None:
            raise CommandError("No run is active: there is nothing to cancel.")
        runs.cancel(run)
        self.stdout.write(f"Run {run.pk} is {run.get_state_display()}.")

    def _follow(self, run: Run, *, is_here: bool) -> None:
        """Show the progress until the run ends; with `is_here` a thread of this process supervises it."""
        thread = tasks.train_in_thread(run.pk) if is_here else None
        started, was_told = time.monotonic(), is_here
        try:
            with _drawn() as draw:
                while run.state in runs.ACTIVE:
                    time.sleep(LOOK_SECONDS)
                    run.refresh_from_db()
                    draw(run)
                    if not was_told and run.state == Run.State.QUEUED and time.monotonic() - started > PATIENCE_SECONDS:
                        was_told = True
                        self.stderr.write(_no_worker())
        except KeyboardInterrupt:
            runs.cancel(run)
            self.stderr.write(f"Run {run.pk} is being cancelled.")
        if thread is not None:
            thread.join()
        run.refresh_from_db()

    def _show(self, run: Run) -> None:
        for line in table(run):
            self.stdout.write(line)
        if run.state != Run.State.SUCCEEDED:
            raise CommandError(f"Run {run.pk} {run.get_state_display()}: {run.reason}")
        verdict = self.style.SUCCESS if run.verdict == Run.Verdict.PROMOTED else self.style.WARNING
        self.stdout.write(verdict(run.reason))


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
        "  celery -A <your project> worker --queues default,training --pool solo\n"
        "or leave with Ctrl-C and run recommender_train --here."
    )
