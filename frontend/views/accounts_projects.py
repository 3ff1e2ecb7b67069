"""Making a project, its settings, and its audit trail."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_safe

from frontend.forms.accounts import ProjectForm, take_problems
from frontend.paging import turns
from redpen.accounts.actions.projects import change_project, create_project
from redpen.accounts.errors import Invalid
from redpen.accounts.pages import as_id, page_of
from redpen.accounts.queries.audit import actions_in, events_of, people_in
from redpen.accounts.rules import open_project, signed_in


@require_http_methods(["GET", "HEAD", "POST"])
def new_project(request: HttpRequest) -> HttpResponse:
    user = signed_in(request)
    form = ProjectForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            project = create_project(creator=user, **form.cleaned_data)
        except Invalid as error:
            take_problems(form, error)
        else:
            return redirect("project", project.slug)
    status = 422 if request.method == "POST" else 200
    return render(request, "accounts/new_project.html", {"form": form}, status=status)


@require_http_methods(["GET", "HEAD", "POST"])
def project_settings(request: HttpRequest, slug: str) -> HttpResponse:
    project = open_project(request, slug, "project.change")
    form = ProjectForm(request.POST or None, initial={"name": project.name, "description": project.description})
    if request.method == "POST" and form.is_valid():
        try:
            change_project(project=project, actor=request.user, **form.cleaned_data)
        except Invalid as error:
            take_problems(form, error)
        else:
            messages.success(request, "The settings are saved.")
            return redirect("project_settings", project.slug)
    status = 422 if request.method == "POST" else 200
    return render(request, "accounts/project_settings.html", {"project": project, "form": form}, status=status)


@require_safe
def audit_trail(request: HttpRequest, slug: str) -> HttpResponse:
    project = open_project(request, slug, "audit.see")
    action, person = request.GET.get("action", ""), request.GET.get("person", "")
    events = events_of(project, action=action, actor=as_id(person) if person else None)
    page = page_of(events, after=request.GET.get("after"), newest_first=True)
    context = {
        "lines": [(event, in_words(event.data)) for event in page.items],
        "actions": actions_in(project),
        "people": people_in(project),
        "action": action,
        "person": person,
        **turns(request, page.next),
    }
    return render(request, "accounts/audit.html", context)


def in_words(data: dict[str, Any]) -> str:
    """A line's data: ids, counts and names of fields."""
    parts = []
    for key, value in data.items():
        plain = ", ".join(map(str, value)) if isinstance(value, list) else value
        parts.append(f"{key.replace('_', ' ')}: {plain}")
    return "; ".join(parts)
