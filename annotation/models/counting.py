"""What is counted of the live intake. All of it is made from the records and can be made again (`manage.py recount`).

`annotation.actions.counting` is the only writer. It runs one pass at a time, so none of these rows is ever contended.
"""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from annotation.models.prompts import Response
from annotation.models.reactions import Reaction, ReactionKind, loose
from redpen.accounts.models import Project


class CountingCursor(models.Model):
    """One row: every event written by a transaction before `done` has been counted."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    done = models.BigIntegerField(default=0, help_text="the first transaction that may not be counted yet")
    counted_at = models.DateTimeField(db_default=Now(), help_text="when the last pass that found something ended")
    misplaced = models.BigIntegerField(default=0, help_text="marked phrases that do not stand in their answers")


class ProjectCount(models.Model):
    """With which slices a project is counted, and how far counting it anew has come."""

    project = models.OneToOneField(Project, primary_key=True, on_delete=models.CASCADE, related_name="+")
    slices = ArrayField(models.CharField(max_length=60), default=list)
    after = models.UUIDField(null=True, help_text="counted anew up to this reaction; null: all of them")


class Exposure(models.Model):
    """That a user has seen an answer, and what was counted for it: it is uncounted by this, whatever changed since.

    `response` may be gone: `recount_users` and `recount_answers` take out what was erased.
    """

    pk = models.CompositePrimaryKey("response_id", "external_user")
    response = loose(Response, on_delete=models.DO_NOTHING)
    external_user = models.CharField(max_length=200)
    project = loose(Project, on_delete=models.CASCADE)
    test = models.BooleanField()
    left_out = models.BooleanField(help_text="the user is not believed")
    at = models.DateTimeField(help_text="the hour of the first event")
    model = models.CharField(max_length=200, blank=True)
    slices = models.JSONField(help_text="{name: value}")
    kinds = ArrayField(models.UUIDField(), help_text="kinds of reactions that count, sorted; `shown` is the row itself")

    class Meta:
        indexes = [
            models.Index(fields=["project", "external_user", "response"], name="exposure_of_user"),  # recount_users
        ]


class Grain(models.TextChoices):
    HOUR = "hour", "hour"
    DAY = "day", "day"


class RateCell(models.Model):
    """How many exposures of one kind of answer began in one hour or day (`kind` null), and how many had a reaction."""

    project = loose(Project, on_delete=models.CASCADE)
    test = models.BooleanField()
    grain = models.CharField(max_length=4, choices=Grain.choices)
    slice = models.CharField(max_length=60, blank=True, help_text="'' all, 'language', 'model_version', a metadata key")
    at = models.DateTimeField()
    left_out = models.BooleanField()
    model = models.CharField(max_length=200, blank=True)
    value = models.CharField(max_length=100, blank=True, help_text="of the slice")
    kind = loose(ReactionKind, null=True, on_delete=models.RESTRICT)
    n = models.IntegerField()

    class Meta:
        constraints = [
            # also the index of every rate: project, test, grain, slice and a range of times
            models.UniqueConstraint(
                fields=["project", "test", "grain", "slice", "at", "left_out", "model", "value", "kind"],
                nulls_distinct=False,
                name="rate_cell_once",
            ),
            models.CheckConstraint(condition=Q(grain__in=Grain.values), name="rate_cell_grain_known"),
        ]


class LiveEvent(models.Model):
    """One line of the Live page: a reaction that counts, with all that the page filters by."""

    reaction = models.OneToOneField(
        Reaction, primary_key=True, db_constraint=False, on_delete=models.CASCADE, related_name="live"
    )
    project = loose(Project, on_delete=models.CASCADE)
    test = models.BooleanField()
    tap = models.BooleanField(help_text="the user did something; false: the answer was shown")
    at = models.DateTimeField(help_text="when it happened")
    kind = loose(ReactionKind, on_delete=models.RESTRICT)
    external_user = models.CharField(max_length=200, blank=True)
    response = loose(Response, null=True, on_delete=models.DO_NOTHING)
    model = models.CharField(max_length=200, blank=True)

    class Meta:
        indexes = [  # each filter of the page walks down one of these and stops when the page is full
            models.Index(fields=["project", "test", "-at", "-reaction"], name="live_newest"),
            models.Index(
                fields=["project", "test", "-at", "-reaction"], condition=Q(tap=True), name="live_newest_taps"
            ),
            models.Index(fields=["project", "test", "kind", "-at", "-reaction"], name="live_of_kind"),
            models.Index(fields=["project", "test", "model", "-at", "-reaction"], name="live_of_model"),
            models.Index(
                fields=["project", "test", "model", "kind", "-at", "-reaction"], name="live_of_model_and_kind"
            ),
            models.Index(fields=["project", "external_user", "-at", "-reaction"], name="live_of_user"),
            models.Index(fields=["project", "test", "-reaction"], name="live_arrived"),  # "3 new"
        ]


class LiveSlice(models.Model):
    """A value of a slice that a line of the Live page has; none where the answer does not say it."""

    pk = models.CompositePrimaryKey("reaction_id", "name")
    reaction = loose(Reaction, on_delete=models.CASCADE)
    name = models.CharField(max_length=60)
    project = loose(Project, on_delete=models.CASCADE)
    test = models.BooleanField()
    value = models.CharField(max_length=100)
    at = models.DateTimeField()

    class Meta:
        indexes = [
            models.Index(fields=["project", "test", "name", "value", "-at", "-reaction"], name="live_of_slice"),
        ]
