"""`manage.py recommender_reconcile`: records past order rows as purchases, then recounts what is popular."""

from dataclasses import asdict
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from recommender import tracking
from recommender.datasets import statistics
from recommender.management.progress import bar
from recommender.models import Item


class Command(BaseCommand):
    help = _("Record the shop's past orders as purchases; recorded rows are skipped.")

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--days", type=float, help=_("only orders of the last DAYS"))

    def handle(self, *args: Any, **options: Any) -> None:
        if not tracking.tracked_rows():
            raise CommandError(_("No order rows are tracked. Declare @track_rows in a recommendations.py."))
        since = timezone.now() - timedelta(days=options["days"]) if options["days"] else None
        with bar("orders") as progress:
            report = tracking.reconcile(since=since, progress=progress)
        message = _(
            "%(n_read)d rows read: %(n_recorded)d recorded, %(n_known)d recorded before, %(n_rejected)d rejected"
        )
        self.stdout.write(message % asdict(report))
        if report.n_attached:
            self.stdout.write(_("%(n)d rows linked to their buyer") % {"n": report.n_attached})
        if report.n_emptied:
            message = ngettext(
                "%(n)d row counts without a value, because it is invalid:",
                "%(n)d rows count without a value, because it is invalid:",
                report.n_emptied,
            )
            self.stderr.write(message % {"n": report.n_emptied})
        for message in report.emptied:
            self.stderr.write(message)
        for message in report.rejections:
            self.stderr.write(_("rejected: %(message)s") % {"message": message})
        if report.n_recorded and Item.objects.exists():  # otherwise the first sync computes them
            self.stdout.write(_("%(n)d items have statistics") % {"n": statistics.refresh_statistics()})
