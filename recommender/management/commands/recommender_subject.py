"""`manage.py recommender_subject`: says what the admin's history calls a person, to find the entries about them."""

import uuid
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.utils.translation import gettext as _

from recommender.identity import tombstones


class Command(BaseCommand):
    help = _("Print the keyed hashes by which histories name a person, one for each of SUBJECT_KEYS, newest first.")

    def add_arguments(self, parser: CommandParser) -> None:
        who = parser.add_mutually_exclusive_group(required=True)
        who.add_argument("--user", metavar="KEY", help=_("primary key of a user of the shop, also of a deleted one"))
        who.add_argument("--visitor", metavar="KEY", type=uuid.UUID, help=_("key of a visitor"))

    def handle(self, *args: Any, **options: Any) -> None:
        for subject in tombstones.subjects_of(visitor_key=options["visitor"], user_key=options["user"]):
            self.stdout.write(subject)
