
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('recommender', '0002_keep_judgements'),
    ]

    operations = [
        migrations.AddField(
            model_name='itemstatistics',
            name='regression_neighbours',
            field=models.JSONField(blank=True, default=list),
        ),
        migrations.AddField(
            model_name='itemstatistics',
            name='sequel_neighbours',
            field=models.JSONField(blank=True, default=list),
        ),
    ]
