"""A frozen query of records: what a run reads instead of live tables."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from annotation.models.base import ProjectRow, unique_in_project
from redpen.accounts.models import User


class Snapshot(ProjectRow):
    class State(models.TextChoices):
        BUILDING = "building", "building"
        READY = "ready", "ready"
        FAILED = "failed", "failed"

    name = models.CharField(max_length=120)
    query = models.JSONField(help_text="what was asked for: kinds, filters, and the moment up to which records count")
    state = models.CharField(max_length=10, choices=State.choices, default=State.BUILDING)
    content_hash = models.CharField(max_length=64, blank=True, help_text="sha256 over the rows' own hashes, in order")
    path = models.CharField(max_length=300, blank=True, help_text="folder below DATA_DIR")
    counts = models.JSONField(default=dict, help_text="rows by split, records by kind")
    error = models.TextField(blank=True)
    erased = models.JSONField(default=list, help_text="[{at, rows, was}]: rows that went, and the hash before")
    created_by = models.ForeignKey(User, null=True, on_delete=models.PROTECT, related_name="+")

    class Meta:
        constraints = [
            unique_in_project(),
            models.CheckConstraint(condition=Q(state__in=["building", "ready", "failed"]), name="snapshot_state_known"),
            models.CheckConstraint(
                condition=~Q(state="ready") | ~Q(content_hash="", path=""), name="snapshot_ready_has_content"
            ),
        ]

    def __str__(self) -> str:
        return self.name
