"""Files that people upload: a row is the truth, the worker on the `default` queue does the work."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from annotation.models.base import ProjectRow, unique_in_project
from redpen.accounts.models import User


class ImportJob(ProjectRow):
    class State(models.TextChoices):
        QUEUED = "queued", "queued"
        RUNNING = "running", "running"
        FAILED = "failed", "failed"
        DONE = "done", "done"

    format = models.CharField(max_length=40)
    filename = models.CharField(max_length=200)
    path = models.CharField(max_length=300, help_text="below DATA_DIR")
    dry_run = models.BooleanField(default=False)
    ask = models.BooleanField(default=True, help_text="ask people about answers of which nothing is said in the file")
    state = models.CharField(max_length=8, choices=State.choices, default=State.QUEUED)
    report = models.JSONField(default=dict, help_text="taken, repeated, skipped and why, by line")
    error = models.TextField(blank=True)
    created_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    lease_expires_at = models.DateTimeField(null=True)
    attempt = models.PositiveIntegerField(default=0)
    ended_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            unique_in_project(),
            models.CheckConstraint(
                condition=Q(state__in=["queued", "running", "failed", "done"]), name="import_state_known"
            ),
        ]
        indexes = [
            # the sweeper: what the bell missed
            models.Index(
                fields=["state", "lease_expires_at"], condition=Q(state__in=["queued", "running"]), name="import_due"
            ),
        ]
