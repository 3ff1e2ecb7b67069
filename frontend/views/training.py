"""Choosing a recipe and launching a run of it."""

from __future__ import annotations

import uuid
from functools import cache
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_safe

from frontend.forms import training as forms
from redpen.accounts.errors import Invalid
from redpen.accounts.models import Project
from redpen.accounts.rules import open_project
from training.actions.runs import launch_run, query_for
from training.queries import models, recipes
from training.queries.snapshots import SPLITS, preview
from training.recipes.base import Recipe, kinds_of
from training.runs.child import count_gpus

KINDS = {
    "response": "reviewed answers",
    "preference": "compared pairs",
    "prompt": "prompts",
    "ranking": "rankings",
    "choice": "choices out of several",
    "rating": "ratings",
    "verdict": "verdicts on whole answers",
    "reaction": "users' reactions",
    "rewrite": "rewrites",
    "demonstration": "answers written by people",
}


@require_safe
def choose(request: HttpRequest, slug: str) -> HttpResponse:
    project = open_project(request, slug, "training.run")
    cards = []
    for recipe in recipes.all_recipes():
        missing = [need for need in recipe.needs if not models.of_kind(project, *kinds_of(need))]
        cards.append({"recipe": recipe, "missing": missing, "data": table(project, recipe)})
    return render(request, "training/train.html", {"project": project, "cards": cards})


@require_http_methods(["GET", "HEAD", "POST"])
def launch(request: HttpRequest, slug: str, recipe: str) -> HttpResponse:
    project = open_project(request, slug, "training.run")
    found = recipes.recipe_named(recipe)
    key = str(uuid.uuid4())
    if request.method == "POST":
        wanted, form = forms.read(project, found, request.POST)
        key = forms.client_key(request.POST) or key
        try:
            run, _ = launch_run(project=project, author=request.user, launch=wanted, client_key=key)
        except Invalid as error:
            form.take(error)
        else:
            return redirect("run", slug, run.number)
    else:
        preset = request.GET.get("preset", "")
        form = forms.blank(
            project,
            found,
            preset=preset if preset in found.presets else fitting_preset(),
            base_model=default_base(),
            asked=request.GET.dict(),
        )
    context = {
        "project": project,
        "form": form,
        "recipe": found,
        "key": key,
        "data": table(project, found, origins=form.origins, test=form.test),
        "data_url": reverse("train_data", args=[slug, found.name]),
    }
    return render(request, "training/recipe.html", context, status=422 if request.method == "POST" else 200)


@require_safe
def data(request: HttpRequest, slug: str, recipe: str) -> HttpResponse:
    """The fragment that counts what a run would learn from, as the filters stand."""
    project = open_project(request, slug, "training.run")
    found = recipes.recipe_named(recipe)
    known = {value for value, _ in forms.ORIGINS}
    origins = tuple(value for value in request.GET.getlist("origins") if value in known)
    counted = table(project, found, origins=origins, test=bool(request.GET.get("test")))
    return render(request, "training/_data.html", {"project": project, "data": counted})


def table(project: Project, recipe: Recipe, *, origins: tuple[str, ...] = (), test: bool = False) -> dict[str, Any]:
    """Rows by kind and split, as the page draws them."""
    everybody = len(origins) in (0, len(forms.ORIGINS))
    counts = preview(project, query_for(recipe, origins=() if everybody else origins, test=test))
    rows = [
        {"title": KINDS[kind], "splits": [splits[name] for name in SPLITS], "total": sum(splits.values())}
        for kind, splits in counts["rows"].items()
    ]
    return {
        "splits": SPLITS,
        "rows": rows,
        "labels": counts["labels"],
        "empty": all(row["splits"][0] == 0 for row in rows),
        "marks": next(iter(counts["rows"])) == "response",
        "comparisons": next(iter(counts["rows"])) == "preference",
        "feedback": set(counts["rows"]) != {"prompt"},
    }


@cache
def fitting_preset() -> str:
    """The preset for the machine that computes: the paper's where there is a GPU."""
    return "paper" if count_gpus() else "laptop"


def default_base() -> str:
    return settings.BASE_MODEL
