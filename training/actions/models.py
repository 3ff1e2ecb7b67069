"""What becomes of a model: candidate, in production, retired."""

from __future__ import annotations

from django.db import transaction

from annotation.webhooks.outbox import emit
from redpen.accounts import audit
from redpen.accounts.errors import Invalid, NotFound
from redpen.accounts.models import Project, User
from training.api import shapes
from training.models import ModelVersion

Stage = ModelVersion.Stage


def model_of(project: Project, model_id: object) -> ModelVersion:
    found = ModelVersion.objects.filter(project=project, pk=model_id).select_related("base", "parent", "run", "project")
    if (model := found.first()) is None:
        raise NotFound("There is no such model in this project.")
    return model


@transaction.atomic
def set_stage(*, model: ModelVersion, author: User, stage: str) -> ModelVersion:
    """Move a model to a stage. One of a name is in production: whichever was there before is retired."""
    if stage not in Stage.values:
        problem = {
            "pointer": "/stage",
            "code": "stage.unknown",
            "message": f"A stage is one of {', '.join(Stage.values)}.",
        }
        raise Invalid(problem["message"], problems=[problem])
    # all versions of the name, in the order of their ids: two people who promote at once wait for each other
    versions = ModelVersion.objects.select_for_update().filter(project=model.project, name=model.name).order_by("pk")
    for other in versions:
        if stage == Stage.PRODUCTION and other.stage == Stage.PRODUCTION and other.pk != model.pk:
            other.stage = Stage.RETIRED
            other.save(update_fields=["stage"])
            audit.record("model.retired", project=model.project, actor=author, subject=other, by=str(model.pk))
        if other.pk == model.pk:
            before = other.stage
    if before != stage:
        model.stage = stage
        model.save(update_fields=["stage"])
        line = audit.record(
            "model.staged", project=model.project, actor=author, subject=model, before=before, after=stage
        )
        if stage == Stage.PRODUCTION:
            emit(project=model.project, event="model.promoted", key=str(line.pk), data=shapes.model(model))
    return model
