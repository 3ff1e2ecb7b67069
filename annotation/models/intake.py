"""How a project takes in what its product sends, and what has come under an Idempotency-Key."""

from __future__ import annotations

import secrets

from django.contrib.postgres.fields import ArrayField
from django.db import models

from annotation.models.base import ProjectRow
from redpen.accounts.models import Project


def new_secret() -> str:
    return secrets.token_hex(32)


class IntakeSettings(models.Model):
    """One row a project, made on first use; the intake reads it again every few seconds."""

    project = models.OneToOneField(Project, primary_key=True, on_delete=models.CASCADE, related_name="+")
    hash_users = models.BooleanField(default=False, db_default=False, help_text="keep a keyed hash of users' names")
    user_secret = models.CharField(max_length=64, default=new_secret, editable=False)
    redact = ArrayField(models.CharField(max_length=40), default=list, help_text="patterns of annotation.redaction")
    slices = ArrayField(
        models.CharField(max_length=60), default=list, help_text="metadata keys of responses that rates are split by"
    )
    retention_days = models.JSONField(default=dict, help_text="{kind of record: days}; nothing named stays for good")
    leave_out = models.BooleanField(
        default=True,
        db_default=True,
        help_text="users whose reactions are not believed stay out of rates and snapshots",
    )


class KeyedRequest(ProjectRow):
    """A request that came with an Idempotency-Key: the same key must bring the same body."""

    test = models.BooleanField()
    operation = models.CharField(max_length=40)
    key = models.CharField(max_length=100)
    body = models.UUIDField(help_text="digest of the body")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "test", "operation", "key"], name="keyed_request_once")
        ]
        indexes = [models.Index(fields=["created_at"], name="keyed_request_by_age")]  # the clean-up


class IntakeCount(models.Model):
    """What became of what was sent in one hour: each item counted once. Written every few seconds, so a crash of the
    web process loses the last of them; the records themselves it cannot lose.
    """

    class Outcome(models.TextChoices):
        STORED = "stored", "stored"
        REPEATED = "repeated", "here already"
        REFUSED = "refused", "refused"
        LIMITED = "limited", "turned away for now"
        DROPPED = "dropped", "dropped by the client, as it reports"

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="+")
    test = models.BooleanField()
    hour = models.DateTimeField()
    operation = models.CharField(max_length=20)
    outcome = models.CharField(max_length=10, choices=Outcome.choices)
    code = models.CharField(max_length=60, blank=True, help_text="of the problem, where there was one")
    count = models.PositiveBigIntegerField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["project", "test", "hour", "operation", "outcome", "code"], name="intake_count_once"
            )
        ]
