from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('recommender', '0009_serve_words_while_loading'),
    ]

    operations = [
        migrations.AddField(
            model_name='visitor',
            name='has_objected',
            field=models.BooleanField(db_default=False, default=False, help_text='Orders made without consent never teach the model.', verbose_name='objected'),
        ),
        migrations.AddField(
            model_name='visitor',
            name='is_pseudonymous',
            field=models.BooleanField(db_default=False, default=False, help_text='Orders teach the model, but no list is made from them.', verbose_name='teaches only'),
        ),
    ]
