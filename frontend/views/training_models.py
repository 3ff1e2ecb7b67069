"""Models: the list, one model with its figures and lineage, and its judgement on any text."""

from __future__ import annotations

import json
from urllib.parse import urlencode
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.csrf import ensure_csrf_cookie
from django.views.decorators.http import require_POST, require_safe

from frontend.paging import turns
from redpen.accounts.models import Project
from redpen.accounts.pages import page_of
from redpen.accounts.rules import may, open_project
from training.actions.models import model_of, set_stage
from training.models import ModelVersion
from training.models.registry import ArtifactKind
from training.queries import models as queries
from training.worlds.demo import PREPARED_BASE, STORY


@require_safe
def models(request: HttpRequest, slug: str) -> HttpResponse:
    project = open_project(request, slug, "models.see")
    page = page_of(queries.of_project(project), after=request.GET.get("after"), newest_first=True, limit=30)
    context = {
        "project": project,
        "page": page,
        **turns(request, page.next),
    }
    return render(request, "training/models.html", context)


@require_safe
@ensure_csrf_cookie
def model(request: HttpRequest, slug: str, model_id: UUID) -> HttpResponse:
    project = open_project(request, slug, "models.see")
    found = model_of(project, model_id)
    scores = queries.can_score(found)
    context = {
        "project": project,
        "model": found,
        "metrics": sorted(found.metrics.items()),
        "lineage": queries.lineage(found),
        "stages": ModelVersion.Stage.choices,
        "scores": scores and may(request.role, "models.score"),  # type: ignore[attr-defined]
        "answers": queries.answers_to_score(project) if scores else [],
        "written": [] if scores else queries.answers_written(found),
        "score_url": reverse("api-model-score", args=[slug, found.pk]),
        "label_names": json.dumps(queries.label_names(project), ensure_ascii=False),
        "heats": range(21),
        "next": improve_with(request, project, found),
        "again": again_with(request, project, found),
    }
    return render(request, "training/model.html", context)


def improve_with(request: HttpRequest, project: Project, found: ModelVersion) -> str:
    """The form of a policy's training with this model as the one that marks, filled in; nothing where there is none. In
    the demo its world tells the truth.
    """
    if found.kind != ArtifactKind.SPAN_REWARD_MODEL or not may(request.role, "training.run"):  # type: ignore[attr-defined]
        return ""
    asked = {"input-span_reward_model": str(found.pk), "base_model": found.base.name}
    if project.is_demo:
        asked["option-truth"] = "support"
        if found.base.name == PREPARED_BASE:
            asked |= {f"option-{name}": value for name, value in STORY.items()}
    return f"{reverse('train_recipe', args=[project.slug, 'text2grad'])}?{urlencode(asked)}"


def again_with(request: HttpRequest, project: Project, found: ModelVersion) -> str:
    """The form that made a span reward model, with its options and its name: it learns from today's marks, the old ones
    and those that have come since.
    """
    run = queries.run_that_made(found)
    if found.kind != ArtifactKind.SPAN_REWARD_MODEL or run is None or not may(request.role, "training.run"):  # type: ignore[attr-defined]
        return ""
    asked = {"base_model": found.base.name, "name": found.name}
    asked |= {f"option-{name}": str(value) for name, value in run.config.items() if value is not None}
    return f"{reverse('train_recipe', args=[project.slug, run.recipe])}?{urlencode(asked)}"


@require_POST
def stage(request: HttpRequest, slug: str, model_id: UUID) -> HttpResponse:
    project = open_project(request, slug, "training.run")
    found = set_stage(model=model_of(project, model_id), author=request.user, stage=request.POST.get("stage", ""))
    messages.success(request, f"{found} is {found.get_stage_display()} now.")
    return redirect("model", slug, found.pk)
