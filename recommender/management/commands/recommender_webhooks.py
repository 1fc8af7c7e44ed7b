"""`manage.py recommender_webhooks`: tells webhooks who entered and left their lists, as a worker does."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from recommender import jobs, serving
from recommender.outreach import webhooks


class Command(BaseCommand):
    help = _("Post what webhooks of the admin are to be told and is due; for a shop without a worker.")

    def add_arguments(self, parser: CommandParser) -> None:
        text = _("compare every active webhook with its list first, as the nightly job does")
        parser.add_argument("--compare", action="store_true", help=text)

    def handle(self, *args: Any, **options: Any) -> None:
        if options["compare"]:
            changes: list[int] = []
            jobs.perform("compare_webhooks", lambda: changes.append(_compare_all()))
            n = sum(changes)
            self.stdout.write(ngettext("%d change to tell", "%d changes to tell", n) % n)
        outcomes: list[tuple[int, int]] = []
        if not jobs.perform("deliver_webhooks", lambda: outcomes.append(_deliver())):
            self.stdout.write(_("A worker is delivering at this moment; nothing was done here."))
            return
        n_delivered, n_failed = outcomes[0]
        words = _("%(delivered)d delivered, %(failed)d failed; failed ones are tried again.")
        self.stdout.write(words % {"delivered": n_delivered, "failed": n_failed})


def _compare_all() -> int:
    return webhooks.compare_all(serving.loaded().shelf, at=timezone.now())


def _deliver() -> tuple[int, int]:
    now = timezone.now()
    webhooks.compare_requested(lambda: serving.loaded().shelf, at=now)
    return webhooks.deliver_due(at=now)
