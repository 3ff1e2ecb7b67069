"""A project's API keys: the list, a new one, its token shown once, rotating and revoking."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from frontend import shown_once
from frontend.forms.accounts import take_problems
from frontend.forms.keys import OVERLAPS, KeyForm, RotateForm
from frontend.paging import turns
from frontend.queries.keys import curl, show
from redpen.accounts.actions.keys import OVERLAP, create_key, revoke_key, rotate_key
from redpen.accounts.errors import Invalid
from redpen.accounts.models import ApiKey, Project
from redpen.accounts.pages import page_of
from redpen.accounts.queries.keys import keys_of
from redpen.accounts.rules import open_project


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def keys(request: HttpRequest, slug: str) -> HttpResponse:
    if request.method == "POST":
        return make(request, open_project(request, slug, "keys.change"))
    project = open_project(request, slug, "keys.see")
    made = shown_once.take(request)
    response = listing(request, project, KeyForm(), made=made)
    shown_once.forget(response, path=request.path)
    return response


def make(request: HttpRequest, project: Project) -> HttpResponse:
    form = KeyForm(request.POST)
    if form.is_valid():
        try:
            key, token = create_key(project=project, actor=request.user, **form.wanted)
        except Invalid as error:
            take_problems(form, error)
        else:
            return show_token(request, key, token)
    return listing(request, project, form)


def listing(request: HttpRequest, project: Project, form: KeyForm, **context: object) -> HttpResponse:
    state = "ended" if request.GET.get("state") == "ended" else "usable"
    page = page_of(keys_of(project, state=state), after=request.GET.get("after"), newest_first=True)
    context |= {
        "project": project,
        "keys": [show(key) for key in page.items],
        "ended": state == "ended",
        "some_ended": keys_of(project, state="ended").exists(),
        "form": form,
        "overlaps": OVERLAPS,
        "overlap": str(OVERLAP),
        "example": curl(site=site(request), token="$REDPEN_KEY", scopes=[ApiKey.Scope.RESPONSES]),
        **turns(request, page.next),
    }
    return render(request, "accounts/keys.html", context, status=422 if form.is_bound else 200)


@require_POST
def rotate(request: HttpRequest, slug: str, key_id: UUID) -> HttpResponse:
    project = open_project(request, slug, "keys.change")
    form = RotateForm(request.POST)
    if not form.is_valid():
        message = "Choose for how long the old key goes on working."
        problem = {"pointer": "/overlap_hours", "message": message, "code": "invalid"}
        raise Invalid(message, problems=[problem])
    key, token = rotate_key(project=project, actor=request.user, key_id=key_id, **form.cleaned_data)
    return show_token(request, key, token)


@require_POST
def revoke(request: HttpRequest, slug: str, key_id: UUID) -> HttpResponse:
    project = open_project(request, slug, "keys.change")
    key = revoke_key(project=project, actor=request.user, key_id=key_id)
    messages.success(request, f"The key {key.prefix}… ({key.name}) does not work any more.")
    return redirect("keys", project.slug)


def show_token(request: HttpRequest, key: ApiKey, token: str) -> HttpResponse:
    """To the list, which shows the token this once: in a cookie for that page, never in an address."""
    page = reverse("keys", args=[key.project.slug])
    response = redirect(page)
    origin = key.origins[0] if key.origins else ""
    line = curl(site=site(request), token=token, scopes=key.scopes, origin=origin)
    shown_once.put(response, {"name": key.name, "token": token, "curl": line}, path=page, secure=request.is_secure())
    return response


def site(request: HttpRequest) -> str:
    return request.build_absolute_uri("/").rstrip("/")
