from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("recommender", "0013_take_longer_addresses")]

    operations = [
        migrations.AddField(
            model_name="item",
            name="source_hash",
            field=models.CharField(
                blank=True,
                help_text="Of the object's own columns when it was last read.",
                max_length=32,
                verbose_name="source hash",
            ),
        ),
    ]
