"""`manage.py recommender_queries`: searches in, suggestions and proposed synonyms out."""

from typing import Any

from django.core.management.base import BaseCommand

from recommender.datasets import queries


class Command(BaseCommand):
    help = "Learn from what shoppers searched: past queries to suggest, and synonyms to approve in the admin."

    def handle(self, *args: Any, **options: Any) -> None:
        report = queries.learn_queries()
        self.stdout.write(
            f"{report.n_queries} queries of several visitors; {report.n_synonyms} synonyms show in them, "
            f"{report.n_proposed} of them are newly proposed"
        )
