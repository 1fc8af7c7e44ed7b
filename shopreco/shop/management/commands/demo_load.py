"""`manage.py demo_load`: loads the committed orders into the shop's tables, once."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from recommender.management.progress import bar
from shopreco.shop import loading


class Command(BaseCommand):
    help = "Fill the empty demo shop with real products, customers and orders, moved in time to now."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--sample", type=int, metavar="N", help="only N customers and what they ordered most")
        parser.add_argument("--seed", type=int, default=0, help="which customers a sample takes (default 0)")

    def handle(self, *args: Any, **options: Any) -> None:
        with bar("order lines") as progress:
            report = loading.load(n_customers=options["sample"], seed=options["seed"], progress=progress)
        if report.was_loaded:
            self.stdout.write("The shop is already loaded.")
            return
        self.stdout.write(
            f"{report.n_products:,} products, {report.n_customers:,} customers, "
            f"{report.n_orders:,} orders with {report.n_lines:,} lines"
        )
