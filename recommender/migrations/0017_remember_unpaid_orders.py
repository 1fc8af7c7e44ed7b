import uuid

import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("recommender", "0016_give_runs_a_key")]

    operations = [
        migrations.CreateModel(
            name="UnpaidRow",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("message_id", models.CharField(max_length=128, unique=True, verbose_name="message id")),
                ("visitor_key", models.UUIDField(db_index=True, default=uuid.uuid4, verbose_name="key")),
                ("device", models.CharField(blank=True, max_length=16, verbose_name="device")),
                ("region", models.CharField(blank=True, max_length=32, verbose_name="region")),
                ("is_bot", models.BooleanField(default=False, verbose_name="bot")),
                ("is_profiled", models.BooleanField(default=True, verbose_name="personalised")),
                (
                    "occurred_at",
                    models.DateTimeField(db_index=True, default=django.utils.timezone.now, verbose_name="occurred"),
                ),
            ],
            options={
                "verbose_name": "unpaid order row",
                "verbose_name_plural": "unpaid order rows",
            },
        ),
    ]
