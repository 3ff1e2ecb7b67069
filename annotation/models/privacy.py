"""What was erased on demand: who asked, what went, and what had learned from it."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from annotation.models.base import ProjectRow, unique_in_project
from redpen.accounts.models import User


class Erasure(ProjectRow):
    """One user of a product, erased. The rows went in the transaction that wrote this; files follow, and until they
    have, `gone` says what to look for in them: it is emptied then.
    """

    who = models.CharField(max_length=64, help_text="keyed hash of the user, as in the ledger")
    until = models.DateTimeField(help_text="what came later is a new story")
    asked_by = models.ForeignKey(User, null=True, on_delete=models.PROTECT, related_name="+")
    agent = models.CharField(max_length=120, blank=True)
    counts = models.JSONField(default=dict, help_text="{kind: rows that went}")
    gone = models.JSONField(default=dict, help_text="{ids, texts}, for the files; empty when all is done")
    report = models.JSONField(default=dict, help_text="snapshots, runs and models that had learned from it")
    waits_for = models.CharField(max_length=200, blank=True)
    done_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            unique_in_project(),
            models.CheckConstraint(condition=Q(done_at=None) | Q(gone={}), name="erasure_forgets_when_done"),
        ]
        indexes = [
            models.Index(fields=["id"], condition=Q(done_at=None), name="erasure_due"),  # the sweeper
        ]
