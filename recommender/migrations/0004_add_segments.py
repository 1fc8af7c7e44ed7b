
import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('recommender', '0003_keep_regression_and_sequel_neighbours'),
    ]

    operations = [
        migrations.CreateModel(
            name='Segment',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('number', models.PositiveSmallIntegerField(unique=True, verbose_name='number')),
                ('name', models.CharField(blank=True, max_length=160, verbose_name='name in words')),
                ('own_name', models.CharField(blank=True, help_text='Shown instead of the words; empty: the words.', max_length=160, verbose_name='your name for it')),
                ('traits', models.JSONField(default=list, verbose_name='what distinguishes it')),
                ('axes', models.JSONField(default=list)),
                ('item_counts', models.JSONField(default=dict)),
                ('n_people', models.PositiveIntegerField(default=0, verbose_name='people')),
                ('computed_at', models.DateTimeField(default=django.utils.timezone.now, verbose_name='computed')),
                ('retired_at', models.DateTimeField(blank=True, null=True, verbose_name='retired')),
            ],
            options={
                'verbose_name': 'segment',
                'verbose_name_plural': 'segments',
                'ordering': ['number'],
            },
        ),
        migrations.AddField(
            model_name='visitor',
            name='segment',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='visitors', to='recommender.segment', verbose_name='segment'),
        ),
    ]
