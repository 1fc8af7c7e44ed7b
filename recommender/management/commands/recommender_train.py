"""`manage.py recommender_train`: requests a run, follows it, and shows its figures beside those of its competitors."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.translation import gettext as _

from recommender import conf, runs
from recommender.exceptions import RunError
from recommender.management.figures import table
from recommender.management.following import follow
from recommender.management.run_commands import add_run_arguments, refuse_unless_succeeded, trigger_of
from recommender.models import Run


class Command(BaseCommand):
    help = _("Train on what shoppers did until now, and promote the model if it is better than the one that serves.")

    def add_arguments(self, parser: CommandParser) -> None:
        add_run_arguments(parser)
        parser.add_argument("--minutes", type=float, help=_("time box of this run (default: TRAINING_MINUTES)"))
        methods, text = conf.CHOICES["FINE_TUNING"], _("how BERT is fine-tuned (default: FINE_TUNING)")
        parser.add_argument("--fine-tuning", choices=methods, help=text)
        parser.add_argument("--cancel", action="store_true", help=_("cancel the active run"))

    def handle(self, *args: Any, **options: Any) -> None:
        if options["cancel"]:
            return self._cancel()
        settings = {name: options[name] for name in ("minutes", "fine_tuning") if options[name]}
        try:
            run = runs.request_run(trigger=trigger_of(options), settings=settings)
        except RunError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(_("Run %(run)d is queued.") % {"run": run.pk})
        if options["no_wait"]:
            return None
        follow(run, self.stderr, is_here=options["here"])
        return self._show(run)

    def _cancel(self) -> None:
        run = Run.objects.filter(state__in=runs.ACTIVE).order_by("pk").first()
        if run is None:
            raise CommandError(_("No run is active: there is nothing to cancel."))
        runs.cancel(run)
        self.stdout.write(_("Run %(run)d is %(state)s.") % {"run": run.pk, "state": run.get_state_display()})

    def _show(self, run: Run) -> None:
        if run.state == Run.State.SUCCEEDED:
            is_promoted = run.verdict in (Run.Verdict.PROMOTED, Run.Verdict.PROVISIONAL)
            self.stdout.write((self.style.SUCCESS if is_promoted else self.style.WARNING)(run.reason))
        for line in table(run):
            self.stdout.write(line)
        refuse_unless_succeeded(run)
