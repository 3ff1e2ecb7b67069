"""Comparisons of recipes: the list, a new one, one as it goes on with its table and plot."""

from __future__ import annotations

import uuid
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from frontend.forms.comparisons import ComparisonForm
from frontend.paging import turns
from redpen.accounts.errors import Invalid
from redpen.accounts.pages import page_of
from redpen.accounts.rules import may, open_project
from training.actions.comparisons import cancel_comparison, comparison_of, resume_comparison, start_comparison
from training.compare.plan import BASELINE
from training.compare.plot import LETTERS, svg
from training.compare.report import METRICS, Report
from training.models import Comparison, Trial
from training.queries import comparisons as queries


@require_safe
def comparisons(request: HttpRequest, slug: str) -> HttpResponse:
    project = open_project(request, slug, "training.see")
    page = page_of(queries.of_project(project), after=request.GET.get("after"), newest_first=True, limit=30)
    for row in page.items:
        row.state = queries.state_of_counts(row)
    return render(request, "training/comparisons.html", {"project": project, "page": page, **turns(request, page.next)})


@require_http_methods(["GET", "HEAD", "POST"])
def new(request: HttpRequest, slug: str) -> HttpResponse:
    project = open_project(request, slug, "training.run")
    key = str(uuid.uuid4())
    form = ComparisonForm(request.POST or None)
    if request.method == "POST":
        key = request.POST.get("key", "")[:100] or key
        if form.is_valid():
            try:
                made, _ = start_comparison(
                    project=project,
                    author=request.user,
                    options=form.options,
                    name=form.cleaned_data["name"],
                    client_key=key,
                )
            except Invalid as error:
                form.take(error)
            else:
                return redirect("comparison", slug, made.number)
    status = 422 if request.method == "POST" else 200
    return render(
        request, "training/comparison_new.html", {"project": project, "form": form, "key": key}, status=status
    )


@never_cache
@require_safe
def comparison(request: HttpRequest, slug: str, number: int) -> HttpResponse:
    project = open_project(request, slug, "training.see")
    context = {"project": project, **state_of(request, comparison_of(project, number))}
    return render(request, "training/comparison.html", context)


@never_cache
@require_safe
def status(request: HttpRequest, slug: str, number: int) -> HttpResponse:
    """The fragment with progress, graph, table and plot; 204 while nothing has changed."""
    project = open_project(request, slug, "training.see")
    context = {"project": project, **state_of(request, comparison_of(project, number))}
    if request.GET.get("seen") == context["status_key"]:
        return HttpResponse(status=204)
    return render(request, "training/_comparison.html", context)


def state_of(request: HttpRequest, found: Comparison) -> dict[str, Any]:
    trials = queries.trials_of(found)
    progress = queries.progress_of(found, trials)
    report = queries.report(found, trials)
    return {
        "comparison": found,
        "progress": progress,
        "rows": table_of(trials, [int(seed) for seed in found.options["seeds"]]),
        "seeds": found.options["seeds"],
        "report": report,
        "metric": METRICS.get(report.metric, report.metric),
        "lines": list(zip(LETTERS, report.lines, strict=False)),
        "status_key": status_key(progress, report),
        "may_run": may(request.role, "training.run"),  # type: ignore[attr-defined]
    }


def status_key(progress: dict[str, Any], report: Report) -> str:
    counts = ".".join(f"{state}{count}" for state, count in sorted(progress["counts"].items()))
    return f"{progress['state']}.{counts}.{sum(len(line.seeds) for line in report.lines)}"


def table_of(trials: list[Trial], seeds: list[int]) -> list[dict[str, Any]]:
    """The graph as a table: a row for each thing that is run, a cell for each seed with its runs in order."""
    rows: dict[tuple[int, str], dict[str, Any]] = {}
    for trial in trials:
        group = 0 if trial.subject == BASELINE else 1 if trial.part == Trial.Part.JUDGE else 2
        row = rows.setdefault((group, trial.subject), {"subject": trial.subject, "group": group, "by_seed": {}})
        row["by_seed"].setdefault(trial.seed if trial.seed is not None else seeds[0], []).append(trial)
    for row in rows.values():
        row["cells"] = [row["by_seed"].get(seed, []) for seed in seeds]
    return [rows[key] for key in sorted(rows, key=lambda key: key[0])]


@never_cache
@require_safe
def plot(request: HttpRequest, slug: str, number: int) -> HttpResponse:
    """The plot by itself, as a file to keep."""
    project = open_project(request, slug, "training.see")
    drawn = svg(queries.report(comparison_of(project, number)))
    return HttpResponse(drawn, content_type="image/svg+xml")


@require_POST
def cancel(request: HttpRequest, slug: str, number: int) -> HttpResponse:
    project = open_project(request, slug, "training.run")
    cancel_comparison(comparison=comparison_of(project, number), author=request.user)
    messages.info(request, "Its runs are being stopped. What is finished stays; Resume goes on from there.")
    return redirect("comparison", slug, number)


@require_POST
def resume(request: HttpRequest, slug: str, number: int) -> HttpResponse:
    project = open_project(request, slug, "training.run")
    _, count = resume_comparison(comparison=comparison_of(project, number), author=request.user)
    messages.success(request, f"It goes on: {count} run{'' if count == 1 else 's'} started again.")
    return redirect("comparison", slug, number)
