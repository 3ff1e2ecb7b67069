"""What people say to each other and to the campaign. Never training data."""

from __future__ import annotations

from django.db import models

from annotation.models.records import ResponseRecord, record_constraints, record_indexes


class Comment(ResponseRecord):
    """Talk between people about an answer, or about one mark on it."""

    text = models.TextField()
    about = models.UUIDField(null=True, help_text="the lineage of the record it is about")
    resolved_at = models.DateTimeField(null=True)

    class Meta:
        constraints = record_constraints("response")


class Skip(ResponseRecord):
    """Why somebody left a task."""

    reason = models.CharField(max_length=60)
    text = models.TextField(blank=True)

    class Meta:
        constraints = record_constraints("response")


class Report(ResponseRecord):
    """Something about the answer that an admin must see."""

    reason = models.CharField(max_length=60)
    text = models.TextField(blank=True)

    class Meta:
        indexes = record_indexes()
        constraints = record_constraints("response")
