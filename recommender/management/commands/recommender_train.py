"""`manage.py recommender_train`: ask for a run, follow it to its end, show what it is worth beside its competitors."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from recommender import conf, runs
from recommender.exceptions import RunError
from recommender.management.figures import table
from recommender.management.following import follow
from recommender.models import Run
from recommender.runs import supervision


class Command(BaseCommand):
    help = "Train on what shoppers did until now, and promote the model if it is better than what serves."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--here", action="store_true", help="train from this process: no worker is needed")
        parser.add_argument("--no-wait", action="store_true", help="ask for the run and return at once")
        parser.add_argument("--minutes", type=float, help="time box of this run (default: TRAINING_MINUTES)")
        parser.add_argument(
            "--fine-tuning", choices=conf.CHOICES["FINE_TUNING"], help="how BERT is fine-tuned (default: FINE_TUNING)"
        )
        parser.add_argument("--cancel", action="store_true", help="cancel the run that is active")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["cancel"]:
            return self._cancel()
        settings = {name: options[name] for name in ("minutes", "fine_tuning") if options[name]}
        try:
            run = runs.request_run(trigger=supervision.HERE if options["here"] else "command", settings=settings)
        except RunError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"Run {run.pk} is queued.")
        if options["no_wait"]:
            return None
        follow(run, self.stderr, is_here=options["here"])
        return self._show(run)

    def _cancel(self) -> None:
        run = Run.objects.filter(state__in=runs.ACTIVE).order_by("pk").first()
        if run is None:
            raise CommandError("No run is active: there is nothing to cancel.")
        runs.cancel(run)
        self.stdout.write(f"Run {run.pk} is {run.get_state_display()}.")

    def _show(self, run: Run) -> None:
        for line in table(run):
            self.stdout.write(line)
        if run.state != Run.State.SUCCEEDED:
            raise CommandError(f"Run {run.pk} {run.get_state_display()}: {run.reason}")
        verdict = self.style.SUCCESS if run.verdict == Run.Verdict.PROMOTED else self.style.WARNING
        self.stdout.write(verdict(run.reason))
