"""Models: what a project has, what each came from, what may be used as input."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet

from annotation.models import Label, Response
from redpen.accounts.models import Project
from training.models import BaseModel, ModelVersion, Run
from training.models.registry import ArtifactKind


def of_project(project: Project) -> QuerySet[ModelVersion]:
    """Newest first; evaluations are no models, whatever table they are kept in."""
    rows = ModelVersion.objects.filter(project=project).exclude(kind=ArtifactKind.EVALUATION)
    return rows.select_related("base", "run").order_by("-id")


def of_kind(project: Project, *kinds: str) -> list[ModelVersion]:
    """For a form: what is in production first, then the newest; what is retired last."""
    rank = {"production": 0, "candidate": 1, "retired": 2}
    return sorted(of_project(project).filter(kind__in=kinds), key=lambda model: rank[model.stage])


def base_models() -> list[BaseModel]:
    """All that training may start from; the ones in the box are always among them."""
    from training.actions.base_models import PACKAGED, ensure_packaged

    rows = list(BaseModel.objects.order_by("name"))
    if not {row.name for row in rows} >= set(PACKAGED):
        ensure_packaged()
        rows = list(BaseModel.objects.order_by("name"))
    return rows


def run_that_made(model: ModelVersion) -> Run | None:
    return Run.objects.filter(produced=model).select_related("snapshot", "created_by", "base_model").first()


def lineage(model: ModelVersion) -> list[dict[str, Any]]:
    """Model, run, snapshot and input models, back to the base: one step a line, nearest first."""
    steps: list[dict[str, Any]] = []
    waiting, seen = [model], set()
    while waiting:
        one = waiting.pop(0)
        if one.pk in seen:
            continue
        seen.add(one.pk)
        run = run_that_made(one)
        inputs = [row.model_version for row in run.inputs.select_related("model_version")] if run else []
        steps.append({"model": one, "run": run, "snapshot": run.snapshot if run else None, "inputs": inputs})
        waiting += inputs
    return steps


def label_names(project: Project) -> dict[str, str]:
    """What people call the labels that a model knows by key."""
    return dict(Label.objects.filter(project=project).order_by("-id").values_list("key", "name"))


def can_score(model: ModelVersion) -> bool:
    return model.kind == ArtifactKind.SPAN_REWARD_MODEL


def answers_to_score(project: Project, limit: int = 20) -> list[Response]:
    """Answers that a model's page offers: the newest first."""
    rows = Response.objects.filter(project=project, test=False).exclude(text="")
    return list(rows.select_related("prompt").order_by("-id")[:limit])


def answers_written(model: ModelVersion, limit: int = 10) -> list[Response]:
    """What a policy has written into the project."""
    rows = Response.objects.filter(project=model.project, model_version=model.pk)
    return list(rows.select_related("prompt").order_by("-id")[:limit])
