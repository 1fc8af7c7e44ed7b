from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('recommender', '0006_record_how_a_run_was_made'),
    ]

    operations = [
        migrations.AddField(
            model_name='run',
            name='kind',
            field=models.CharField(choices=[('training', 'training'), ('tuning', 'tuning')], default='training', max_length=12, verbose_name='kind'),
        ),
        migrations.AddField(
            model_name='run',
            name='accepted_at',
            field=models.DateTimeField(blank=True, help_text='Since when later runs use the settings that a tuning found.', null=True, verbose_name='accepted'),
        ),
    ]
