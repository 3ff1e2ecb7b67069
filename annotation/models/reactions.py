"""What users of a product do with an answer. The kinds are the project's own rows; `shown` is built in."""

from __future__ import annotations

from typing import Any

from django.contrib.postgres.functions import RandomUUID
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from annotation.models.base import CurrentTransaction, ProjectRow, unique_in_project
from annotation.models.campaigns import Assignment, CampaignVersion
from annotation.models.prompts import Response
from annotation.models.records import Act, FeedbackRecord, checked
from redpen.accounts.models import Project, User


class ReactionKind(ProjectRow):
    """Never deleted (a trigger), because reactions point at it without a foreign key."""

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


def loose(to: Any, **options: Any) -> Any:
    """A foreign key that the database does not check: see Reaction."""
    return models.ForeignKey(to, db_index=False, db_constraint=False, related_name="+", **options)


class Reaction(FeedbackRecord):
    """One event: a tap, that the answer was shown, or that a tap was taken back. Appended, thousands a second.

    An event comes once: `dedup` is made of the caller's id, or else of answer, user, kind and time
    (`annotation.events`). Events may come in any order; `annotation.actions.standing` ends those that no longer count,
    and the result is the same whatever the order. It may name a response that has not come yet, and is joined when that
    comes.

    Each foreign key costs some microseconds a row and locks what it points at, so there are none. That the answer is
    there is checked by triggers, once for a statement (migration 0012). The others are null by a constraint, or point
    at what is never deleted.
    """

    project = loose(Project, on_delete=models.CASCADE)
    author = loose(User, null=True, on_delete=models.PROTECT)
    campaign_version = loose(CampaignVersion, null=True, on_delete=models.RESTRICT)
    assignment = loose(Assignment, null=True, on_delete=models.RESTRICT)
    act = loose(Act, null=True, on_delete=models.SET_NULL)
    ended_by = loose(User, null=True, editable=False, on_delete=models.PROTECT)
    kind = loose(ReactionKind, on_delete=models.RESTRICT)
    response = models.ForeignKey(
        Response, null=True, db_index=False, db_constraint=False, on_delete=models.CASCADE, related_name="reactions"
    )
    response_external_id = models.CharField(max_length=200, blank=True, help_text="the caller's id of the response")
    external_id = models.CharField(max_length=200, null=True, help_text="the caller's id of the event")
    event_at = models.DateTimeField(db_default=Now())
    retracts = models.BooleanField(default=False, db_default=False, help_text="takes the tap back")
    text = models.TextField(blank=True)
    spans = models.JSONField(null=True, help_text="phrases that the user marked: [{start, end, quote, sentiment, ...}]")
    dedup = models.UUIDField(unique=True, db_default=RandomUUID(), editable=False)
    content = models.UUIDField(null=True, editable=False, help_text="digest of what the caller sent")
    xact = models.BigIntegerField(db_default=CurrentTransaction(), editable=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["project", "client_key"], condition=Q(client_key__isnull=False), name="reaction_client_key_once"
            ),
            *checked(),
            models.CheckConstraint(
                condition=Q(response__isnull=False) | ~Q(response_external_id=""), name="reaction_names_a_response"
            ),
            models.CheckConstraint(
                condition=Q(campaign_version=None, assignment=None, act=None), name="reaction_was_not_asked_for"
            ),
        ]
        # by id upwards, also where newest comes first: read backwards they do as well, and they grow at their end
        indexes = [
            models.Index(fields=["project", "id"], name="reaction_newest"),  # the live page, lists, exports
            models.Index(fields=["response", "external_user"], name="reaction_of_user_on_answer"),  # what counts
            models.Index(fields=["xact"], name="reaction_since"),  # what came since the last count
            models.Index(
                fields=["project", "external_user", "id"], condition=~Q(external_user=""), name="reaction_of_user"
            ),
            # joining reactions that came before their response
            models.Index(
                fields=["project", "response_external_id"], condition=Q(response=None), name="reaction_waiting"
            ),
            # what the API lists: one kind, test data, what does not count any more
            models.Index(fields=["project", "kind", "id"], name="reaction_of_kind"),
            models.Index(fields=["project", "id"], condition=Q(test=True), name="reaction_test"),
            models.Index(fields=["project", "id"], condition=Q(ended_at__isnull=False), name="reaction_ended"),
            models.Index(fields=["author"], condition=Q(author__isnull=False), name="reaction_by_person"),
        ]


class TakenBack(ProjectRow):
    """That one event was taken back, named by its `dedup`; it may not have come yet."""

    event = models.UUIDField(unique=True)
    xact = models.BigIntegerField(db_default=CurrentTransaction(), editable=False)

    class Meta:
        constraints = [unique_in_project()]
        indexes = [models.Index(fields=["xact"], name="taken_back_since")]
