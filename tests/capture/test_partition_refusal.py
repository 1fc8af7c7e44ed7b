"""Where the events table cannot be divided by month, the command says so."""

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, connections


@pytest.mark.django_db
def test_other_databases_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    if connection.vendor == "postgresql":  # which divides the table, so that another database is named here
        monkeypatch.setattr(connections["default"], "vendor", "mysql")
    with pytest.raises(CommandError, match="Only PostgreSQL"):
        call_command("recommender_partition")
