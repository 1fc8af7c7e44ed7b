import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('recommender', '0018_say_help_texts_plainly'),
    ]

    operations = [
        migrations.AlterField(
            model_name='impression',
            name='current_item_id',
            field=models.CharField(blank=True, max_length=128, verbose_name='shown beside item'),
        ),
        migrations.AlterField(
            model_name='item',
            name='source_hash',
            field=models.CharField(blank=True, help_text="Hash of the object's own columns when they were last read.", max_length=32, verbose_name='source hash'),
        ),
        migrations.AlterField(
            model_name='job',
            name='error',
            field=models.TextField(blank=True, help_text='Why it failed last time; empty if it succeeded.', verbose_name='error'),
        ),
        migrations.AlterField(
            model_name='job',
            name='wanted_at',
            field=models.DateTimeField(blank=True, help_text='When something changed that this job has to process.', null=True, verbose_name='wanted'),
        ),
        migrations.AlterField(
            model_name='querystatistics',
            name='items',
            field=models.JSONField(blank=True, default=list, verbose_name='chosen items'),
        ),
        migrations.AlterField(
            model_name='querystatistics',
            name='last_at',
            field=models.DateTimeField(default=django.utils.timezone.now, verbose_name='last searched'),
        ),
        migrations.AlterField(
            model_name='run',
            name='accepted_at',
            field=models.DateTimeField(blank=True, help_text='Since when later runs use the settings that this tuning found.', null=True, verbose_name='accepted'),
        ),
        migrations.AlterField(
            model_name='run',
            name='provenance',
            field=models.JSONField(blank=True, default=dict, help_text='What the result depends on: data, code, versions, settings.', verbose_name='provenance'),
        ),
        migrations.AlterField(
            model_name='run',
            name='reason',
            field=models.TextField(blank=True, help_text='Why the run ended as it did.', verbose_name='reason'),
        ),
        migrations.AlterField(
            model_name='synonym',
            name='kind',
            field=models.CharField(choices=[('one_way', 'one way'), ('two_way', 'both ways')], default='two_way', max_length=7, verbose_name='direction'),
        ),
        migrations.AlterField(
            model_name='visitor',
            name='has_objected',
            field=models.BooleanField(db_default=False, default=False, help_text='Orders made without consent are never used for training.', verbose_name='objected'),
        ),
        migrations.AlterField(
            model_name='visitor',
            name='is_pseudonymous',
            field=models.BooleanField(db_default=False, default=False, help_text='Orders are used for training, but not to recommend to this visitor.', verbose_name='training only'),
        ),
        migrations.AlterField(
            model_name='worker',
            name='does',
            field=models.CharField(max_length=40, verbose_name='work'),
        ),
    ]
