from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("recommender", "0011_give_message_ids_their_owner")]

    operations = [
        migrations.AlterField(
            model_name="event",
            name="price",
            field=models.DecimalField(blank=True, decimal_places=3, max_digits=15, null=True, verbose_name="unit price"),
        ),
        migrations.AlterField(
            model_name="item",
            name="price",
            field=models.DecimalField(blank=True, decimal_places=3, max_digits=15, null=True, verbose_name="indicative price"),
        ),
    ]
