"""Phrases that someone found good or bad, and what they rest on."""

from __future__ import annotations

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Length

from annotation.models.base import ProjectRow, unique_in_project
from annotation.models.campaigns import Label, Sentiment
from annotation.models.records import ResponseRecord, record_constraints, record_indexes
from redpen.accounts.tenancy import SameProject


class SpanCritique(ResponseRecord):
    """A phrase of a response, good or bad, and why. Empty (start = end): something is missing here.

    Offsets are half-open and count code points of the part's stored text. That `quote` stands there is checked by the
    action (in words) and, for the final text, by a trigger (migration 0002).
    """

    start = models.PositiveIntegerField(help_text="code points from the start of the stored text")
    end = models.PositiveIntegerField(help_text="exclusive")
    quote = models.TextField(blank=True)
    sentiment = models.SmallIntegerField(choices=Sentiment.choices)
    severity = models.PositiveSmallIntegerField(default=2, help_text="1 slight, 2 plain, 3 grave")
    label = models.ForeignKey(Label, null=True, on_delete=models.RESTRICT, related_name="+")
    critique = models.TextField(blank=True)
    replacement = models.TextField(null=True, help_text="how it should read; empty: strike it")
    group = models.UUIDField(null=True, help_text="joins the parts of a broken-up phrase")

    class Meta:
        constraints = [
            *record_constraints("response"),
            SameProject(field="label", name="span_label_same_project"),
            models.CheckConstraint(condition=Q(end__gte=F("start")), name="span_runs_forwards"),
            models.CheckConstraint(condition=Q(end=F("start") + Length("quote")), name="span_quote_fills_its_offsets"),
            models.CheckConstraint(condition=Q(sentiment__in=Sentiment.values), name="span_sentiment_known"),
            models.CheckConstraint(condition=Q(severity__gte=1, severity__lte=3), name="span_severity_1_to_3"),
        ]
        indexes = [
            *record_indexes(),
            # the live marks on an answer, in reading order
            models.Index(fields=["response", "start"], condition=Q(ended_at=None), name="span_live_on_response"),
        ]


class Evidence(ProjectRow):
    """What a span rests on: a passage of the prompt's context, or a phrase of it."""

    span = models.ForeignKey(SpanCritique, on_delete=models.CASCADE, related_name="evidence")
    passage = models.CharField(max_length=200, help_text="the passage's id in the prompt's context")
    sentences = models.JSONField(default=list, help_text="indexes of its sentences, where the source counts those")
    start = models.PositiveIntegerField(null=True, help_text="code points of the passage's text")
    end = models.PositiveIntegerField(null=True)
    quote = models.TextField(blank=True)

    class Meta:
        constraints = [
            unique_in_project(),
            SameProject(field="span", name="evidence_span_same_project"),
            models.CheckConstraint(
                condition=Q(start=None, end=None) | Q(end=F("start") + Length("quote")),
                name="evidence_quote_fills_its_offsets",
            ),
        ]
