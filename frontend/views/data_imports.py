"""Uploading a file of feedback, and watching what becomes of it."""

from __future__ import annotations

from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from annotation import tasks
from annotation.actions.imports import create_import, try_again
from annotation.models import ImportJob
from frontend.forms.data import ImportForm
from redpen.accounts.errors import NotFound, RedpenError
from redpen.accounts.models import Project
from redpen.accounts.rules import may, open_project


@require_http_methods(["GET", "HEAD", "POST"])
def page(request: HttpRequest, slug: str) -> HttpResponse:
    project = open_project(request, slug, "records.import")
    form = ImportForm(request.POST or None, request.FILES or None)
    if request.method == "POST" and form.is_valid():
        file = form.cleaned_data["file"]
        try:
            job = create_import(
                user=request.user,
                project=project,
                format=form.cleaned_data["format"],
                filename=file.name,
                chunks=file.chunks(),
                dry_run=form.cleaned_data["dry_run"],
                ask=form.cleaned_data["ask"],
            )
        except RedpenError as error:
            form.add_error("file", error.message)
        else:
            tasks.ring_for_import(job.pk)
            return redirect("import_job", slug, job.pk)
    jobs = ImportJob.objects.filter(project=project).select_related("created_by").order_by("-id")[:20]
    status = 422 if request.method == "POST" else 200
    return render(request, "data/import.html", {"project": project, "form": form, "jobs": jobs}, status=status)


@require_safe
def job(request: HttpRequest, slug: str, pk: UUID) -> HttpResponse:
    """The page of one import; htmx gets the moving part alone."""
    project = open_project(request, slug, "records.import")
    fragment = request.htmx and not request.htmx.boosted and not request.htmx.history_restore_request
    template = "data/_job.html" if fragment else "data/import_job.html"
    response = render(
        request, template, {"project": project, "may_label": may(request.role, "label"), **told(find(project, pk))}
    )
    response["Vary"] = "HX-Request"
    return response


@require_POST
def again(request: HttpRequest, slug: str, pk: UUID) -> HttpResponse:
    project = open_project(request, slug, "records.import")
    again = try_again(user=request.user, job=find(project, pk))
    tasks.ring_for_import(again.pk)
    return redirect("import_job", slug, pk)


def find(project: Project, pk: UUID) -> ImportJob:
    found = ImportJob.objects.filter(project=project, pk=pk).select_related("created_by", "project").first()
    if found is None:
        raise NotFound("There is no such import here.")
    return found


def told(job: ImportJob) -> dict[str, object]:
    report = job.report
    listed = {refusal["item"] for refusal in report.get("refusals", [])}
    taken, repeated = report.get("taken", {}), report.get("repeated", {})
    kinds = [(kind, taken.get(kind, 0), repeated.get(kind, 0)) for kind in sorted({*taken, *repeated})]
    return {
        "job": job,
        "left_out": sorted(report.get("left_out", {}).items()),
        "kinds": kinds,
        "refusals": report.get("refusals", []),
        "unlisted": report.get("refused", 0) - len(listed) if job.state == "done" else 0,
        "going_on": job.state in ("queued", "running"),
    }
