"""`manage.py recommender_engine_sync`: brings the vector engine up to date, as a worker does every minute."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.translation import gettext as _

from recommender import conf
from recommender.exceptions import RecommenderError
from recommender.management.progress import bar
from recommender.models import Bundle
from recommender.serving import engine_sync


class Command(BaseCommand):
    help = _("Copy the vectors of the bundles that serve into the vector engine: what changed, or all of a new bundle.")

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--bundle", default="", help=_("only this bundle, also one that does not serve"))
        parser.add_argument("--rebuild", action="store_true", help=_("drop the collections and fill them anew"))

    def handle(self, *args: Any, **options: Any) -> None:
        if not conf.get("VECTOR_ENGINE"):
            raise CommandError(
                _("RECOMMENDER['VECTOR_ENGINE'] names no engine: the exact scan of each process serves.")
            )
        name = options["bundle"]
        if name and not Bundle.objects.filter(name=name).exists():
            raise CommandError(_("There is no bundle %(name)r.") % {"name": name})
        try:
            with bar("vectors") as progress:
                synced = engine_sync.sync(name=name, rebuild=options["rebuild"], progress=progress)
        except RecommenderError as error:
            raise CommandError(str(error)) from error
        except Exception as error:  # whatever a database or its client raises
            message = _("The vector engine does not answer: %(kind)s: %(error)s")
            raise CommandError(message % {"kind": type(error).__name__, "error": error}) from error
        self._report(synced)

    def _report(self, synced: list[engine_sync.SyncedBundle]) -> None:
        for one in synced:
            message = _("bundle %(bundle)s: %(n_written)d written, %(n_deleted)d deleted, %(n_items)d in the engine")
            numbers = {"n_written": one.n_written, "n_deleted": one.n_deleted, "n_items": one.n_items}
            self.stdout.write(message % {"bundle": one.bundle[:12], **numbers})
        if not synced:
            self.stdout.write(_("No bundle has vectors yet: run recommender_sync first."))
