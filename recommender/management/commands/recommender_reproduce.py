"""`manage.py recommender_reproduce RUN`: make a run again with its settings, seed and data, and say what differs."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from recommender import runs
from recommender.exceptions import RunError
from recommender.management.following import follow
from recommender.management.repetition import circumstances, outcome
from recommender.models import Run
from recommender.runs import provenance, supervision


class Command(BaseCommand):
    help = "Repeat a run with its settings and seed on the data of its time, and compare what comes out."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("run_id", type=int, metavar="RUN", help="number of the run to repeat")
        parser.add_argument("--here", action="store_true", help="train from this process: no worker is needed")
        parser.add_argument("--no-wait", action="store_true", help="ask for the run and return at once")

    def handle(self, *args: Any, **options: Any) -> None:
        first = Run.objects.filter(pk=options["run_id"]).first()
        if first is None:
            raise CommandError(f"There is no run {options['run_id']}.")
        try:
            again = runs.repeat(first, trigger=supervision.HERE if options["here"] else "command")
        except RunError as error:
            raise CommandError(str(error)) from error
        now = {**first.provenance, "code": provenance.code(), "versions": provenance.versions()}
        self.stdout.write(f"Run {again.pk} repeats run {first.pk}.")
        self._write(circumstances(first.provenance, now))
        if options["no_wait"]:
            return
        follow(again, self.stderr, is_here=options["here"])
        if again.state != Run.State.SUCCEEDED:
            raise CommandError(f"Run {again.pk} {again.get_state_display()}: {again.reason}")
        self._write(outcome(first, again))

    def _write(self, lines: list[str]) -> None:
        for line in lines:
            self.stdout.write(line)
