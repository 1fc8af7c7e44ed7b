"""`manage.py recommender_reproduce RUN`: repeats a run with its settings, seed and data, and says what differs."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.translation import gettext as _

from recommender import runs
from recommender.exceptions import RunError
from recommender.management.following import follow
from recommender.management.repetition import circumstances, outcome
from recommender.management.run_commands import add_run_arguments, refuse_unless_succeeded, trigger_of
from recommender.models import Run
from recommender.runs import provenance


class Command(BaseCommand):
    help = _("Repeat a run with its settings and seed on the data of its time, and compare the results.")

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("run_id", type=int, metavar="RUN", help=_("number of the run to repeat"))
        add_run_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        first = Run.objects.filter(pk=options["run_id"]).first()
        if first is None:
            raise CommandError(_("There is no run %(run)d.") % {"run": options["run_id"]})
        try:
            again = runs.repeat(first, trigger=trigger_of(options))
        except RunError as error:
            raise CommandError(str(error)) from error
        now = {**first.provenance, "code": provenance.code(), "versions": provenance.versions()}
        self.stdout.write(_("Run %(again)d repeats run %(first)d.") % {"again": again.pk, "first": first.pk})
        self._write(circumstances(first.provenance, now))
        if options["no_wait"]:
            return
        follow(again, self.stderr, is_here=options["here"])
        refuse_unless_succeeded(again)
        self._write(outcome(first, again))

    def _write(self, lines: list[str]) -> None:
        for line in lines:
            self.stdout.write(line)
