"""`manage.py demo_departments`: groups similar products into named departments, then updates the items."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from recommender.catalog import sync
from shopreco.shop import departments


class Command(BaseCommand):
    help = "Group the products by their vectors, name the groups, replace the departments by them."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--groups", type=int, default=departments.N_DEPARTMENTS, help="how many (default: 14)")
        parser.add_argument("--seed", type=int, default=0)

    def handle(self, *args: Any, **options: Any) -> None:
        if not 1 <= options["groups"] <= departments.MAX_DEPARTMENTS:
            raise CommandError(f"--groups must be 1 to {departments.MAX_DEPARTMENTS}, not {options['groups']}.")
        report = departments.regroup(n_groups=options["groups"], seed=options["seed"])
        if not report.names:
            self.stderr.write(
                "No item has a vector yet: run recommender_sync first. The shop stays without departments."
            )
            return
        sync.sync_changed()
        self.stdout.write(
            f"{report.n_products:,} products in {len(report.names)} departments: {', '.join(report.names)}"
        )
