"""Users of a product who were erased; and answers by the trace of a log that they came from."""

from __future__ import annotations

import django.db.models.deletion
import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models

import redpen.accounts.ids

# scores of logs are about the last answer of a trace (annotation/importers/logs.py)
BY_TRACE = """
CREATE INDEX IF NOT EXISTS response_by_trace ON annotation_response (project_id, ((metadata ->> 'trace')))
WHERE metadata ? 'trace'
"""


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0004_api_keys"),
        ("annotation", "0008_honest_users"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='Erasure',
            fields=[
                ('id', models.UUIDField(default=redpen.accounts.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False)),
                ('who', models.CharField(help_text='keyed hash of the user, as in the ledger', max_length=64)),
                ('until', models.DateTimeField(help_text='what came later is a new story')),
                ('agent', models.CharField(blank=True, max_length=120)),
                ('counts', models.JSONField(default=dict, help_text='{kind: rows that went}')),
                ('gone', models.JSONField(default=dict, help_text='{ids, texts}, for the files; empty when all is done')),
                ('report', models.JSONField(default=dict, help_text='snapshots, runs and models that had learned from it')),
                ('waits_for', models.CharField(blank=True, max_length=200)),
                ('done_at', models.DateTimeField(null=True)),
                ('asked_by', models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='accounts.project')),
            ],
            options={
                'indexes': [models.Index(condition=models.Q(('done_at', None)), fields=['id'], name='erasure_due')],
                'constraints': [models.UniqueConstraint(fields=('project', 'id'), name='erasure_in_project'), models.CheckConstraint(condition=models.Q(('done_at', None), ('gone', {}), _connector='OR'), name='erasure_forgets_when_done')],
            },
        ),
        migrations.RunSQL(sql=BY_TRACE, reverse_sql="DROP INDEX IF EXISTS response_by_trace"),
    ]
