from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("recommender", "0029_promote_by_several_people")]

    operations = [
        migrations.AddField(
            model_name="impression",
            name="n_found",
            field=models.PositiveIntegerField(
                blank=True, help_text="How many items matched the words of a search.", null=True, verbose_name="found"
            ),
        ),
    ]
