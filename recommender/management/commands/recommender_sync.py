"""`manage.py recommender_sync`: the shop's objects in, items out; then their vectors, statistics, and segments."""

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
    help = "Copy the shop's catalogue into the recommender: in full, or only what changed."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--changed", action="store_true", help="read only what changed since the last sync")
        parser.add_argument("--no-vectors", action="store_true", help="leave the encoding to the workers")

    def handle(self, *args: Any, **options: Any) -> None:
        if not catalogs():
            raise CommandError(f"No Catalog is registered. {checks.CATALOG_EXAMPLE}")
        read = sync.sync_changed if options["changed"] else sync.sync
        with bar("items") as progress:
            report = read(progress=progress)
        self.stdout.write(
            f"{report.n_created} created, {report.n_changed} changed, {report.n_unchanged} unchanged, "
            f"{report.n_deactivated} deactivated, {report.n_failed} skipped"
        )
        if report.n_undated:
            message = ngettext(
                "%(n)d object changed without a new %(fields)s: QuerySet.update() and SQL do not move it.",
                "%(n)d objects changed without a new %(fields)s: QuerySet.update() and SQL do not move it.",
                report.n_undated,
            )
            fields = [f"{type(catalog).__name__}.updated" for catalog in catalogs() if catalog.updated]
            self.stdout.write(message % {"n": report.n_undated, "fields": _(" or ").join(fields)})
        for failure in report.failures:
            self.stderr.write(f"skipped {failure}")
        if not options["no_vectors"]:
            self._encode()
        self.stdout.write(f"{statistics.refresh_statistics()} items have statistics")
        self.stdout.write(f"{segmentation.refresh()} segments of visitors")

    def _encode(self) -> None:
        try:
            bundle = bundles.ensure_champion()
        except MissingDependency as error:
            self.stderr.write(f"No vectors: {error} Until then search is lexical and lists are popularity.")
            return
        with bar("vectors") as progress:
            n_encoded = vectors.encode_missing(bundle.name, progress=progress)
        self.stdout.write(f"{n_encoded} items encoded by bundle {bundle}")
