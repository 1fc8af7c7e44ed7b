from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('recommender', '0005_add_words_of_shoppers'),
    ]

    operations = [
        migrations.AddField(
            model_name='run',
            name='provenance',
            field=models.JSONField(blank=True, default=dict, help_text='How it was made: data, code, versions, settings.', verbose_name='provenance'),
        ),
    ]
