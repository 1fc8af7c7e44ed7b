"""`manage.py recommender_erase`: forgets a person, carries erasures to their end, and prints the receipt."""

import json
import uuid
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.translation import gettext as _

from recommender.capture import erasure
from recommender.capture.replay import replay
from recommender.jobs import erasing
from recommender.models import Erasure


class Command(BaseCommand):
    help = _("Erase everything about a person; without an option, finish the erasures that were requested.")

    def add_arguments(self, parser: CommandParser) -> None:
        who = parser.add_mutually_exclusive_group()
        who.add_argument("--user", metavar="KEY", help=_("primary key of a user of the shop, also of a deleted one"))
        who.add_argument("--visitor", metavar="KEY", type=uuid.UUID, help=_("key of a visitor"))
        who.add_argument(
            "--replay", action="store_true", help=_("after a restore from a backup: erase again whoever was erased")
        )

    def handle(self, *args: Any, **options: Any) -> None:
        requested = self._requested(options)
        n_finished = erasing.finish_erasures()
        self.stdout.write(_("%(n)d erasures finished") % {"n": n_finished})
        if requested is not None:
            requested.refresh_from_db()
            self.stdout.write(json.dumps(requested.receipt, indent=2))
        for pending in erasure.unfinished():
            self.stdout.write(_("%(erasure)s waits for %(what)s") % {"erasure": pending, "what": pending.waits_for})

    def _requested(self, options: dict[str, Any]) -> Erasure | None:
        if options["replay"]:
            return replay()
        if options["user"] is not None and not options["user"]:
            raise CommandError(_("Name a user: recommender_erase --user KEY."))
        if options["user"] or options["visitor"]:
            names = {"user_key": options["user"], "visitor_key": options["visitor"]}
            return erasure.erase(**names, trigger=Erasure.Trigger.COMMAND)
        return None
