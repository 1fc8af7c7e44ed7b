import recommender.models.runs
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('recommender', '0015_record_background_work'),
    ]

    operations = [
        migrations.AddField(
            model_name='run',
            name='key',
            field=models.CharField(default=recommender.models.runs.random_key, editable=False, max_length=32),
        ),
    ]
