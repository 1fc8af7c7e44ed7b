
import django.core.validators
import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('recommender', '0001_create_recommender'),
    ]

    operations = [
        migrations.CreateModel(
            name='Judgement',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('query', models.CharField(max_length=255, verbose_name='query')),
                ('item_id', models.CharField(max_length=128, verbose_name='item id')),
                ('grade', models.FloatField(help_text='From 0, not at all, to 1, just what was meant.', validators=[django.core.validators.MinValueValidator(0.0), django.core.validators.MaxValueValidator(1.0)], verbose_name='grade')),
                ('source', models.CharField(default='person', help_text='Who or what judged.', max_length=40, verbose_name='source')),
                ('judged_at', models.DateTimeField(default=django.utils.timezone.now, verbose_name='judged')),
            ],
            options={
                'verbose_name': 'judgement',
                'verbose_name_plural': 'judgements',
                'indexes': [models.Index(fields=['query'], name='recommender_judged_query')],
                'constraints': [models.UniqueConstraint(fields=('query', 'item_id', 'source'), name='recommender_judged_once'), models.CheckConstraint(condition=models.Q(('grade__gte', 0.0), ('grade__lte', 1.0)), name='recommender_grade_in_range')],
            },
        ),
    ]
