"""Where the events table cannot be divided by month, the command says so."""

import pytest
from django.core.management import CommandError, call_command
from django.db import connection


@pytest.mark.django_db
@pytest.mark.skipif(connection.vendor == "postgresql", reason="PostgreSQL divides the table")
def test_other_databases_are_refused() -> None:
    with pytest.raises(CommandError, match="Only PostgreSQL"):
        call_command("recommender_partition")
