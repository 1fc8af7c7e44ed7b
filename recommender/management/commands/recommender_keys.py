"""`manage.py recommender_keys`: makes, lists, rotates and revokes the keys of servers and apps."""

import datetime as dt
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.translation import gettext as _

from recommender.exceptions import ConfigurationError
from recommender.identity import keys
from recommender.models import ApiKey, Scope


class Command(BaseCommand):
    help = _("Make, list, rotate and revoke keys for the API.")

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--create", metavar="NAME", help=_("make a publishable key, for an app or a page"))
        parser.add_argument("--secret", action="store_true", help=_("with --create: make a secret key, for a server"))
        parser.add_argument(
            "--scopes", default="", help=_("of a secret key, joined by commas: ") + ", ".join(Scope.values)
        )
        parser.add_argument("--rotate", metavar="PREFIX", help=_("replace the key that begins so"))
        parser.add_argument("--overlap-hours", type=float, default=24.0, help=_("how long the replaced key counts"))
        parser.add_argument("--revoke", metavar="PREFIX", help=_("end the key that begins so, at once"))

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            if options["create"]:
                scopes = [scope.strip() for scope in options["scopes"].split(",") if scope.strip()]
                _row, key = keys.create_key(options["create"], is_secret=options["secret"], scopes=scopes)
                self._show(key)
            elif options["rotate"]:
                row = _row_of(options["rotate"])
                self._show(keys.rotate_key(row, overlap=dt.timedelta(hours=options["overlap_hours"])))
            elif options["revoke"]:
                keys.revoke_key(_row_of(options["revoke"]))
        except ConfigurationError as error:
            raise CommandError(str(error)) from error
        self._list()

    def _show(self, key: str) -> None:
        self.stdout.write(_("The key, which is shown only now:"))
        self.stdout.write(self.style.SUCCESS(key))

    def _list(self) -> None:
        for row in ApiKey.objects.all():
            state = _("revoked") if row.revoked_at else ", ".join(row.scopes)
            used = f"{row.last_used_at:%Y-%m-%d}" if row.last_used_at else _("never used")
            self.stdout.write(f"{row.prefix}  {row.get_kind_display():<12} {used:<11} {row.name}: {state}")


def _row_of(prefix: str) -> ApiKey:
    row = ApiKey.objects.filter(prefix=prefix).first()
    if row is None:
        raise CommandError(_("No key begins with %(prefix)s. The list shows how each begins.") % {"prefix": prefix})
    return row
