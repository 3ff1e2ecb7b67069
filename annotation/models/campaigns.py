"""What people are asked to do: campaigns and their versions, labels, tasks, and who holds which task."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from annotation.models.base import ProjectRow, unique_in_project
from annotation.models.prompts import Prompt, Response
from redpen.accounts.models import User
from redpen.accounts.tenancy import SameProject


class Sentiment(models.IntegerChoices):
    BAD = -1, "bad"
    NEUTRAL = 0, "neutral"
    GOOD = 1, "good"


class LabelSet(ProjectRow):
    name = models.CharField(max_length=120)

    class Meta:
        constraints = [
            unique_in_project(),
            models.UniqueConstraint(fields=["project", "name"], name="label_set_name_once"),
        ]

    def __str__(self) -> str:
        return self.name


class Label(ProjectRow):
    """A kind of phrase. Records point at its id, so its name may change; a used label is archived, not deleted."""

    label_set = models.ForeignKey(LabelSet, on_delete=models.CASCADE, related_name="labels")
    key = models.SlugField(max_length=60, help_text="stable, for imports, exports and recipes")
    name = models.CharField(max_length=60)
    description = models.TextField(blank=True)
    sentiment = models.SmallIntegerField(choices=Sentiment.choices, default=Sentiment.BAD)
    shortcut = models.CharField(max_length=1, blank=True, help_text="the key that picks it: 1 to 9")
    position = models.PositiveSmallIntegerField(default=0)
    archived_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["position", "id"]
        constraints = [
            unique_in_project(),
            SameProject(field="label_set", name="label_set_same_project"),
            models.UniqueConstraint(fields=["label_set", "key"], name="label_key_once"),
            models.UniqueConstraint(
                fields=["label_set", "shortcut"],
                condition=~Q(shortcut="") & Q(archived_at=None),
                name="label_shortcut_once",
            ),
            models.CheckConstraint(condition=Q(sentiment__in=Sentiment.values), name="label_sentiment_known"),
        ]

    def __str__(self) -> str:
        return self.name


class Campaign(ProjectRow):
    class State(models.TextChoices):
        OPEN = "open", "open"
        PAUSED = "paused", "paused"
        CLOSED = "closed", "closed"

    name = models.CharField(max_length=120)
    state = models.CharField(max_length=8, choices=State.choices, default=State.OPEN)

    class Meta:
        constraints = [
            unique_in_project(),
            models.UniqueConstraint(fields=["project", "name"], name="campaign_name_once"),
            models.CheckConstraint(condition=Q(state__in=["open", "paused", "closed"]), name="campaign_state_known"),
        ]

    def __str__(self) -> str:
        return self.name


class CampaignVersion(ProjectRow):
    """What people were asked, frozen: `labels` repeats the label set as it was, so that records stay readable."""

    campaign = models.ForeignKey(Campaign, on_delete=models.CASCADE, related_name="versions")
    number = models.PositiveIntegerField()
    guidelines = models.TextField(blank=True)
    label_set = models.ForeignKey(LabelSet, null=True, on_delete=models.RESTRICT, related_name="+")
    labels = models.JSONField(default=list, help_text="[{id, key, name, sentiment, description, shortcut}, ...] then")

    class Meta:
        constraints = [
            unique_in_project(),
            SameProject(field="campaign", name="campaign_version_same_project"),
            SameProject(field="label_set", name="campaign_version_labels_same_project"),
            models.UniqueConstraint(fields=["campaign", "number"], name="campaign_version_once"),
        ]


class TaskKind(models.TextChoices):
    SPANS = "spans", "mark phrases"
    PAIR = "pair", "compare two answers"


class Question(ProjectRow):
    """One thing that a campaign's version asks on each task of its kind."""

    campaign_version = models.ForeignKey(CampaignVersion, on_delete=models.CASCADE, related_name="questions")
    kind = models.CharField(max_length=16, choices=TaskKind.choices)
    text = models.TextField(blank=True)
    config = models.JSONField(default=dict)
    position = models.PositiveSmallIntegerField(default=0)

    class Meta:
        ordering = ["position", "id"]
        constraints = [
            unique_in_project(),
            SameProject(field="campaign_version", name="question_same_project"),
            models.CheckConstraint(condition=Q(kind__in=TaskKind.values), name="question_kind_known"),
        ]


class Task(ProjectRow):
    """One piece of work: mark one response, or compare two. The highest `priority`, written by `training`, is first."""

    class State(models.TextChoices):
        OPEN = "open", "open"
        DONE = "done", "done"
        WITHDRAWN = "withdrawn", "withdrawn"

    campaign = models.ForeignKey(Campaign, on_delete=models.CASCADE, related_name="tasks")
    kind = models.CharField(max_length=16, choices=TaskKind.choices)
    prompt = models.ForeignKey(Prompt, on_delete=models.CASCADE, related_name="+")
    response = models.ForeignKey(Response, on_delete=models.CASCADE, related_name="tasks")
    other = models.ForeignKey(Response, null=True, on_delete=models.CASCADE, related_name="+", help_text="of a pair")
    state = models.CharField(max_length=12, choices=State.choices, default=State.OPEN)
    wanted = models.PositiveSmallIntegerField(default=1, help_text="opinions wanted")
    priority = models.FloatField(default=0)
    priority_reason = models.CharField(max_length=200, blank=True)
    shuffle_seed = models.PositiveIntegerField(default=0, help_text="an odd one shows `other` on the left")

    class Meta:
        constraints = [
            unique_in_project(),
            SameProject(field="campaign", name="task_campaign_same_project"),
            SameProject(field="prompt", name="task_prompt_same_project"),
            SameProject(field="response", name="task_response_same_project"),
            SameProject(field="other", name="task_other_same_project"),
            models.UniqueConstraint(
                fields=["campaign", "kind", "response", "other"], nulls_distinct=False, name="task_once_in_campaign"
            ),
            models.CheckConstraint(condition=Q(kind__in=TaskKind.values), name="task_kind_known"),
            models.CheckConstraint(condition=Q(state__in=["open", "done", "withdrawn"]), name="task_state_known"),
            models.CheckConstraint(
                condition=Q(kind="pair", other__isnull=False) | (~Q(kind="pair") & Q(other=None)),
                name="task_pair_has_two_answers",
            ),
            models.CheckConstraint(condition=Q(wanted__gte=1), name="task_wants_an_opinion"),
        ]
        indexes = [
            # dealing: the open task of the highest priority, then the oldest
            models.Index(fields=["campaign", "-priority", "id"], condition=Q(state="open"), name="task_to_deal"),
        ]


class Assignment(ProjectRow):
    """Somebody's hold on a task. The lease only reserves the place: work that comes after it lapsed is still kept."""

    class State(models.TextChoices):
        HELD = "held", "held"
        SUBMITTED = "submitted", "submitted"
        SKIPPED = "skipped", "skipped"
        LAPSED = "lapsed", "lapsed"

    task = models.ForeignKey(Task, on_delete=models.CASCADE, related_name="assignments")
    campaign_version = models.ForeignKey(CampaignVersion, on_delete=models.RESTRICT, related_name="+")
    user = models.ForeignKey(User, null=True, on_delete=models.PROTECT, related_name="assignments")
    agent = models.CharField(max_length=120, blank=True, help_text="a simulated person or a model")
    attempt = models.PositiveSmallIntegerField(default=1)
    state = models.CharField(max_length=12, choices=State.choices, default=State.HELD)
    lease_expires_at = models.DateTimeField(null=True)
    draft = models.JSONField(default=dict, help_text="what is not yet a record: verdict, words, caret")
    submitted_at = models.DateTimeField(null=True)
    active_seconds = models.FloatField(default=0, help_text="seconds with the page in front and somebody working")

    class Meta:
        constraints = [
            unique_in_project(),
            SameProject(field="task", name="assignment_task_same_project"),
            SameProject(field="campaign_version", name="assignment_version_same_project"),
            models.UniqueConstraint(fields=["task", "user"], name="assignment_once_a_person"),
            models.UniqueConstraint(fields=["task", "agent"], condition=~Q(agent=""), name="assignment_once_an_agent"),
            models.CheckConstraint(
                condition=Q(state__in=["held", "submitted", "skipped", "lapsed"]), name="assignment_state_known"
            ),
            models.CheckConstraint(condition=Q(user__isnull=False) | ~Q(agent=""), name="assignment_has_someone"),
            models.CheckConstraint(
                condition=~Q(state="submitted") | Q(submitted_at__isnull=False), name="assignment_submitted_at_a_time"
            ),
        ]
        indexes = [
            models.Index(fields=["user", "state", "-id"], name="assignment_of_person"),  # what I hold, what I did
        ]
