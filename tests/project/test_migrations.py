"""While the app is upgraded, the version before still serves on the migrated tables: migrations leave it able to."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.core.management import call_command
from django.db import connection, migrations, models
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ProjectState

from recommender.models import Event

FIRST = ("recommender", "0026_store_queries_encrypted")
"""The oldest version beside which a newer one has been seen to serve: see fault 23 of benchmarks/faults."""

REMOVING = (migrations.DeleteModel, migrations.RenameModel, migrations.RemoveField, migrations.RenameField)


def refusals(operations: list[Operation], state: ProjectState) -> Iterator[str]:
    """What an INSERT or a SELECT of the version before fails at, by tables that it has; the state is changed."""
    tables = {name for label, name in state.models if label == "recommender"}
    for operation in operations:
        table = getattr(operation, "model_name", getattr(operation, "old_name", getattr(operation, "name", ""))).lower()
        field = getattr(operation, "field", None)
        column = f"{table}.{getattr(operation, 'name', '')}"
        if isinstance(operation, REMOVING) and table in tables:
            yield operation.describe()
        if isinstance(operation, migrations.AddField) and table in tables and requires_value(field):
            yield f"{column} is added without null=True and without db_default"
        if isinstance(operation, migrations.AlterField) and table in tables:
            before = state.models["recommender", table].fields[operation.name]
            if before.null and requires_value(field):
                yield f"{column} becomes NOT NULL without db_default"
        operation.state_forwards("recommender", state)


def requires_value(field: models.Field) -> bool:
    """Must every INSERT name the column?"""
    return not (field.null or field.has_db_default() or field.many_to_many)


def test_version_before_can_write_into_migrated_tables() -> None:
    loader = MigrationLoader(None)
    (leaf,) = loader.graph.leaf_nodes("recommender")
    later = [node for node in loader.graph.forwards_plan(leaf) if node[0] == "recommender" and node > FIRST]
    assert len(later) > 5
    for node in later:
        state = loader.project_state(previous(loader, node))
        assert list(refusals(loader.graph.nodes[node].operations, state)) == [], node


def previous(loader: MigrationLoader, node: tuple[str, str]) -> tuple[str, str]:
    (parent,) = [parent.key for parent in loader.graph.node_map[node].parents if parent.key[0] == "recommender"]
    return parent


@pytest.mark.parametrize(
    ("operation", "reason"),
    [
        (migrations.AddField("event", "colour", models.CharField(max_length=9, default="")), "without null=True"),
        (migrations.AddField("event", "colour", models.CharField(max_length=9, db_default="")), ""),
        (migrations.AddField("event", "colour", models.CharField(max_length=9, null=True)), ""),
        (migrations.AlterField("event", "ranking_id", models.UUIDField()), "becomes NOT NULL"),
        (migrations.AlterField("event", "ranking_id", models.UUIDField(null=True, verbose_name="list")), ""),
        (migrations.RemoveField("event", "ranking_id"), "Remove field ranking_id from event"),
        (migrations.RenameField("event", "ranking_id", "list_id"), "Rename field ranking_id on event"),
        (migrations.DeleteModel("Event"), "Delete model Event"),
    ],
)
def test_what_the_version_before_fails_at_would_be_noticed(operation: Operation, reason: str) -> None:
    state = MigrationLoader(None).project_state(FIRST)
    reasons = list(refusals([operation], state))
    assert len(reasons) == bool(reason)
    assert all(reason in each for each in reasons)


@pytest.mark.django_db
def test_events_are_written_into_no_index_that_another_begins_with() -> None:
    with connection.cursor() as cursor:
        constraints = connection.introspection.get_constraints(cursor, Event._meta.db_table)
    indexed = [each["columns"] for each in constraints.values() if each["index"] and not each["unique"]]
    assert ["visitor_id", "occurred_at"] in indexed
    assert ["visitor_id"] not in indexed
    assert ["message_id"] not in indexed
    assert any(each["columns"] == ["message_id"] and each["unique"] for each in constraints.values())


@pytest.mark.django_db(transaction=True)
def test_dropped_indexes_of_events_come_back_with_the_version_before() -> None:
    call_command("migrate", "recommender", "0037", verbosity=0)
    try:
        with connection.cursor() as cursor:
            constraints = connection.introspection.get_constraints(cursor, Event._meta.db_table)
        assert [each["columns"] for each in constraints.values()].count(["visitor_id"]) == 2  # the foreign key too
    finally:
        call_command("migrate", "recommender", verbosity=0)
    test_events_are_written_into_no_index_that_another_begins_with()
