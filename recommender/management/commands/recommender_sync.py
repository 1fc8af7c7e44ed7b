"""`manage.py recommender_sync`: copies the shop's objects into items, then updates vectors, statistics and segments."""

from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from recommender import bundles, checks
from recommender.catalog import catalogs, sync
from recommender.datasets import statistics
from recommender.exceptions import MissingDependency
from recommender.management.progress import bar
from recommender.personas import segmentation
from recommender.serving import vectors


class Command(BaseCommand):
    help = _("Copy the shop's catalogue into the recommender: in full, or only what changed.")

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--changed", action="store_true", help=_("read only what changed since the last sync"))
        parser.add_argument("--no-vectors", action="store_true", help=_("leave the encoding to the workers"))
        parser.add_argument(
            "--no-statistics", action="store_true", help=_("leave statistics and segments to the workers")
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if not catalogs():
            raise CommandError(_("No Catalog is registered. %(example)s") % {"example": checks.CATALOG_EXAMPLE})
        read = sync.sync_changed if options["changed"] else sync.sync
        with bar("items") as progress:
            report = read(progress=progress)
        message = _(
            "%(n_created)d created, %(n_changed)d changed, %(n_unchanged)d unchanged, %(n_deactivated)d deactivated, "
            "%(n_failed)d skipped"
        )
        self.stdout.write(message % asdict(report))
        if report.n_undated:
            message = ngettext(
                "%(n)d object changed without a new %(fields)s: QuerySet.update() and SQL do not change it.",
                "%(n)d objects changed without a new %(fields)s: QuerySet.update() and SQL do not change it.",
                report.n_undated,
            )
            fields = [f"{type(catalog).__name__}.updated" for catalog in catalogs() if catalog.updated]
            self.stdout.write(message % {"n": report.n_undated, "fields": _(" or ").join(fields)})
        for failure in report.failures:
            self.stderr.write(_("skipped %(failure)s") % {"failure": failure})
        if not options["no_vectors"]:
            self._encode()
        if options["no_statistics"]:
            return
        self.stdout.write(_("%(n)d items have statistics") % {"n": statistics.refresh_statistics()})
        self.stdout.write(_("%(n)d segments of visitors") % {"n": segmentation.refresh()})

    def _encode(self) -> None:
        try:
            bundle = bundles.ensure_champion()
        except MissingDependency as error:
            message = _("No vectors: %(error)s Until then search uses words only and lists show bestsellers.")
            self.stderr.write(message % {"error": error})
            return
        with bar("vectors") as progress:
            n_encoded = vectors.encode_missing(bundle.name, progress=progress)
        self.stdout.write(_("%(n)d items encoded by bundle %(bundle)s") % {"n": n_encoded, "bundle": bundle})
