from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('recommender', '0007_tell_tunings_from_trainings'),
    ]

    operations = [
        migrations.AddField(
            model_name='itemstatistics',
            name='first_event_at',
            field=models.DateTimeField(blank=True, null=True, verbose_name='first event'),
        ),
    ]
