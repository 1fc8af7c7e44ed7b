"""`manage.py recommender_overview`: sums up what the admin's overview shows, as a worker does every five minutes."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.utils.translation import gettext as _

from recommender import exposure, jobs, overview


class Command(BaseCommand):
    help = _("Sum up impressions, orders and searches for the overview and the page of exposure in the admin.")

    def add_arguments(self, parser: CommandParser) -> None:
        text = _("every hour that is still stored, for example after ATTRIBUTION_DAYS was changed")
        parser.add_argument("--all", action="store_true", help=text)

    def handle(self, *args: Any, **options: Any) -> None:
        reports: list[overview.RollUp] = []
        if not jobs.perform("roll_up", lambda: reports.append(overview.roll_up(everything=options["all"]))):
            self.stdout.write(_("A worker is summing up at this moment; nothing was done here."))
            return
        jobs.perform("roll_up_queries", overview.roll_up_queries)
        jobs.perform("count_exposure", lambda: exposure.count_days(everything=options["all"]))
        first = f"{reports[0].first:%Y-%m-%d %H:%M}"
        message = _("%(n)d hours were summed up, from %(first)s UTC on.")
        self.stdout.write(message % {"n": reports[0].n_hours, "first": first})
