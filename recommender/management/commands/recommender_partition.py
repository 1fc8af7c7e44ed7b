"""`manage.py recommender_partition`: divides the events table by month, on PostgreSQL, without stopping the shop."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone
from django.utils.translation import gettext as _

from recommender.capture import months, partitioning
from recommender.exceptions import RecommenderError


class Command(BaseCommand):
    help = _("Divide the events table by month (PostgreSQL), so that old events are dropped by the month.")

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--ahead", action="store_true", help=_("only create the coming months of a divided table"))

    def handle(self, *args: Any, **options: Any) -> None:
        at = timezone.now()
        if options["ahead"]:
            self._create_ahead()
            return
        try:
            division = partitioning.divide(at=at)
        except RecommenderError as error:
            raise CommandError(str(error)) from error
        numbers = {"until": division.until.isoformat(), "n": division.n_months}
        self.stdout.write(_("Events before %(until)s stay together; %(n)d months from then on are created.") % numbers)

    def _create_ahead(self) -> None:
        if not months.is_partitioned():
            raise CommandError(_("The events table is not divided by month: leave out --ahead."))
        created = months.create_months(at=timezone.now())
        self.stdout.write(_("%(n)d months created.") % {"n": len(created)})
