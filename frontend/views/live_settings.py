"""How the project takes in what its product sends, and which kinds of reactions it knows."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from annotation.actions.intake import change_intake, change_kind, create_kind
from annotation.actions.people import Author
from annotation.queries.intake import intake_of, kinds_of
from frontend.forms.accounts import take_problems
from frontend.forms.live import POLARITIES, RETENTION, IntakeForm, KindChangeForm, KindForm
from redpen.accounts.errors import Invalid, NotFound, RedpenError
from redpen.accounts.models import Project
from redpen.accounts.rules import open_project


@require_http_methods(["GET", "HEAD", "POST"])
def live_settings(request: HttpRequest, slug: str) -> HttpResponse:
    if request.method != "POST":
        return page(request, open_project(request, slug, "intake.see"))
    project = open_project(request, slug, "intake.change")
    form = IntakeForm(request.POST)
    if form.is_valid():
        try:
            change_intake(author=Author.person(request.user), project=project, **form.wanted)
        except RedpenError as error:  # a library that is not installed, too
            take_problems(form, error)
        else:
            messages.success(request, "The settings are saved. They hold for what comes from now on.")
            return redirect("live_settings", project.slug)
    return page(request, project, form=form)


def page(
    request: HttpRequest, project: Project, *, form: IntakeForm | None = None, kind_form: KindForm | None = None
) -> HttpResponse:
    settings = intake_of(project)
    context = {
        "project": project,
        "settings": settings,
        "kept": [(what, settings.retention_days.get(kind)) for kind, _, what in RETENTION.values()],
        "kinds": kinds_of(project),
        "form": form or IntakeForm.of(settings),
        "kind_form": kind_form or KindForm(initial={"polarity": "1"}),
        "polarities": [(int(value), words) for value, words in POLARITIES],
    }
    return render(request, "live/settings.html", context, status=422 if form or kind_form else 200)


@require_POST
def make_kind(request: HttpRequest, slug: str) -> HttpResponse:
    project = open_project(request, slug, "kinds.change")
    form = KindForm(request.POST)
    if form.is_valid():
        try:
            kind, _ = create_kind(author=Author.person(request.user), project=project, **form.cleaned_data)
        except RedpenError as error:
            take_problems(form, error)
        else:
            messages.success(request, f"Reactions of the kind {kind.key} are taken from now on.")
            return redirect("live_settings", project.slug)
    return page(request, project, kind_form=form)


@require_POST
def alter_kind(request: HttpRequest, slug: str, key: str) -> HttpResponse:
    project = open_project(request, slug, "kinds.change")
    kind = kinds_of(project).filter(key=key).first()
    if kind is None:
        raise NotFound("There is no such kind of reaction in this project.")
    form = KindChangeForm(request.POST)
    if not form.is_valid():
        problems = [
            {"pointer": f"/{name}", "message": str(message), "code": "invalid"}
            for name, found in form.errors.items()
            for message in found
        ]
        raise Invalid("A kind has a name of 1 to 60 characters, and is good, bad or neither.", problems=problems)
    change_kind(author=Author.person(request.user), kind=kind, **form.cleaned_data)
    messages.success(request, f"{kind.key} is changed.")
    return redirect("live_settings", project.slug)
