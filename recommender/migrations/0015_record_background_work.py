from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('recommender', '0014_remember_what_was_read'),
    ]

    operations = [
        migrations.CreateModel(
            name='Job',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(max_length=40, unique=True, verbose_name='name')),
                ('held_by', models.CharField(blank=True, max_length=100, verbose_name='held by')),
                ('held_until', models.DateTimeField(blank=True, null=True, verbose_name='held until')),
                ('wanted_at', models.DateTimeField(blank=True, help_text='When something was saved that this work is about.', null=True, verbose_name='wanted')),
                ('started_at', models.DateTimeField(blank=True, null=True, verbose_name='last started')),
                ('finished_at', models.DateTimeField(blank=True, null=True, verbose_name='last finished')),
                ('error', models.TextField(blank=True, help_text='Why the last one failed; empty where it did not.', verbose_name='error')),
            ],
            options={
                'verbose_name': 'recurring job',
                'verbose_name_plural': 'recurring jobs',
            },
        ),
        migrations.CreateModel(
            name='Worker',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(max_length=100, unique=True, verbose_name='name')),
                ('does', models.CharField(max_length=40, verbose_name='does')),
                ('beat_at', models.DateTimeField(verbose_name='last heartbeat')),
            ],
            options={
                'verbose_name': 'worker',
                'verbose_name_plural': 'workers',
            },
        ),
    ]
