"""Runs make three more kinds of models: a reward model of segments, one of pairs, and one that writes critiques."""

from django.db import migrations, models

KINDS = [
    ("span_reward_model", "span reward model"),
    ("reward_model", "reward model"),
    ("segment_reward_model", "segment reward model"),
    ("preference_model", "preference model"),
    ("critique_model", "critique model"),
    ("critic", "critic"),
    ("policy", "policy"),
]


class Migration(migrations.Migration):
    dependencies = [("training", "0002_run_state_machine")]

    operations = [
        migrations.RemoveConstraint(model_name="modelversion", name="model_kind_known"),
        migrations.AlterField(
            model_name="modelversion", name="kind", field=models.CharField(choices=KINDS, max_length=24)
        ),
        migrations.AddConstraint(
            model_name="modelversion",
            constraint=models.CheckConstraint(
                condition=models.Q(("kind__in", [kind for kind, _ in KINDS])), name="model_kind_known"
            ),
        ),
    ]
