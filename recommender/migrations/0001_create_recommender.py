
import django.db.models.deletion
import django.utils.timezone
import uuid
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    initial = True

    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='Visitor',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('key', models.UUIDField(default=uuid.uuid4, editable=False, unique=True, verbose_name='key')),
                ('user_key', models.CharField(blank=True, db_index=True, max_length=64, null=True, verbose_name='user')),
                ('has_consented', models.BooleanField(default=True, verbose_name='consented')),
                ('is_profiled', models.BooleanField(default=True, verbose_name='personalised')),
                ('is_bot', models.BooleanField(default=False, verbose_name='bot')),
                ('device', models.CharField(blank=True, max_length=16, verbose_name='device')),
                ('first_seen_at', models.DateTimeField(default=django.utils.timezone.now, verbose_name='first seen')),
                ('last_seen_at', models.DateTimeField(db_index=True, default=django.utils.timezone.now, verbose_name='last seen')),
            ],
            options={
                'verbose_name': 'visitor',
                'verbose_name_plural': 'visitors',
            },
        ),
        migrations.CreateModel(
            name='Bundle',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(max_length=64, unique=True, verbose_name='name')),
                ('state', models.CharField(choices=[('candidate', 'candidate'), ('champion', 'champion'), ('previous', 'previous champion'), ('archived', 'archived'), ('quarantined', 'quarantined')], db_index=True, default='candidate', max_length=12, verbose_name='state')),
                ('is_trained', models.BooleanField(default=True, help_text='Bundle 0 is the untrained encoder.', verbose_name='trained')),
                ('encoder_hash', models.CharField(max_length=32, verbose_name='encoder')),
                ('manifest', models.JSONField(default=dict, verbose_name='manifest')),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now, verbose_name='created')),
                ('promoted_at', models.DateTimeField(blank=True, null=True, verbose_name='promoted')),
            ],
            options={
                'verbose_name': 'bundle',
                'verbose_name_plural': 'bundles',
                'constraints': [models.UniqueConstraint(condition=models.Q(('state', 'champion')), fields=('state',), name='recommender_one_champion')],
            },
        ),
        migrations.CreateModel(
            name='Item',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('item_id', models.CharField(max_length=128, unique=True, verbose_name='item id')),
                ('label', models.CharField(help_text="The shop's model, as app_label.Model.", max_length=100, verbose_name='model')),
                ('object_id', models.CharField(max_length=128, verbose_name='object id')),
                ('title', models.CharField(max_length=500, verbose_name='title')),
                ('text', models.TextField(help_text='What the encoder and the lexical index read.', verbose_name='text')),
                ('category', models.CharField(blank=True, max_length=255, verbose_name='category')),
                ('brand', models.CharField(blank=True, max_length=255, verbose_name='brand')),
                ('price', models.DecimalField(blank=True, decimal_places=3, max_digits=15, null=True, verbose_name='indicative price')),
                ('currency', models.CharField(blank=True, max_length=3, verbose_name='currency')),
                ('url', models.CharField(blank=True, max_length=500, verbose_name='URL')),
                ('image', models.CharField(blank=True, max_length=500, verbose_name='image')),
                ('attributes', models.JSONField(blank=True, default=dict, verbose_name='attributes')),
                ('is_available', models.BooleanField(default=True, verbose_name='in stock')),
                ('is_active', models.BooleanField(default=True, help_text='Hidden or deleted items are inactive.', verbose_name='active')),
                ('text_hash', models.CharField(max_length=32, verbose_name='text hash')),
                ('first_seen_at', models.DateTimeField(default=django.utils.timezone.now, verbose_name='first seen')),
                ('updated_at', models.DateTimeField(db_index=True, default=django.utils.timezone.now, verbose_name='updated')),
            ],
            options={
                'verbose_name': 'item',
                'verbose_name_plural': 'items',
                'indexes': [models.Index(fields=['label', 'object_id'], name='recommender_item_object')],
            },
        ),
        migrations.CreateModel(
            name='ItemStatistics',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('n_1', models.FloatField(default=0, verbose_name='last day')),
                ('n_7', models.FloatField(default=0, verbose_name='last 7 days')),
                ('n_30', models.FloatField(default=0, verbose_name='last 30 days')),
                ('n_total', models.FloatField(default=0, verbose_name='ever')),
                ('last_event_at', models.DateTimeField(blank=True, null=True, verbose_name='last event')),
                ('basket_neighbours', models.JSONField(blank=True, default=list)),
                ('visitor_neighbours', models.JSONField(blank=True, default=list)),
                ('computed_at', models.DateTimeField(db_index=True, default=django.utils.timezone.now)),
                ('item', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, related_name='statistics', to='recommender.item')),
            ],
            options={
                'verbose_name': 'item statistics',
                'verbose_name_plural': 'item statistics',
            },
        ),
        migrations.CreateModel(
            name='Run',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('state', models.CharField(choices=[('queued', 'queued'), ('running', 'running'), ('cancelling', 'cancelling'), ('succeeded', 'succeeded'), ('failed', 'failed'), ('cancelled', 'cancelled')], db_index=True, default='queued', max_length=12, verbose_name='state')),
                ('verdict', models.CharField(blank=True, choices=[('promoted', 'promoted'), ('refused', 'not promoted'), ('insufficient', 'insufficient data')], max_length=12, verbose_name='verdict')),
                ('reason', models.TextField(blank=True, help_text='Why it ended as it did, in words.', verbose_name='reason')),
                ('trigger', models.CharField(default='command', max_length=10, verbose_name='started by')),
                ('settings', models.JSONField(blank=True, default=dict, verbose_name='settings')),
                ('stage', models.CharField(blank=True, max_length=40, verbose_name='stage')),
                ('progress', models.FloatField(default=0, help_text='Share done, 0 to 1.', verbose_name='progress')),
                ('report', models.JSONField(blank=True, default=dict, verbose_name='data report')),
                ('metrics', models.JSONField(blank=True, default=dict, verbose_name='figures')),
                ('losses', models.JSONField(blank=True, default=list, verbose_name='loss curve')),
                ('seconds', models.JSONField(blank=True, default=dict, verbose_name='seconds per stage')),
                ('fencing_token', models.PositiveIntegerField(default=0)),
                ('worker', models.CharField(blank=True, max_length=200, verbose_name='worker')),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now, verbose_name='created')),
                ('started_at', models.DateTimeField(blank=True, null=True, verbose_name='started')),
                ('heartbeat_at', models.DateTimeField(blank=True, null=True, verbose_name='last heartbeat')),
                ('finished_at', models.DateTimeField(blank=True, null=True, verbose_name='finished')),
                ('bundle', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='runs', to='recommender.bundle')),
                ('requested_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL, verbose_name='requested by')),
            ],
            options={
                'verbose_name': 'model run',
                'verbose_name_plural': 'model runs',
                'ordering': ['-created_at'],
                'permissions': [('train_model', 'Can start and cancel training runs'), ('promote_bundle', 'Can promote and roll back bundles')],
            },
        ),
        migrations.CreateModel(
            name='Persona',
            fields=[
            ],
            options={
                'verbose_name': 'persona',
                'verbose_name_plural': 'personas',
                'proxy': True,
                'indexes': [],
                'constraints': [],
            },
            bases=('recommender.visitor',),
        ),
        migrations.CreateModel(
            name='ItemVector',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('encoder_hash', models.CharField(max_length=32)),
                ('text_hash', models.CharField(max_length=32)),
                ('vector', models.BinaryField()),
                ('updated_at', models.DateTimeField(db_index=True, default=django.utils.timezone.now)),
                ('item', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='vectors', to='recommender.item')),
            ],
            options={
                'verbose_name': 'item vector',
                'verbose_name_plural': 'item vectors',
                'constraints': [models.UniqueConstraint(fields=('item', 'encoder_hash'), name='recommender_vector_once')],
            },
        ),
        migrations.CreateModel(
            name='Impression',
            fields=[
                ('ranking_id', models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False, verbose_name='ranking')),
                ('slot', models.CharField(choices=[('home', 'home'), ('similar', 'similar'), ('bought_together', 'bought together'), ('cart', 'cart'), ('recently_viewed', 'recently viewed'), ('buy_again', 'buy again'), ('trending', 'trending'), ('search', 'search')], max_length=20, verbose_name='slot')),
                ('query', models.CharField(blank=True, max_length=255, verbose_name='query')),
                ('current_item_id', models.CharField(blank=True, max_length=128, verbose_name='beside item')),
                ('item_ids', models.JSONField(default=list, verbose_name='items')),
                ('propensities', models.JSONField(blank=True, default=list, verbose_name='propensities')),
                ('first_position', models.PositiveSmallIntegerField(default=1, verbose_name='first position')),
                ('rung', models.CharField(choices=[('champion', 'champion'), ('untrained', 'untrained'), ('lexical', 'lexical'), ('popularity', 'popularity'), ('shop_order', 'shop order'), ('empty', 'empty')], max_length=12, verbose_name='served by')),
                ('bundle', models.CharField(blank=True, max_length=64, verbose_name='bundle')),
                ('source', models.CharField(default='page', max_length=10, verbose_name='source')),
                ('device', models.CharField(blank=True, max_length=16, verbose_name='device')),
                ('is_bot', models.BooleanField(default=False, verbose_name='bot')),
                ('occurred_at', models.DateTimeField(db_index=True, default=django.utils.timezone.now, verbose_name='shown')),
                ('visitor', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='impressions', to='recommender.visitor')),
            ],
            options={
                'verbose_name': 'impression',
                'verbose_name_plural': 'impressions',
                'indexes': [models.Index(fields=['visitor', '-occurred_at'], name='recommender_shown_history')],
            },
        ),
        migrations.CreateModel(
            name='Event',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('message_id', models.CharField(max_length=128, unique=True, verbose_name='message id')),
                ('type', models.CharField(choices=[('view_item_list', 'view item list'), ('select_item', 'select item'), ('view_item', 'view item'), ('search', 'search'), ('add_to_cart', 'add to cart'), ('remove_from_cart', 'remove from cart'), ('purchase', 'purchase'), ('refund', 'refund'), ('dismiss_item', 'dismiss item')], max_length=20, verbose_name='type')),
                ('item_id', models.CharField(blank=True, max_length=128, verbose_name='item id')),
                ('query', models.CharField(blank=True, max_length=255, verbose_name='query')),
                ('occurred_at', models.DateTimeField(verbose_name='occurred')),
                ('received_at', models.DateTimeField(default=django.utils.timezone.now, verbose_name='received')),
                ('quantity', models.FloatField(default=1, verbose_name='quantity')),
                ('price', models.DecimalField(blank=True, decimal_places=3, max_digits=15, null=True, verbose_name='unit price')),
                ('currency', models.CharField(blank=True, max_length=3, verbose_name='currency')),
                ('order_id', models.CharField(blank=True, max_length=128, verbose_name='order')),
                ('ranking_id', models.UUIDField(blank=True, null=True, verbose_name='ranking')),
                ('position', models.PositiveSmallIntegerField(blank=True, null=True, verbose_name='position')),
                ('source', models.CharField(default='page', help_text='page, api, order or signal', max_length=10, verbose_name='source')),
                ('device', models.CharField(blank=True, max_length=16, verbose_name='device')),
                ('region', models.CharField(blank=True, max_length=32, verbose_name='region')),
                ('is_bot', models.BooleanField(default=False, verbose_name='bot')),
                ('visitor', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='events', to='recommender.visitor')),
            ],
            options={
                'verbose_name': 'event',
                'verbose_name_plural': 'events',
                'indexes': [models.Index(fields=['visitor', '-occurred_at'], name='recommender_event_history'), models.Index(fields=['occurred_at'], name='recommender_event_time'), models.Index(fields=['item_id', 'occurred_at'], name='recommender_event_item')],
            },
        ),
    ]
