"""`manage.py recommender_queries`: learns suggestions and synonyms from past searches."""

from typing import Any

from django.core.management.base import BaseCommand
from django.utils.translation import gettext as _

from recommender.datasets import queries


class Command(BaseCommand):
    help = _("Learn from what shoppers searched: past queries to suggest, and synonyms to approve in the admin.")

    def handle(self, *args: Any, **options: Any) -> None:
        report = queries.learn_queries()
        message = _("%(n_queries)d queries by several visitors; %(n_synonyms)d synonyms, %(n_proposed)d newly proposed")
        numbers = {"n_queries": report.n_queries, "n_synonyms": report.n_synonyms, "n_proposed": report.n_proposed}
        self.stdout.write(message % numbers)
