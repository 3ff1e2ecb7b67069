"""Comparisons of recipes, and evaluations as something that runs make."""

import django.db.models.deletion
import django.db.models.functions.datetime
import redpen.accounts.ids
import redpen.accounts.tenancy
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0003_sign_in_attempts_and_audit_filters'),
        ('training', '0003_more_kinds_of_models'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='Comparison',
            fields=[
                ('id', models.UUIDField(default=redpen.accounts.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False)),
                ('number', models.PositiveIntegerField(help_text='counts up in the project')),
                ('name', models.CharField(blank=True, max_length=120)),
                ('options', models.JSONField(default=dict, help_text='validated by training.compare.options.Options')),
                ('client_key', models.CharField(help_text='a double click starts one comparison', max_length=100, null=True)),
                ('cancelled_at', models.DateTimeField(help_text='set while somebody wants it to stand still', null=True)),
            ],
        ),
        migrations.CreateModel(
            name='Trial',
            fields=[
                ('id', models.UUIDField(default=redpen.accounts.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False)),
                ('place', models.CharField(help_text='as grpo/2/policy: what is compared, the seed, the part', max_length=160)),
                ('subject', models.CharField(help_text='the recipe that is compared; of a judge, its own', max_length=60)),
                ('part', models.CharField(choices=[('judge', 'judge'), ('policy', 'policy'), ('evaluation', 'evaluation')], max_length=12)),
                ('seed', models.PositiveIntegerField(help_text='none: the model that all start from', null=True)),
            ],
        ),
        migrations.RemoveConstraint(
            model_name='modelversion',
            name='model_kind_known',
        ),
        migrations.AlterField(
            model_name='modelversion',
            name='kind',
            field=models.CharField(choices=[('span_reward_model', 'span reward model'), ('reward_model', 'reward model'), ('segment_reward_model', 'segment reward model'), ('preference_model', 'preference model'), ('critique_model', 'critique model'), ('critic', 'critic'), ('policy', 'policy'), ('evaluation', 'evaluation')], max_length=24),
        ),
        migrations.AddConstraint(
            model_name='modelversion',
            constraint=models.CheckConstraint(condition=models.Q(('kind__in', ['span_reward_model', 'reward_model', 'segment_reward_model', 'preference_model', 'critique_model', 'critic', 'policy', 'evaluation'])), name='model_kind_known'),
        ),
        migrations.AddField(
            model_name='comparison',
            name='created_by',
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL),
        ),
        migrations.AddField(
            model_name='comparison',
            name='project',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='accounts.project'),
        ),
        migrations.AddField(
            model_name='trial',
            name='comparison',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='trials', to='training.comparison'),
        ),
        migrations.AddField(
            model_name='trial',
            name='project',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='accounts.project'),
        ),
        migrations.AddField(
            model_name='trial',
            name='run',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='trials', to='training.run'),
        ),
        migrations.AddConstraint(
            model_name='comparison',
            constraint=models.UniqueConstraint(fields=('project', 'id'), name='comparison_in_project'),
        ),
        migrations.AddConstraint(
            model_name='comparison',
            constraint=models.UniqueConstraint(fields=('project', 'number'), name='comparison_number_once'),
        ),
        migrations.AddConstraint(
            model_name='comparison',
            constraint=models.UniqueConstraint(fields=('project', 'client_key'), name='comparison_client_key_once'),
        ),
        migrations.AddConstraint(
            model_name='trial',
            constraint=models.UniqueConstraint(fields=('project', 'id'), name='trial_in_project'),
        ),
        migrations.AddConstraint(
            model_name='trial',
            constraint=redpen.accounts.tenancy.SameProject(field='comparison', name='trial_comparison_same_project'),
        ),
        migrations.AddConstraint(
            model_name='trial',
            constraint=redpen.accounts.tenancy.SameProject(field='run', name='trial_run_same_project'),
        ),
        migrations.AddConstraint(
            model_name='trial',
            constraint=models.UniqueConstraint(fields=('comparison', 'place'), name='trial_place_once'),
        ),
        migrations.AddConstraint(
            model_name='trial',
            constraint=models.CheckConstraint(condition=models.Q(('part__in', ['judge', 'policy', 'evaluation'])), name='trial_part_known'),
        ),
    ]
