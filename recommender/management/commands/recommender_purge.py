"""`manage.py recommender_purge`: deletes what is kept long enough, as the daily job does, and says what is overdue."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.utils import timezone
from django.utils.translation import gettext as _

from recommender import conf
from recommender.capture import retention
from recommender.jobs import archiving


class Command(BaseCommand):
    help = _("Delete what is older than RETENTION_DAYS and RETENTION allow; a worker does the same once a day.")

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help=_("delete nothing"))

    def handle(self, *args: Any, **options: Any) -> None:
        at = timezone.now()
        removed = {} if options["dry_run"] else retention.purge(at=at)
        if removed and archiving.is_wanted():
            archiving.update_now()
        days = conf.retention()
        for kind, n in retention.n_overdue(at=at).items():
            numbers = {"kind": kind, "n_removed": removed.get(kind, 0), "n_overdue": n, "days": days[kind]}
            self.stdout.write(_("%(kind)s, %(days)g days: %(n_removed)d removed, %(n_overdue)d overdue") % numbers)
