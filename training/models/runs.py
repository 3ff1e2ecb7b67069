"""Runs: the row is the truth, Celery and Redis are only the bell."""

from __future__ import annotations

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from annotation.models.base import ProjectRow, unique_in_project
from redpen.accounts.models import User
from redpen.accounts.tenancy import SameProject
from training.models.registry import BaseModel, ModelVersion
from training.models.snapshots import Snapshot


class RunState(models.TextChoices):
    QUEUED = "queued", "queued"
    RUNNING = "running", "running"
    WAITING = "waiting", "waiting"
    PAUSED = "paused", "paused"
    CANCELLING = "cancelling", "cancelling"
    CANCELLED = "cancelled", "cancelled"
    FAILED = "failed", "failed"
    SUCCEEDED = "succeeded", "succeeded"


ENDED = (RunState.CANCELLED, RunState.FAILED, RunState.SUCCEEDED)
HELD = (RunState.RUNNING, RunState.CANCELLING)


class Run(ProjectRow):
    """One training. `attempt` is the fence: every write of a worker names it, and a stale one changes nothing.

    A trigger (migrations 0002 and 0005) refuses state changes that are not in the table of `training.actions.states`.
    """

    number = models.PositiveIntegerField(help_text="counts up in the project")
    recipe = models.CharField(max_length=60)
    name = models.CharField(max_length=120, blank=True)
    config = models.JSONField(default=dict, help_text="validated by the recipe's own config class")
    preset = models.CharField(max_length=20, blank=True)
    seed = models.PositiveIntegerField(default=0)
    state = models.CharField(max_length=12, choices=RunState.choices, default=RunState.QUEUED)
    base_model = models.ForeignKey(BaseModel, on_delete=models.PROTECT, related_name="+")
    snapshot = models.ForeignKey(Snapshot, null=True, on_delete=models.PROTECT, related_name="runs")
    produced = models.OneToOneField(ModelVersion, null=True, on_delete=models.PROTECT, related_name="run")
    after = models.ManyToManyField(
        "self", symmetrical=False, related_name="followers", help_text="a chain's earlier runs"
    )
    again_of = models.ForeignKey(
        "self",
        null=True,
        on_delete=models.CASCADE,
        related_name="again",
        help_text="the ended run that this one repeats",
    )
    attempt = models.PositiveIntegerField(default=0)
    attempts_allowed = models.PositiveSmallIntegerField(default=3)
    due_at = models.DateTimeField(db_default=Now(), help_text="when a worker may take it")
    lease_expires_at = models.DateTimeField(null=True, help_text="by Postgres' clock")
    worker = models.CharField(max_length=120, blank=True)
    step = models.PositiveIntegerField(default=0)
    total_steps = models.PositiveIntegerField(default=0)
    failure = models.JSONField(null=True, help_text="{code, message, action}: what a person can do about it")
    created_by = models.ForeignKey(User, null=True, on_delete=models.PROTECT, related_name="+")
    client_key = models.CharField(max_length=100, null=True, help_text="a double click starts one run")
    started_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            unique_in_project(),
            SameProject(field="snapshot", name="run_snapshot_same_project"),
            SameProject(field="produced", name="run_produced_same_project"),
            SameProject(field="again_of", name="run_again_of_same_project"),
            models.UniqueConstraint(fields=["project", "number"], name="run_number_once"),
            models.UniqueConstraint(fields=["project", "client_key"], name="run_client_key_once"),
            models.CheckConstraint(condition=Q(state__in=RunState.values), name="run_state_known"),
            models.CheckConstraint(
                condition=Q(state__in=HELD, lease_expires_at__isnull=False)
                | (~Q(state__in=HELD) & Q(lease_expires_at=None)),
                name="run_held_with_a_lease",
            ),
            models.CheckConstraint(
                condition=Q(state__in=ENDED, ended_at__isnull=False) | (~Q(state__in=ENDED) & Q(ended_at=None)),
                name="run_ended_at_a_time",
            ),
            models.CheckConstraint(
                condition=~Q(state="failed") | Q(failure__isnull=False), name="run_failed_for_a_reason"
            ),
            models.CheckConstraint(condition=Q(attempt__lte=F("attempts_allowed")), name="run_attempts_counted"),
        ]
        indexes = [
            # the sweeper and the workers: what is due, what has lapsed
            models.Index(
                fields=["state", "due_at"], condition=Q(state__in=["queued", "running", "cancelling"]), name="run_due"
            ),
        ]

    def __str__(self) -> str:
        return self.name or f"Run {self.number}"


class RunInput(ProjectRow):
    """A model that a run starts from or is scored by."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="inputs")
    kind = models.CharField(max_length=24)
    model_version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="used_by")

    class Meta:
        constraints = [
            unique_in_project(),
            SameProject(field="run", name="run_input_run_same_project"),
            SameProject(field="model_version", name="run_input_model_same_project"),
            models.UniqueConstraint(fields=["run", "kind"], name="run_input_once_a_kind"),
        ]


class RunEvent(ProjectRow):
    """A line that the child wrote: metrics, log, sample, error ... (run, attempt, seq) makes streaming repeatable."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="events")
    attempt = models.PositiveIntegerField()
    seq = models.PositiveIntegerField()
    type = models.CharField(max_length=16)
    step = models.PositiveIntegerField(null=True)
    data = models.JSONField(default=dict)
    at = models.DateTimeField()

    class Meta:
        constraints = [
            unique_in_project(),
            SameProject(field="run", name="run_event_same_project"),
            models.UniqueConstraint(fields=["run", "attempt", "seq"], name="run_event_once"),
        ]
        indexes = [
            # the chart and the log of a run, from where the page left off
            models.Index(fields=["run", "type", "attempt", "seq"], name="run_event_by_type"),
        ]
