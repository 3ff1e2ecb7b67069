"""Indexes for what the API lists by: docs/api.md names the filters, tests/annotation/test_keyed_plans.py guards them."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("annotation", "0009_privacy")]

    operations = [
        migrations.AddIndex(
            model_name='choice',
            index=models.Index(condition=models.Q(('external_user', ''), _negated=True), fields=['project', 'external_user', 'id'], name='choice_of_user'),
        ),
        migrations.AddIndex(
            model_name='choice',
            index=models.Index(condition=models.Q(('test', True)), fields=['project', 'id'], name='choice_test'),
        ),
        migrations.AddIndex(
            model_name='choice',
            index=models.Index(condition=models.Q(('ended_at__isnull', False)), fields=['project', 'id'], name='choice_ended'),
        ),
        migrations.AddIndex(
            model_name='critique',
            index=models.Index(condition=models.Q(('external_user', ''), _negated=True), fields=['project', 'external_user', 'id'], name='critique_of_user'),
        ),
        migrations.AddIndex(
            model_name='critique',
            index=models.Index(condition=models.Q(('test', True)), fields=['project', 'id'], name='critique_test'),
        ),
        migrations.AddIndex(
            model_name='critique',
            index=models.Index(condition=models.Q(('ended_at__isnull', False)), fields=['project', 'id'], name='critique_ended'),
        ),
        migrations.AddIndex(
            model_name='outcome',
            index=models.Index(condition=models.Q(('external_user', ''), _negated=True), fields=['project', 'external_user', 'id'], name='outcome_of_user'),
        ),
        migrations.AddIndex(
            model_name='outcome',
            index=models.Index(condition=models.Q(('test', True)), fields=['project', 'id'], name='outcome_test'),
        ),
        migrations.AddIndex(
            model_name='outcome',
            index=models.Index(condition=models.Q(('ended_at__isnull', False)), fields=['project', 'id'], name='outcome_ended'),
        ),
        migrations.AddIndex(
            model_name='preference',
            index=models.Index(condition=models.Q(('external_user', ''), _negated=True), fields=['project', 'external_user', 'id'], name='preference_of_user'),
        ),
        migrations.AddIndex(
            model_name='preference',
            index=models.Index(condition=models.Q(('test', True)), fields=['project', 'id'], name='preference_test'),
        ),
        migrations.AddIndex(
            model_name='preference',
            index=models.Index(condition=models.Q(('ended_at__isnull', False)), fields=['project', 'id'], name='preference_ended'),
        ),
        migrations.AddIndex(
            model_name='ranking',
            index=models.Index(condition=models.Q(('external_user', ''), _negated=True), fields=['project', 'external_user', 'id'], name='ranking_of_user'),
        ),
        migrations.AddIndex(
            model_name='ranking',
            index=models.Index(condition=models.Q(('test', True)), fields=['project', 'id'], name='ranking_test'),
        ),
        migrations.AddIndex(
            model_name='ranking',
            index=models.Index(condition=models.Q(('ended_at__isnull', False)), fields=['project', 'id'], name='ranking_ended'),
        ),
        migrations.AddIndex(
            model_name='rating',
            index=models.Index(condition=models.Q(('external_user', ''), _negated=True), fields=['project', 'external_user', 'id'], name='rating_of_user'),
        ),
        migrations.AddIndex(
            model_name='rating',
            index=models.Index(condition=models.Q(('test', True)), fields=['project', 'id'], name='rating_test'),
        ),
        migrations.AddIndex(
            model_name='rating',
            index=models.Index(condition=models.Q(('ended_at__isnull', False)), fields=['project', 'id'], name='rating_ended'),
        ),
        migrations.AddIndex(
            model_name='reaction',
            index=models.Index(fields=['project', 'kind', '-id'], name='reaction_of_kind'),
        ),
        migrations.AddIndex(
            model_name='reaction',
            index=models.Index(condition=models.Q(('test', True)), fields=['project', '-id'], name='reaction_test'),
        ),
        migrations.AddIndex(
            model_name='reaction',
            index=models.Index(condition=models.Q(('ended_at__isnull', False)), fields=['project', '-id'], name='reaction_ended'),
        ),
        migrations.AddIndex(
            model_name='report',
            index=models.Index(condition=models.Q(('external_user', ''), _negated=True), fields=['project', 'external_user', 'id'], name='report_of_user'),
        ),
        migrations.AddIndex(
            model_name='report',
            index=models.Index(condition=models.Q(('test', True)), fields=['project', 'id'], name='report_test'),
        ),
        migrations.AddIndex(
            model_name='report',
            index=models.Index(condition=models.Q(('ended_at__isnull', False)), fields=['project', 'id'], name='report_ended'),
        ),
        migrations.AddIndex(
            model_name='response',
            index=models.Index(condition=models.Q(('model_version__isnull', False)), fields=['project', 'model_version', 'id'], name='response_of_version'),
        ),
        migrations.AddIndex(
            model_name='response',
            index=models.Index(condition=models.Q(('language', ''), _negated=True), fields=['project', 'language', 'id'], name='response_in_language'),
        ),
        migrations.AddIndex(
            model_name='response',
            index=models.Index(condition=models.Q(('test', True)), fields=['project', 'id'], name='response_test'),
        ),
        migrations.AddIndex(
            model_name='rewrite',
            index=models.Index(condition=models.Q(('external_user', ''), _negated=True), fields=['project', 'external_user', 'id'], name='rewrite_of_user'),
        ),
        migrations.AddIndex(
            model_name='rewrite',
            index=models.Index(condition=models.Q(('test', True)), fields=['project', 'id'], name='rewrite_test'),
        ),
        migrations.AddIndex(
            model_name='rewrite',
            index=models.Index(condition=models.Q(('ended_at__isnull', False)), fields=['project', 'id'], name='rewrite_ended'),
        ),
        migrations.AddIndex(
            model_name='spancritique',
            index=models.Index(condition=models.Q(('external_user', ''), _negated=True), fields=['project', 'external_user', 'id'], name='spancritique_of_user'),
        ),
        migrations.AddIndex(
            model_name='spancritique',
            index=models.Index(condition=models.Q(('test', True)), fields=['project', 'id'], name='spancritique_test'),
        ),
        migrations.AddIndex(
            model_name='spancritique',
            index=models.Index(condition=models.Q(('ended_at__isnull', False)), fields=['project', 'id'], name='spancritique_ended'),
        ),
    ]
