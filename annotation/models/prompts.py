"""Prompts and the responses to them: what all feedback is about."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q

from annotation.models.base import CurrentTransaction, ProjectRow, unique_in_project
from redpen.accounts.tenancy import SameProject


class Origin(models.TextChoices):
    HUMAN = "human", "a person"
    MODEL = "model", "a model"
    PROGRAM = "program", "a program"


class Split(models.TextChoices):
    TRAIN = "train", "train"
    DEV = "dev", "dev"
    TEST = "test", "test"


class Prompt(ProjectRow):
    """What was asked: messages in chat form and the passages given with them. Never altered, metadata excepted.

    Identity in the project is `content_hash`, over messages and context; what test keys send has prompts of its own.
    `split` is decided once, from the first user message and the context, so that all turns of a conversation fall
    together (`annotation.actions.prompts`).
    """

    messages = models.JSONField(help_text="[{role, content, tool_calls?}, ...]")
    context = models.JSONField(default=list, help_text="passages: [{id, title, text}, ...]")
    metadata = models.JSONField(default=dict)
    content_hash = models.CharField(max_length=64, editable=False)
    split = models.CharField(max_length=8, choices=Split.choices, editable=False)
    external_id = models.CharField(max_length=200, null=True, help_text="the caller's own id")
    test = models.BooleanField(default=False, db_default=False, help_text="only test keys sent it: never trained on")

    class Meta:
        constraints = [
            unique_in_project(),
            models.UniqueConstraint(fields=["project", "content_hash"], name="prompt_once_in_project"),
            models.UniqueConstraint(fields=["project", "external_id"], name="prompt_external_id_once"),
            models.CheckConstraint(condition=Q(split__in=Split.values), name="prompt_split_known"),
        ]


class Response(ProjectRow):
    """An answer to one prompt. `text` is stored as the model wrote it: every span's offsets count its code points."""

    prompt = models.ForeignKey(Prompt, on_delete=models.CASCADE, related_name="responses")
    text = models.TextField(help_text="the final text; never normalised or altered")
    thinking = models.TextField(blank=True)
    steps = models.JSONField(null=True, help_text="of a trajectory: [{kind, ...fields}, ...]")
    origin = models.CharField(max_length=8, choices=Origin.choices, default=Origin.MODEL)
    model = models.CharField(max_length=200, blank=True, help_text="the name of the model that wrote it")
    model_version = models.UUIDField(null=True, help_text="the training.ModelVersion that wrote it, where it is ours")
    sampling = models.JSONField(default=dict, help_text="temperature, top_p, max_tokens, seed, stop, finish_reason ...")
    token_ids = ArrayField(models.IntegerField(), null=True, help_text="as sampled, where our engine sampled it")
    token_logprobs = ArrayField(models.FloatField(), null=True, help_text="nats, of the sampler, one for each token id")
    external_id = models.CharField(max_length=200, null=True, help_text="the caller's own id")
    parent = models.ForeignKey("self", null=True, on_delete=models.SET_NULL, related_name="refinements")
    parent_external_id = models.CharField(
        max_length=200, blank=True, default="", db_default="", help_text="the parent's id at the caller, until it comes"
    )
    conversation = models.CharField(max_length=200, blank=True)
    turn = models.PositiveIntegerField(null=True)
    external_user = models.CharField(
        max_length=200, blank=True, default="", db_default="", help_text="whom it was written for: a pseudonym"
    )
    language = models.CharField(max_length=35, blank=True, default="", db_default="", help_text="BCP 47, as de-AT")
    written_at = models.DateTimeField(null=True, help_text="when it was written, where that was before it arrived")
    metadata = models.JSONField(default=dict)
    test = models.BooleanField(default=False, db_default=False, help_text="a test key sent it: never trained on")
    content = models.UUIDField(null=True, editable=False, help_text="digest of what the caller sent")
    xact = models.BigIntegerField(db_default=CurrentTransaction(), editable=False)

    class Meta:
        constraints = [
            unique_in_project(),
            SameProject(field="prompt", name="response_prompt_same_project"),
            SameProject(field="parent", name="response_parent_same_project"),
            models.UniqueConstraint(fields=["project", "test", "external_id"], name="response_external_id_once"),
            models.CheckConstraint(condition=Q(origin__in=Origin.values), name="response_origin_known"),
            models.CheckConstraint(
                condition=Q(token_logprobs=None) | Q(token_ids__len=models.F("token_logprobs__len")),
                name="response_one_logprob_a_token",
            ),
        ]
        indexes = [
            models.Index(fields=["project", "model", "id"], name="response_by_model"),  # the data page's model filter
            models.Index(fields=["xact"], name="response_since"),  # what came since the last count
            models.Index(
                fields=["project", "external_user", "id"], condition=~Q(external_user=""), name="response_for_user"
            ),
            models.Index(
                fields=["project", "conversation", "turn"],
                condition=~Q(conversation=""),
                name="response_in_conversation",
            ),
            # what the API lists: answers of one of our models, in one language, test data
            models.Index(
                fields=["project", "model_version", "id"],
                condition=Q(model_version__isnull=False),
                name="response_of_version",
            ),
            models.Index(fields=["project", "language", "id"], condition=~Q(language=""), name="response_in_language"),
            models.Index(fields=["project", "id"], condition=Q(test=True), name="response_test"),
            # a refinement that came before what it refines
            models.Index(
                fields=["project", "parent_external_id"],
                condition=~Q(parent_external_id="") & Q(parent=None),
                name="response_waiting_for_parent",
            ),
        ]
