"""Users of a product, by the names that the product gives them: what they did, and whether they are believed."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from annotation.models.base import ProjectRow, unique_in_project
from annotation.models.reactions import loose
from redpen.accounts.models import Project, User


class HonestyCursor(models.Model):
    """One row: whoever did something in a transaction before `done` is due to be judged, or was."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    done = models.BigIntegerField(default=0)


class ProductUser(ProjectRow):
    """Made and judged by `annotation.actions.judging`; a person's decision is `annotation.actions.honesty`'s.

    Once `decided_at` is set, `left_out` is what a person said and the judging leaves it alone.
    """

    project = loose(Project, on_delete=models.CASCADE)
    test = models.BooleanField()
    name = models.CharField(max_length=200, help_text="as in external_user")
    due = models.PositiveIntegerField(default=0, db_default=0, help_text="how often news came since the last judging")
    shown = models.PositiveIntegerField(default=0, db_default=0, help_text="answers")
    reacted = models.PositiveIntegerField(default=0, db_default=0, help_text="answers reacted to, in any way")
    tapped = models.JSONField(
        default=dict, db_default=models.Value({}, models.JSONField()), help_text="{kind: answers}"
    )
    versions = models.JSONField(
        default=dict, db_default=models.Value({}, models.JSONField()), help_text="{model: [shown, good, bad]}"
    )
    first_at = models.DateTimeField(null=True, help_text="the hour of the first exposure")
    last_at = models.DateTimeField(null=True, help_text="the hour in which the latest exposure began")
    said = ArrayField(
        models.CharField(max_length=32), default=list, db_default=[], help_text="digests of texts, again and again"
    )
    caps = models.JSONField(
        default=dict,
        db_default=models.Value({}, models.JSONField()),
        help_text="{model: id of the last answer with which the user counts}",
    )
    score = models.FloatField(default=0, db_default=0.0)
    reasons = models.JSONField(default=list, db_default=models.Value([], models.JSONField()))
    left_out = models.BooleanField(default=False, db_default=False)
    decided_by = models.ForeignKey(User, null=True, on_delete=models.PROTECT, related_name="+")
    decided_at = models.DateTimeField(null=True, help_text="set: a person decided; null: automatic")
    judged_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            unique_in_project(),
            # also how the counting asks whether somebody is believed
            models.UniqueConstraint(fields=["project", "test", "name"], name="product_user_once"),
            models.CheckConstraint(condition=Q(score__gte=0, score__lte=1), name="product_user_score_is_a_share"),
        ]
        indexes = [
            models.Index(fields=["project", "test"], condition=Q(due__gt=0), name="product_user_due"),
            # the list, by each of its orders; `name` makes every order total
            models.Index(fields=["project", "test", "-score", "name"], name="product_user_by_score"),
            models.Index(fields=["project", "test", "-shown", "name"], name="product_user_by_shown"),
            models.Index(
                F("project"), F("test"), F("last_at").desc(nulls_last=True), F("name"), name="product_user_by_time"
            ),
            models.Index(
                fields=["project", "test", "-score", "name"], condition=Q(left_out=True), name="product_user_left_out"
            ),
            GinIndex(fields=["said"], name="product_user_said"),  # who else wrote this
        ]


class LeftOut(models.Model):
    """From when until when a user was left out: a snapshot of last week stays what it was, whatever is found today."""

    project = loose(Project, on_delete=models.CASCADE)
    test = models.BooleanField()
    name = models.CharField(max_length=200)
    since = models.DateTimeField(db_default=Now())
    ended_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["project", "test", "name"], condition=Q(ended_at=None), name="left_out_once"
            )
        ]
        indexes = [models.Index(fields=["project", "test", "name"], name="left_out_of_user")]  # snapshots
