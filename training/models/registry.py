"""Models to start from, and the models that runs made."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from annotation.models.base import ProjectRow, unique_in_project
from redpen.accounts.ids import new_id
from redpen.accounts.tenancy import SameProject


class BaseModel(models.Model):
    """A model that training may start from; the whole installation's, not one project's."""

    class Source(models.TextChoices):
        PACKAGED = "packaged", "in the box"
        FOLDER = "folder", "a local folder"
        HUB = "hub", "a model hub"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    name = models.CharField(max_length=120, unique=True)
    source = models.CharField(max_length=10, choices=Source.choices)
    location = models.CharField(max_length=300, help_text="packaged name, folder, or hub name")
    check_report = models.JSONField(default=dict, help_text="what the template check found")
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(source__in=["packaged", "folder", "hub"]), name="base_model_source_known"
            )
        ]

    def __str__(self) -> str:
        return self.name


class ArtifactKind(models.TextChoices):
    SPAN_REWARD_MODEL = "span_reward_model", "span reward model"
    REWARD_MODEL = "reward_model", "reward model"
    SEGMENT_REWARD_MODEL = "segment_reward_model", "segment reward model"
    PREFERENCE_MODEL = "preference_model", "preference model"
    CRITIQUE_MODEL = "critique_model", "critique model"
    CRITIC = "critic", "critic"
    POLICY = "policy", "policy"
    EVALUATION = "evaluation", "evaluation"  # no model: what one is worth, and the answers that show it


class ModelVersion(ProjectRow):
    """What one run produced: files below DATA_DIR, and where they came from."""

    class Stage(models.TextChoices):
        CANDIDATE = "candidate", "candidate"
        PRODUCTION = "production", "production"
        RETIRED = "retired", "retired"

    name = models.CharField(max_length=120)
    number = models.PositiveIntegerField(help_text="counts up for each name in the project")
    kind = models.CharField(max_length=24, choices=ArtifactKind.choices)
    stage = models.CharField(max_length=12, choices=Stage.choices, default=Stage.CANDIDATE)
    base = models.ForeignKey(BaseModel, on_delete=models.PROTECT, related_name="+")
    parent = models.ForeignKey("self", null=True, on_delete=models.PROTECT, related_name="children")
    path = models.CharField(max_length=300, help_text="folder below DATA_DIR")
    metrics = models.JSONField(default=dict)

    class Meta:
        constraints = [
            unique_in_project(),
            SameProject(field="parent", name="model_parent_same_project"),
            models.UniqueConstraint(fields=["project", "name", "number"], name="model_version_once"),
            models.UniqueConstraint(
                fields=["project", "name"], condition=Q(stage="production"), name="model_one_in_production"
            ),
            models.CheckConstraint(condition=Q(kind__in=ArtifactKind.values), name="model_kind_known"),
            models.CheckConstraint(
                condition=Q(stage__in=["candidate", "production", "retired"]), name="model_stage_known"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} v{self.number}"
