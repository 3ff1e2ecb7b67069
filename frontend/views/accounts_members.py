"""The members of a project: their roles, their coming by link and their going."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from frontend import shown_once
from frontend.forms.accounts import ROLES, InviteForm
from redpen.accounts.actions import invitations
from redpen.accounts.actions.members import change_role, leave, remove_member
from redpen.accounts.actions.passwords import make_reset_link
from redpen.accounts.models import Project
from redpen.accounts.queries.members import members_of, open_invitations
from redpen.accounts.rules import may, open_project


@never_cache
@require_safe
def members(request: HttpRequest, slug: str) -> HttpResponse:
    project = open_project(request, slug, "members.see")
    response = _page(request, project, InviteForm(), link=shown_once.take(request))
    shown_once.forget(response, path=request.path)
    return response


def _page(request: HttpRequest, project: Project, form: InviteForm, **context: object) -> HttpResponse:
    context |= {"memberships": members_of(project), "roles": ROLES, "form": form}
    if may(request.role, "members.change"):
        context["invitations"] = open_invitations(project)
    return render(request, "accounts/members.html", context, status=422 if form.is_bound else 200)


@require_POST
def invite_member(request: HttpRequest, slug: str) -> HttpResponse:
    project = open_project(request, slug, "members.change")
    form = InviteForm(request.POST)
    if not form.is_valid():
        return _page(request, project, form)
    invitation, token = invitations.invite(project=project, actor=request.user, **form.cleaned_data)
    what = f"The link for {invitation.note or 'the new ' + invitation.get_role_display().lower()}"
    return _show_once(request, project, what, reverse("invitation", args=[token]))


@require_POST
def revoke(request: HttpRequest, slug: str, invitation_id: UUID) -> HttpResponse:
    project = open_project(request, slug, "members.change")
    invitations.revoke_invitation(project=project, actor=request.user, invitation_id=invitation_id)
    messages.success(request, "The link does not work any more.")
    return redirect("members", project.slug)


@require_POST
def change_member_role(request: HttpRequest, slug: str, member_id: UUID) -> HttpResponse:
    project = open_project(request, slug, "members.change")
    role = request.POST.get("role", "")
    membership = change_role(project=project, actor=request.user, member_id=member_id, role=role)
    messages.success(request, f"{membership.user} is {membership.get_role_display().lower()} now.")
    return redirect("members", project.slug)


@require_POST
def remove(request: HttpRequest, slug: str, member_id: UUID) -> HttpResponse:
    project = open_project(request, slug, "members.change")
    remove_member(project=project, actor=request.user, member_id=member_id)
    messages.success(request, "Removed. What was said stays.")
    return redirect("members", project.slug)


@require_POST
def reset_link(request: HttpRequest, slug: str, member_id: UUID) -> HttpResponse:
    project = open_project(request, slug, "members.change")
    path = make_reset_link(project=project, actor=request.user, member_id=member_id)
    return _show_once(request, project, "The link to a new password, good for a day,", path)


@require_POST
def leave_project(request: HttpRequest, slug: str) -> HttpResponse:
    project = open_project(request, slug, "project.leave")
    leave(project=project, user=request.user)
    messages.success(request, f"You have left {project.name}.")
    return redirect("account")


def _show_once(request: HttpRequest, project: Project, what: str, path: str) -> HttpResponse:
    page = reverse("members", args=[project.slug])
    response = redirect(page)
    shown_once.put(
        response, {"what": what, "url": request.build_absolute_uri(path)}, path=page, secure=request.is_secure()
    )
    return response
