
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('recommender', '0008_remember_first_events'),
    ]

    operations = [
        migrations.AlterField(
            model_name='impression',
            name='rung',
            field=models.CharField(choices=[('champion', 'champion'), ('untrained', 'untrained'), ('lexical', 'lexical'), ('popularity', 'popularity'), ('words', 'words'), ('shop_order', 'shop order'), ('empty', 'empty')], max_length=12, verbose_name='served by'),
        ),
    ]
