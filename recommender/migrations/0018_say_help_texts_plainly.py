import django.core.validators
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("recommender", "0017_remember_unpaid_orders"),
    ]

    operations = [
        migrations.AlterField(
            model_name="judgement",
            name="grade",
            field=models.FloatField(
                help_text="From 0 (does not match at all) to 1 (exactly what was meant).",
                validators=[
                    django.core.validators.MinValueValidator(0.0),
                    django.core.validators.MaxValueValidator(1.0),
                ],
                verbose_name="grade",
            ),
        ),
        migrations.AlterField(
            model_name="judgement",
            name="source",
            field=models.CharField(
                default="person", help_text="Who or what made the judgement.", max_length=40, verbose_name="source"
            ),
        ),
        migrations.AlterField(
            model_name="segment",
            name="name",
            field=models.CharField(blank=True, max_length=160, verbose_name="automatic name"),
        ),
        migrations.AlterField(
            model_name="segment",
            name="own_name",
            field=models.CharField(
                blank=True,
                help_text="Leave empty to use the automatic name.",
                max_length=160,
                verbose_name="your name for it",
            ),
        ),
        migrations.AlterField(
            model_name="synonym",
            name="n_evidence",
            field=models.PositiveIntegerField(
                default=0,
                help_text="Number of visitors whose choices support it; 0 if it was written here.",
                verbose_name="evidence",
            ),
        ),
    ]
