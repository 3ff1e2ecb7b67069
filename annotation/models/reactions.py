"""What users of a product do with an answer. The kinds are the project's own rows; `shown` is built in."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from annotation.models.base import ProjectRow, unique_in_project
from annotation.models.prompts import Response
from annotation.models.records import FeedbackRecord, record_constraints
from redpen.accounts.tenancy import SameProject


class ReactionKind(ProjectRow):
    key = models.SlugField(max_length=40)
    name = models.CharField(max_length=60)
    polarity = models.SmallIntegerField(default=0, help_text="-1, 0 or +1")
    built_in = models.BooleanField(default=False)

    class Meta:
        constraints = [
            unique_in_project(),
            models.UniqueConstraint(fields=["project", "key"], name="reaction_kind_once"),
            models.CheckConstraint(condition=Q(polarity__in=[-1, 0, 1]), name="reaction_kind_polarity_known"),
        ]


class Reaction(FeedbackRecord):
    """A tap, or that the answer was shown. It may name a response that has not come yet: joined when that comes."""

    response = models.ForeignKey(Response, null=True, on_delete=models.CASCADE, related_name="reactions")
    response_external_id = models.CharField(max_length=200, blank=True, help_text="the caller's id of the response")
    kind = models.ForeignKey(ReactionKind, on_delete=models.RESTRICT, related_name="+")
    external_user = models.CharField(max_length=200, blank=True, help_text="a pseudonym")
    external_id = models.CharField(max_length=200, null=True, help_text="the caller's id of the event")
    event_at = models.DateTimeField()
    text = models.TextField(blank=True)

    class Meta:
        constraints = [
            *record_constraints("response"),
            SameProject(field="kind", name="reaction_kind_same_project"),
            models.UniqueConstraint(fields=["project", "external_id"], name="reaction_external_id_once"),
            models.UniqueConstraint(
                fields=["response", "kind", "external_user"],
                condition=Q(external_id=None, ended_at=None),
                name="reaction_once_a_user",
            ),
            models.CheckConstraint(
                condition=Q(response__isnull=False) | ~Q(response_external_id=""), name="reaction_names_a_response"
            ),
        ]
        indexes = [
            # joining reactions that came before their response
            models.Index(
                fields=["project", "response_external_id"], condition=Q(response=None), name="reaction_waiting"
            ),
        ]
