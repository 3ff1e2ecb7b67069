"""What all feedback records share: who said it, when, being asked what, and how it ended.

A record is never overwritten. An edit adds a version to the same lineage and ends the one before (`superseded`); a
deletion ends it (`retracted`). A trigger refuses any other change (migration 0002).
"""

from __future__ import annotations

from typing import Any

from django.db import models
from django.db.models import Q

from annotation.models.base import ProjectRow, unique_in_project
from annotation.models.campaigns import Assignment, CampaignVersion
from annotation.models.prompts import Origin, Response
from redpen.accounts.models import User
from redpen.accounts.tenancy import SameProject


class EndReason(models.TextChoices):
    SUPERSEDED = "superseded", "superseded"
    RETRACTED = "retracted", "retracted"


class PrefillOutcome(models.TextChoices):
    KEPT = "kept", "kept"
    MENDED = "mended", "mended"
    REFUSED = "refused", "refused"


class Act(ProjectRow):
    """One gesture that made several records: a rewrite with its spans and its preference."""

    kind = models.CharField(max_length=40)
    author = models.ForeignKey(User, null=True, on_delete=models.PROTECT, related_name="+")
    agent = models.CharField(max_length=120, blank=True)

    class Meta:
        constraints = [unique_in_project()]


class FeedbackRecord(ProjectRow):
    """The base of every kind of feedback. Live records have no `ended_at`."""

    origin = models.CharField(max_length=8, choices=Origin.choices, default=Origin.HUMAN)
    author = models.ForeignKey(User, null=True, on_delete=models.PROTECT, related_name="+")
    agent = models.CharField(
        max_length=120, blank=True, help_text="who said it where no user did: sim:ines, import:..."
    )
    said_at = models.DateTimeField(null=True, help_text="when it was said, where that was before it arrived")
    campaign_version = models.ForeignKey(CampaignVersion, null=True, on_delete=models.RESTRICT, related_name="+")
    assignment = models.ForeignKey(Assignment, null=True, on_delete=models.RESTRICT, related_name="%(class)ss")
    act = models.ForeignKey(Act, null=True, on_delete=models.SET_NULL, related_name="+")
    client_key = models.CharField(
        max_length=100, null=True, help_text="the writer's key: a repeated write adds nothing"
    )
    prefill = models.JSONField(null=True, help_text="what was pre-filled, and by which model")
    prefill_outcome = models.CharField(max_length=8, choices=PrefillOutcome.choices, blank=True)
    external_user = models.CharField(
        max_length=200, blank=True, default="", db_default="", help_text="a product's user who said it: a pseudonym"
    )
    test = models.BooleanField(default=False, db_default=False, help_text="written by a test key: never trained on")
    metadata = models.JSONField(default=dict)
    lineage = models.UUIDField(editable=False, help_text="the id of the first version")
    version = models.PositiveIntegerField(default=1, editable=False)
    ended_at = models.DateTimeField(null=True, editable=False)
    ended_by = models.ForeignKey(User, null=True, editable=False, on_delete=models.PROTECT, related_name="+")
    end_reason = models.CharField(max_length=12, choices=EndReason.choices, blank=True, editable=False)

    class Meta:
        abstract = True

    def save(self, *args: Any, **kwargs: Any) -> None:
        self.lineage = self.lineage or self.id
        super().save(*args, **kwargs)


class ResponseRecord(FeedbackRecord):
    """Feedback on one response, or a part of it: `text` (default), `thinking`, `steps/3/observation` ..."""

    response = models.ForeignKey(Response, on_delete=models.CASCADE, related_name="%(class)ss")
    part = models.CharField(max_length=100, default="text")

    class Meta:
        abstract = True


def record_constraints(*targets: str) -> list[models.BaseConstraint]:
    """The constraints that every kind has which people edit; `targets` are its keys to responses or prompts."""
    return [
        unique_in_project(),
        *(SameProject(field=field, name=f"%(class)s_{field}_same_project") for field in targets),
        SameProject(field="campaign_version", name="%(class)s_version_same_project"),
        SameProject(field="assignment", name="%(class)s_assignment_same_project"),
        SameProject(field="act", name="%(class)s_act_same_project"),
        models.UniqueConstraint(fields=["project", "client_key"], name="%(class)s_client_key_once"),
        models.UniqueConstraint(fields=["lineage", "version"], name="%(class)s_version_once"),
        models.UniqueConstraint(fields=["lineage"], condition=Q(ended_at=None), name="%(class)s_one_live_version"),
        *checked(),
    ]


def record_indexes() -> list[models.Index]:
    """For what is found of a kind by a product's user, among test data, and among what has ended."""
    return [
        models.Index(
            fields=["project", "external_user", "id"], condition=~Q(external_user=""), name="%(class)s_of_user"
        ),
        models.Index(fields=["project", "id"], condition=Q(test=True), name="%(class)s_test"),
        models.Index(fields=["project", "id"], condition=Q(ended_at__isnull=False), name="%(class)s_ended"),
    ]


def checked() -> list[models.BaseConstraint]:
    """What a row of any kind must say, whoever wrote it."""
    return [
        models.CheckConstraint(condition=Q(origin__in=Origin.values), name="%(class)s_origin_known"),
        models.CheckConstraint(condition=Q(author__isnull=False) | ~Q(agent=""), name="%(class)s_has_someone"),
        models.CheckConstraint(
            condition=Q(ended_at=None, end_reason="") | Q(ended_at__isnull=False, end_reason__in=EndReason.values),
            name="%(class)s_ended_for_a_reason",
        ),
        models.CheckConstraint(
            condition=Q(prefill_outcome="") | Q(prefill__isnull=False, prefill_outcome__in=PrefillOutcome.values),
            name="%(class)s_prefill_outcome_known",
        ),
    ]
