"""Each event was written into two indexes that no query needs: of its visitor, with whom another index begins too, and on
PostgreSQL a second one of message ids, for searches by their beginning. Dropped by name, because `AlterField` would check
the foreign key of every row again, and on SQLite copy the table."""

import django.db.models.deletion
from django.db import migrations, models


def drop_indexes(apps, schema_editor):
    if schema_editor.connection.vendor not in ("postgresql", "sqlite"):
        return  # elsewhere the foreign key may need an index of its own
    event = apps.get_model("recommender", "Event")
    named = [index.name for index in event._meta.indexes]
    for column in ("visitor_id", "message_id"):
        for name in schema_editor._constraint_names(event, [column], unique=False, index=True, exclude=named):
            schema_editor.execute(schema_editor._delete_index_sql(event, name))


def create_indexes(apps, schema_editor):
    if schema_editor.connection.vendor not in ("postgresql", "sqlite"):
        return
    event = apps.get_model("recommender", "Event")
    for name in ("visitor", "message_id"):
        for statement in schema_editor._field_indexes_sql(event, event._meta.get_field(name)):
            schema_editor.execute(statement)


class Migration(migrations.Migration):

    dependencies = [
        ('recommender', '0037_watch_exposure'),
    ]

    operations = [
        migrations.RunPython(drop_indexes, create_indexes, hints={"model_name": "event"}),
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.AlterField(
                    model_name='event',
                    name='visitor',
                    field=models.ForeignKey(blank=True, db_index=False, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='events', to='recommender.visitor', verbose_name='visitor'),
                ),
            ],
        ),
    ]
