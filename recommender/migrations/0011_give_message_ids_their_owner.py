from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('recommender', '0010_let_orders_teach'),
    ]

    operations = [
        migrations.AlterField(
            model_name='event',
            name='message_id',
            field=models.CharField(max_length=160, unique=True, verbose_name='message id'),
        ),
    ]
