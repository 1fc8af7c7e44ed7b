
import django.core.validators
import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('recommender', '0004_add_segments'),
    ]

    operations = [
        migrations.CreateModel(
            name='QueryStatistics',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('query', models.CharField(max_length=255, unique=True, verbose_name='query')),
                ('n_visitors', models.PositiveIntegerField(default=0, verbose_name='visitors')),
                ('n_searches', models.PositiveIntegerField(default=0, verbose_name='searches')),
                ('items', models.JSONField(blank=True, default=list, verbose_name='led to')),
                ('last_at', models.DateTimeField(default=django.utils.timezone.now, verbose_name='last asked')),
                ('computed_at', models.DateTimeField(db_index=True, default=django.utils.timezone.now)),
            ],
            options={
                'verbose_name': 'query',
                'verbose_name_plural': 'queries',
            },
        ),
        migrations.CreateModel(
            name='Synonym',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('words', models.CharField(max_length=100, validators=[django.core.validators.MinLengthValidator(1)], verbose_name='typed')),
                ('meaning', models.CharField(max_length=100, validators=[django.core.validators.MinLengthValidator(1)], verbose_name='also finds')),
                ('kind', models.CharField(choices=[('one_way', 'one way'), ('two_way', 'both ways')], default='two_way', max_length=7, verbose_name='works')),
                ('source', models.CharField(choices=[('learned', 'learned'), ('edited', 'edited')], default='edited', max_length=7, verbose_name='source')),
                ('is_active', models.BooleanField(default=True, verbose_name='active')),
                ('n_evidence', models.PositiveIntegerField(default=0, help_text='Visitors whose choices speak for it; 0 for one that was written here.', verbose_name='evidence')),
                ('reviewed_at', models.DateTimeField(blank=True, null=True, verbose_name='decided')),
                ('updated_at', models.DateTimeField(auto_now=True, db_index=True, verbose_name='updated')),
            ],
            options={
                'verbose_name': 'synonym',
                'verbose_name_plural': 'synonyms',
                'constraints': [models.UniqueConstraint(fields=('words', 'meaning'), name='recommender_synonym_once')],
            },
        ),
    ]
