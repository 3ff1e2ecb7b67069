"""Users of a product and whether they are believed."""

import django.contrib.postgres.fields
import django.contrib.postgres.indexes
import django.db.models.deletion
import django.db.models.functions.datetime
import redpen.accounts.ids
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0004_api_keys'),
        ('annotation', '0007_webhooks'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='HonestyCursor',
            fields=[
                ('id', models.PositiveSmallIntegerField(default=1, primary_key=True, serialize=False)),
                ('done', models.BigIntegerField(default=0)),
            ],
        ),
        migrations.CreateModel(
            name='LeftOut',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('test', models.BooleanField()),
                ('name', models.CharField(max_length=200)),
                ('since', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('ended_at', models.DateTimeField(null=True)),
                ('project', models.ForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='accounts.project')),
            ],
            options={
                'indexes': [models.Index(fields=['project', 'test', 'name'], name='left_out_of_user')],
                'constraints': [models.UniqueConstraint(condition=models.Q(('ended_at', None)), fields=('project', 'test', 'name'), name='left_out_once')],
            },
        ),
        migrations.CreateModel(
            name='ProductUser',
            fields=[
                ('id', models.UUIDField(default=redpen.accounts.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False)),
                ('test', models.BooleanField()),
                ('name', models.CharField(help_text='as in external_user', max_length=200)),
                ('due', models.PositiveIntegerField(db_default=0, default=0, help_text='how often news came since the last judging')),
                ('shown', models.PositiveIntegerField(db_default=0, default=0, help_text='answers')),
                ('reacted', models.PositiveIntegerField(db_default=0, default=0, help_text='answers reacted to, in any way')),
                ('tapped', models.JSONField(db_default=models.Value({}, models.JSONField()), default=dict, help_text='{kind: answers}')),
                ('versions', models.JSONField(db_default=models.Value({}, models.JSONField()), default=dict, help_text='{model: [shown, good, bad]}')),
                ('first_at', models.DateTimeField(help_text='the hour of the first exposure', null=True)),
                ('last_at', models.DateTimeField(help_text='the hour in which the latest exposure began', null=True)),
                ('said', django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=32), db_default=[], default=list, help_text='digests of texts, again and again', size=None)),
                ('caps', models.JSONField(db_default=models.Value({}, models.JSONField()), default=dict, help_text='{model: id of the last answer with which the user counts}')),
                ('score', models.FloatField(db_default=0.0, default=0)),
                ('reasons', models.JSONField(db_default=models.Value([], models.JSONField()), default=list)),
                ('left_out', models.BooleanField(db_default=False, default=False)),
                ('decided_at', models.DateTimeField(help_text='set: a person decided; null: automatic', null=True)),
                ('judged_at', models.DateTimeField(null=True)),
                ('decided_by', models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('project', models.ForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='accounts.project')),
            ],
            options={
                'indexes': [models.Index(condition=models.Q(('due__gt', 0)), fields=['project', 'test'], name='product_user_due'), models.Index(fields=['project', 'test', '-score', 'name'], name='product_user_by_score'), models.Index(fields=['project', 'test', '-shown', 'name'], name='product_user_by_shown'), models.Index(models.F('project'), models.F('test'), models.OrderBy(models.F('last_at'), descending=True, nulls_last=True), models.F('name'), name='product_user_by_time'), models.Index(condition=models.Q(('left_out', True)), fields=['project', 'test', '-score', 'name'], name='product_user_left_out'), django.contrib.postgres.indexes.GinIndex(fields=['said'], name='product_user_said')],
                'constraints': [models.UniqueConstraint(fields=('project', 'id'), name='productuser_in_project'), models.UniqueConstraint(fields=('project', 'test', 'name'), name='product_user_once'), models.CheckConstraint(condition=models.Q(('score__gte', 0), ('score__lte', 1)), name='product_user_score_is_a_share')],
            },
        ),
    ]
