"""The way in: my projects, and a project's home."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from frontend.queries.home import home_of, projects_of
from redpen.accounts.errors import NotSignedIn
from redpen.accounts.rules import open_project


@require_safe
def projects(request: HttpRequest) -> HttpResponse:
    if not request.user.is_authenticated:
        raise NotSignedIn("Sign in to see your projects.")
    return render(request, "home/projects.html", {"mine": projects_of(request.user)})


@require_safe
def project(request: HttpRequest, slug: str) -> HttpResponse:
    opened = open_project(request, slug, "project.see")
    return render(request, "home/project.html", {"home": home_of(opened, request.user, request.role)})
