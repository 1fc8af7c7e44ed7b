"""`manage.py recommender_tune`: searches better training settings and shows the trials; `--apply` uses the best."""

import importlib.util
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.translation import gettext as _

from recommender import runs
from recommender.exceptions import RecommenderError
from recommender.management.following import follow
from recommender.management.run_commands import add_run_arguments, refuse_unless_succeeded, trigger_of
from recommender.management.trials import trial_lines
from recommender.models import Run
from recommender.runs import tunings


class Command(BaseCommand):
    help = _("Find better settings for trainings, using the days before the test window.")

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--minutes", type=float, help=_("time box of the search (default: TUNING_MINUTES)"))
        parser.add_argument("--trials", type=int, help=_("most trials, over all phases (default: no limit)"))
        parser.add_argument("--resume", action="store_true", help=_("continue the last tuning"))
        parser.add_argument("--apply", action="store_true", help=_("use the best settings in later runs, if better"))
        add_run_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        if options["here"] and importlib.util.find_spec("optuna") is None:
            raise CommandError(_('Tuning needs Optuna: pip install "shopreco[tuning]".'))
        if options["apply"] and options["no_wait"]:
            raise CommandError(_("--apply needs the result: leave out --no-wait, or use the settings in the admin."))
        try:
            run = self._request(options)
        except RecommenderError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(_("Run %(run)d, a tuning, is queued.") % {"run": run.pk})
        if options["no_wait"]:
            return
        follow(run, self.stderr, is_here=options["here"])
        for line in trial_lines(tunings.trials_of(run)):
            self.stdout.write(line)
        refuse_unless_succeeded(run)
        self.stdout.write(run.reason)
        if options["apply"]:
            self._apply(run)

    def _request(self, options: dict[str, Any]) -> Run:
        settings = {name: options[name] for name in ("minutes", "trials") if options[name]}
        if options["resume"]:
            latest = tunings.latest()
            if latest is None:
                raise CommandError(_("There is no tuning to continue. Leave out --resume."))
            settings |= tunings.continued(latest)
        return runs.request_run(trigger=trigger_of(options), kind=Run.Kind.TUNING, settings=settings)

    def _apply(self, run: Run) -> None:
        if not tunings.is_better(run):
            self.stdout.write(_("Nothing is applied: no trial was better."))
            return
        tunings.accept(run)
        message = _("Later runs use the settings of run %(run)d.") % {"run": run.pk}
        self.stdout.write(self.style.SUCCESS(message))
