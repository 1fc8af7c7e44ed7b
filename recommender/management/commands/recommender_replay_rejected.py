"""`manage.py recommender_replay_rejected`: sends rejected events again once their sender or the shop is repaired."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.utils.translation import gettext as _

from recommender.api.replaying import REPLAYABLE, STILL_REJECTED, replay
from recommender.capture import counting


class Command(BaseCommand):
    help = _("Send rejected events again; those that are valid by now are stored, once each.")

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--reason", metavar="CODE", default="", help=_("only events with this reason"))
        parser.add_argument("--dry-run", action="store_true", help=_("store nothing, count what could be stored"))

    def handle(self, *args: Any, **options: Any) -> None:
        outcomes = replay(code=options["reason"], is_rehearsal=options["dry_run"])
        counting.write()
        if options["dry_run"]:
            message = _("%(replayable)d can be stored, %(rejected)d are rejected still")
        else:
            message = _(
                "%(accepted)d accepted, %(duplicate)d duplicate, %(dropped)d dropped, %(rejected)d rejected still"
            )
        names = (REPLAYABLE, STILL_REJECTED, "accepted", "duplicate", "dropped")
        self.stdout.write(message % {name: outcomes[name] for name in names})
