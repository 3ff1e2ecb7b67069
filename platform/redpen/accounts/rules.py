"""Who may do what in a project. Views and the API ask here and nowhere else.

An action that is not listed is refused to everybody: a new page needs a new line.
"""

from __future__ import annotations

from django.http import HttpRequest

from redpen.accounts.errors import MissingRole, NotFound, NotSignedIn
from redpen.accounts.models import Membership, Project, Role, User

A, M, B, D, V = Role.ADMIN, Role.REVIEWER, Role.ANNOTATOR, Role.DEVELOPER, Role.VIEWER
EVERYONE = frozenset({A, M, B, D, V})

ALLOWED: dict[str, frozenset[str]] = {
    "project.see": EVERYONE,
    "project.leave": EVERYONE,
    "project.change": frozenset({A}),
    "members.see": EVERYONE,
    "members.change": frozenset({A}),
    "audit.see": frozenset({A, M}),
    "privacy.erase": frozenset({A}),
    "records.see": frozenset({A, M, D, V}),
    "records.see_own": EVERYONE,
    "records.import": frozenset({A, D}),
    "records.export": frozenset({A, M, D}),
    "label": frozenset({A, M, B}),
    "campaigns.change": frozenset({A}),
    "training.see": frozenset({A, M, D, V}),
    "training.run": frozenset({A}),
    "models.see": frozenset({A, M, D, V}),
    "models.score": frozenset({A, M, D}),
    "api.see": EVERYONE,
    "webhooks.see": frozenset({A, D}),
    "webhooks.change": frozenset({A, D}),
    "keys.see": frozenset({A, D}),
    "keys.change": frozenset({A, D}),
    "intake.see": frozenset({A, D}),
    "intake.change": frozenset({A}),
    "kinds.change": frozenset({A, D}),
    "honesty.see": frozenset({A, M, D, V}),
    "honesty.decide": frozenset({A, M}),
}


def role_of(user: User, project: Project) -> str | None:
    """The user's role in the project, or None for a stranger."""
    if not user.is_authenticated:
        return None
    return Membership.objects.filter(project=project, user=user).values_list("role", flat=True).first()


def may(role: str | None, action: str) -> bool:
    """Whether somebody with `role` may do `action`; raises KeyError for an action nobody has listed."""
    return role in ALLOWED[action]


def signed_in(request: HttpRequest) -> User:
    """The person behind a request to a page outside projects; raises NotSignedIn."""
    if not request.user.is_authenticated:
        raise NotSignedIn("Sign in to see this page.")
    return request.user


def open_project(request: HttpRequest, slug: str, action: str) -> Project:
    """The project at `slug` for someone who may do `action` there.

    Sets `request.project` and `request.role`. Raises NotSignedIn (401; pages send to the sign-in page), NotFound (404,
    to strangers as where nothing is) or MissingRole (403).
    """
    user = signed_in(request)
    membership = Membership.objects.select_related("project").filter(project__slug=slug, user=user).first()
    if membership is None:
        raise NotFound("There is no such project, or you are not a member of it. Ask its admin for an invitation link.")
    request.project, request.role = membership.project, membership.role  # type: ignore[attr-defined]
    require(request, action)
    return membership.project


def require(request: HttpRequest, action: str) -> None:
    """Refuse with MissingRole (403) unless the role in the open project allows `action` as well."""
    role = request.role  # type: ignore[attr-defined]
    if not may(role, action):
        allowed = ", ".join(sorted(ALLOWED[action]))
        raise MissingRole(
            f"You are {Role(role).label.lower()} here; this takes one of: {allowed}. Ask an admin of the project.",
            data={"action": action, "role": role},
        )
