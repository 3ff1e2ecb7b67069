"""What is counted of the live intake: exposures, cells of rates, lines of the Live page."""

import django.contrib.postgres.fields
import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0004_api_keys"),
        ("annotation", "0005_what_may_change"),
    ]

    operations = [
        migrations.CreateModel(
            name="CountingCursor",
            fields=[
                ("id", models.PositiveSmallIntegerField(default=1, primary_key=True, serialize=False)),
                (
                    "done",
                    models.BigIntegerField(default=0, help_text="the first transaction that may not be counted yet"),
                ),
                (
                    "counted_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(),
                        help_text="when the last pass that found something ended",
                    ),
                ),
                (
                    "misplaced",
                    models.BigIntegerField(default=0, help_text="marked phrases that do not stand in their answers"),
                ),
            ],
        ),
        migrations.CreateModel(
            name="ProjectCount",
            fields=[
                (
                    "project",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="+",
                        serialize=False,
                        to="accounts.project",
                    ),
                ),
                (
                    "slices",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=60), default=list, size=None
                    ),
                ),
                ("after", models.UUIDField(help_text="counted anew up to this reaction; null: all of them", null=True)),
            ],
        ),
        migrations.CreateModel(
            name="Exposure",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "response_id", "external_user", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("external_user", models.CharField(max_length=200)),
                ("test", models.BooleanField()),
                ("left_out", models.BooleanField(help_text="the user is not believed")),
                ("at", models.DateTimeField(help_text="the hour of the first event")),
                ("model", models.CharField(blank=True, max_length=200)),
                ("slices", models.JSONField(help_text="{name: value}")),
                (
                    "kinds",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.UUIDField(),
                        help_text="kinds of reactions that count, sorted; `shown` is the row itself",
                        size=None,
                    ),
                ),
                (
                    "project",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="accounts.project",
                    ),
                ),
                (
                    "response",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="annotation.response",
                    ),
                ),
            ],
            options={
                "indexes": [models.Index(fields=["project", "external_user", "response"], name="exposure_of_user")],
            },
        ),
        migrations.CreateModel(
            name="LiveEvent",
            fields=[
                (
                    "reaction",
                    models.OneToOneField(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="live",
                        serialize=False,
                        to="annotation.reaction",
                    ),
                ),
                ("test", models.BooleanField()),
                ("tap", models.BooleanField(help_text="the user did something; false: the answer was shown")),
                ("at", models.DateTimeField(help_text="when it happened")),
                ("external_user", models.CharField(blank=True, max_length=200)),
                ("model", models.CharField(blank=True, max_length=200)),
                (
                    "kind",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.RESTRICT,
                        related_name="+",
                        to="annotation.reactionkind",
                    ),
                ),
                (
                    "project",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="accounts.project",
                    ),
                ),
                (
                    "response",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="annotation.response",
                    ),
                ),
            ],
            options={
                "indexes": [
                    models.Index(fields=["project", "test", "-at", "-reaction"], name="live_newest"),
                    models.Index(
                        condition=models.Q(("tap", True)),
                        fields=["project", "test", "-at", "-reaction"],
                        name="live_newest_taps",
                    ),
                    models.Index(fields=["project", "test", "kind", "-at", "-reaction"], name="live_of_kind"),
                    models.Index(fields=["project", "test", "model", "-at", "-reaction"], name="live_of_model"),
                    models.Index(
                        fields=["project", "test", "model", "kind", "-at", "-reaction"], name="live_of_model_and_kind"
                    ),
                    models.Index(fields=["project", "external_user", "-at", "-reaction"], name="live_of_user"),
                    models.Index(fields=["project", "test", "-reaction"], name="live_arrived"),
                ],
            },
        ),
        migrations.CreateModel(
            name="LiveSlice",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "reaction_id", "name", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("name", models.CharField(max_length=60)),
                ("test", models.BooleanField()),
                ("value", models.CharField(max_length=100)),
                ("at", models.DateTimeField()),
                (
                    "project",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="accounts.project",
                    ),
                ),
                (
                    "reaction",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="annotation.reaction",
                    ),
                ),
            ],
            options={
                "indexes": [
                    models.Index(fields=["project", "test", "name", "value", "-at", "-reaction"], name="live_of_slice")
                ],
            },
        ),
        migrations.CreateModel(
            name="RateCell",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("test", models.BooleanField()),
                ("grain", models.CharField(choices=[("hour", "hour"), ("day", "day")], max_length=4)),
                (
                    "slice",
                    models.CharField(
                        blank=True, help_text="'' all, 'language', 'model_version', a metadata key", max_length=60
                    ),
                ),
                ("at", models.DateTimeField()),
                ("left_out", models.BooleanField()),
                ("model", models.CharField(blank=True, max_length=200)),
                ("value", models.CharField(blank=True, help_text="of the slice", max_length=100)),
                ("n", models.IntegerField()),
                (
                    "kind",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.RESTRICT,
                        related_name="+",
                        to="annotation.reactionkind",
                    ),
                ),
                (
                    "project",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="accounts.project",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=("project", "test", "grain", "slice", "at", "left_out", "model", "value", "kind"),
                        name="rate_cell_once",
                        nulls_distinct=False,
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("grain__in", ["hour", "day"])), name="rate_cell_grain_known"
                    ),
                ],
            },
        ),
        # Cells are counted up where they stand: with room on each page their neighbours in time stay their neighbours.
        migrations.RunSQL(
            sql="ALTER TABLE annotation_ratecell SET (fillfactor = 70)",
            reverse_sql="ALTER TABLE annotation_ratecell RESET (fillfactor)",
        ),
    ]
