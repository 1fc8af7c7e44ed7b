"""`manage.py recommender_archive`: copies new events into the archive, and writes anew what is stale or damaged."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.translation import gettext as _

from recommender import conf
from recommender.exceptions import RecommenderError
from recommender.jobs import archiving


class Command(BaseCommand):
    help = _("Bring the archive of events up to date with the database, as the daily job does.")

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--verify", action="store_true", help=_("read every file and compare its sha256"))

    def handle(self, *args: Any, **options: Any) -> None:
        if not conf.get("ARCHIVE"):
            raise CommandError(_("Set RECOMMENDER['ARCHIVE'] = True first."))
        try:
            report = archiving.update_now(thoroughly=options["verify"])
        except RecommenderError as error:
            raise CommandError(str(error)) from error
        if report is None:
            raise CommandError(_("Another process is writing the archive. Try again when it has ended."))
        numbers = {"n_new": report.n_new, "n_events": report.n_events, "n_files": len(report.rewritten)}
        self.stdout.write(
            _("%(n_new)d events archived, %(n_events)d in all; %(n_files)d files written anew for changed rows")
            % numbers
        )
        for name in report.damaged:
            self.stdout.write(_("%(file)s was damaged or gone, and was written anew") % {"file": name})
