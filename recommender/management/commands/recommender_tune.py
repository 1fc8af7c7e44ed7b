"""`manage.py recommender_tune`: ask for a tuning, follow it to its end, show its trials, use the best if told to."""

import importlib.util
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from recommender import runs
from recommender.exceptions import RecommenderError
from recommender.management.following import follow
from recommender.management.trials import trial_lines
from recommender.models import Run
from recommender.runs import supervision, tunings


class Command(BaseCommand):
    help = "Search better settings for trainings, on the days before the test window."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--minutes", type=float, help="time box of the search (default: TUNING_MINUTES)")
        parser.add_argument("--trials", type=int, help="most trials, shared out to the phases (default: no limit)")
        parser.add_argument("--resume", action="store_true", help="go on with the trials of the last tuning")
        parser.add_argument("--apply", action="store_true", help="let later runs use the settings found, if better")
        parser.add_argument("--here", action="store_true", help="search from this process: no worker is needed")
        parser.add_argument("--no-wait", action="store_true", help="ask for the tuning and return at once")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["here"] and importlib.util.find_spec("optuna") is None:
            raise CommandError('Tuning needs Optuna: pip install "shopreco[tuning]".')
        if options["apply"] and options["no_wait"]:
            raise CommandError("--apply waits for the end of the search: leave out --no-wait, or accept in the admin.")
        try:
            run = self._request(options)
        except RecommenderError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"Run {run.pk}, a tuning, is queued.")
        if options["no_wait"]:
            return
        follow(run, self.stderr, is_here=options["here"])
        for line in trial_lines(run.metrics.get("tuning", {})):
            self.stdout.write(line)
        if run.state != Run.State.SUCCEEDED:
            raise CommandError(f"Run {run.pk} {run.get_state_display()}: {run.reason}")
        self.stdout.write(run.reason)
        if options["apply"]:
            self._apply(run)

    def _request(self, options: dict[str, Any]) -> Run:
        settings = {name: options[name] for name in ("minutes", "trials") if options[name]}
        if options["resume"]:
            latest = tunings.latest()
            if latest is None:
                raise CommandError("There is no tuning to go on with. Leave out --resume.")
            settings |= tunings.going_on_from(latest)
        trigger = supervision.HERE if options["here"] else "command"
        return runs.request_run(trigger=trigger, kind=Run.Kind.TUNING, settings=settings)

    def _apply(self, run: Run) -> None:
        if not tunings.is_better(run):
            self.stdout.write("Nothing is applied: no trial was better.")
            return
        tunings.accept(run)
        self.stdout.write(self.style.SUCCESS(f"Later runs use the settings of run {run.pk}."))
