"""`manage.py recommender_reconcile`: order rows in, purchases out, each once; what is popular is counted anew."""

from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone
from django.utils.translation import ngettext

from recommender import tracking
from recommender.datasets import statistics
from recommender.management.progress import bar
from recommender.models import Item


class Command(BaseCommand):
    help = "Record the shop's past orders as purchases; rows that are recorded already are skipped."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--days", type=float, help="only orders of the last so many days")

    def handle(self, *args: Any, **options: Any) -> None:
        if not tracking.tracked_rows():
            raise CommandError("No order rows are tracked. Declare @track_rows in a recommendations.py.")
        since = timezone.now() - timedelta(days=options["days"]) if options["days"] else None
        with bar("orders") as progress:
            report = tracking.reconcile(since=since, progress=progress)
        self.stdout.write(
            f"{report.n_read} rows read: {report.n_recorded} recorded, {report.n_known} known"
            f"{f' ({report.n_attached} given to their buyer)' if report.n_attached else ''}, "
            f"{report.n_rejected} rejected"
        )
        if report.n_emptied:
            message = ngettext(
                "%(n)d row counts without a value that makes no sense:",
                "%(n)d rows count without a value that makes no sense:",
                report.n_emptied,
            )
            self.stderr.write(message % {"n": report.n_emptied})
        for message in report.emptied:
            self.stderr.write(message)
        for message in report.rejections:
            self.stderr.write(f"rejected: {message}")
        if report.n_recorded and Item.objects.exists():  # else the first sync counts them
            self.stdout.write(f"{statistics.refresh_statistics()} items have statistics")
