"""Webhooks and their deliveries."""

import annotation.models.webhooks
import django.contrib.postgres.fields
import django.db.models.deletion
import django.db.models.functions.datetime
import redpen.accounts.ids
import redpen.accounts.tenancy
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0004_api_keys'),
        ('annotation', '0006_rates'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='Webhook',
            fields=[
                ('id', models.UUIDField(default=redpen.accounts.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False)),
                ('name', models.CharField(blank=True, help_text='what it is for', max_length=60)),
                ('url', models.CharField(help_text='normalised by annotation.webhooks.addresses', max_length=500)),
                ('events', django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=40), size=None)),
                ('test', models.BooleanField(default=False, help_text='hears of test data, and of nothing else')),
                ('secret', models.CharField(default=annotation.models.webhooks.new_webhook_secret, editable=False, max_length=80)),
                ('old_secret', models.CharField(blank=True, editable=False, help_text='signs too, until old_until', max_length=80)),
                ('old_until', models.DateTimeField(editable=False, null=True)),
                ('enabled', models.BooleanField(default=True)),
                ('disabled_reason', models.CharField(blank=True, max_length=300)),
                ('disabled_at', models.DateTimeField(null=True)),
                ('failures', models.PositiveIntegerField(default=0, help_text='tries in a row that failed')),
                ('failing_since', models.DateTimeField(null=True)),
                ('held_until', models.DateTimeField(help_text='after several failures nothing is tried before this', null=True)),
                ('last_ms', models.PositiveIntegerField(default=0, help_text='what the last try took: slow ones get one at a time')),
                ('delivered_at', models.DateTimeField(help_text='the last delivery that arrived', null=True)),
                ('created_by', models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='accounts.project')),
            ],
        ),
        migrations.CreateModel(
            name='WebhookDelivery',
            fields=[
                ('id', models.UUIDField(default=redpen.accounts.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False)),
                ('event', models.CharField(choices=[('reaction.created', 'a user reacted, or was shown an answer'), ('response.created', 'an answer came in'), ('record.created', 'somebody marked, judged, compared or rewrote an answer'), ('run.succeeded', 'a training run made its model'), ('run.failed', 'a training run failed'), ('model.promoted', 'a model went into production'), ('webhook.test', 'somebody pressed ping')], max_length=40)),
                ('event_id', models.CharField(help_text='of the emission: repeated, it adds nothing', max_length=100)),
                ('keys', django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=100), help_text='of the events inside: ids of what they are about', size=None)),
                ('payload', models.JSONField(help_text='the events: a list')),
                ('state', models.CharField(choices=[('due', 'due'), ('sending', 'being sent'), ('failed', 'failed, will be tried again'), ('delivered', 'delivered'), ('given_up', 'given up')], default='due', max_length=10)),
                ('due_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), null=True)),
                ('attempt', models.PositiveIntegerField(default=0)),
                ('tries', models.PositiveIntegerField(default=0)),
                ('status', models.PositiveSmallIntegerField(help_text='the last HTTP status', null=True)),
                ('error', models.CharField(blank=True, help_text='in our words; nothing of what the receiver sent', max_length=300)),
                ('tried_at', models.DateTimeField(null=True)),
                ('took_ms', models.PositiveIntegerField(help_text='the last try', null=True)),
                ('ended_at', models.DateTimeField(null=True)),
                ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='accounts.project')),
                ('webhook', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='deliveries', to='annotation.webhook')),
            ],
        ),
        migrations.AddIndex(
            model_name='webhook',
            index=models.Index(condition=models.Q(('enabled', True)), fields=['project'], name='webhook_listening'),
        ),
        migrations.AddConstraint(
            model_name='webhook',
            constraint=models.UniqueConstraint(fields=('project', 'id'), name='webhook_in_project'),
        ),
        migrations.AddConstraint(
            model_name='webhook',
            constraint=models.CheckConstraint(condition=models.Q(('events', []), _negated=True), name='webhook_listens_to_something'),
        ),
        migrations.AddConstraint(
            model_name='webhook',
            constraint=models.CheckConstraint(condition=models.Q(('enabled', False), ('disabled_reason', ''), _connector='OR'), name='webhook_on_for_no_reason'),
        ),
        migrations.AddIndex(
            model_name='webhookdelivery',
            index=models.Index(condition=models.Q(('state__in', ['due', 'sending', 'failed'])), fields=['webhook', 'due_at'], name='delivery_due'),
        ),
        migrations.AddIndex(
            model_name='webhookdelivery',
            index=models.Index(condition=models.Q(('state', 'sending')), fields=['webhook'], name='delivery_flying'),
        ),
        migrations.AddIndex(
            model_name='webhookdelivery',
            index=models.Index(fields=['webhook', '-id'], name='delivery_newest'),
        ),
        migrations.AddIndex(
            model_name='webhookdelivery',
            index=models.Index(condition=models.Q(('ended_at__isnull', False)), fields=['ended_at'], name='delivery_by_age'),
        ),
        migrations.AddConstraint(
            model_name='webhookdelivery',
            constraint=models.UniqueConstraint(fields=('project', 'id'), name='webhookdelivery_in_project'),
        ),
        migrations.AddConstraint(
            model_name='webhookdelivery',
            constraint=redpen.accounts.tenancy.SameProject(field='webhook', name='delivery_webhook_same_project'),
        ),
        migrations.AddConstraint(
            model_name='webhookdelivery',
            constraint=models.UniqueConstraint(fields=('webhook', 'event_id'), name='delivery_once'),
        ),
        migrations.AddConstraint(
            model_name='webhookdelivery',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('due_at__isnull', False), ('ended_at', None), ('state__in', ['due', 'sending', 'failed'])), models.Q(('due_at', None), ('ended_at__isnull', False), ('state__in', ['delivered', 'given_up'])), _connector='OR'), name='delivery_state_known'),
        ),
    ]
