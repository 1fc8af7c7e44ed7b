from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("recommender", "0012_take_prices_of_three_decimals")]

    operations = [
        migrations.AlterField(
            model_name="item",
            name="url",
            field=models.CharField(blank=True, max_length=2000, verbose_name="URL"),
        ),
        migrations.AlterField(
            model_name="item",
            name="image",
            field=models.CharField(blank=True, max_length=2000, verbose_name="image"),
        ),
    ]
