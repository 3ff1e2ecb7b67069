"""Who belongs to what."""

from __future__ import annotations

from django.db.models import Case, QuerySet, Value, When
from django.db.models.functions import Lower
from django.utils import timezone

from redpen.accounts.models import Invitation, Membership, Project, Role, User


def members_of(project: Project) -> QuerySet[Membership]:
    """The members with their people, admins first, then by role and name."""
    order = Case(*(When(role=role, then=Value(place)) for place, role in enumerate(Role.values)))
    return (
        Membership.objects.filter(project=project)
        .select_related("user")
        .order_by(order, Lower("user__name"), "user_id")
    )


def open_invitations(project: Project) -> QuerySet[Invitation]:
    """Links that can still be used, the newest first."""
    return (
        Invitation.objects.filter(project=project, accepted_at=None, revoked_at=None, expires_at__gt=timezone.now())
        .select_related("created_by")
        .order_by("-id")
    )


def projects_of(user: User) -> QuerySet[Membership]:
    """The person's memberships with their projects, by name."""
    return Membership.objects.filter(user=user).select_related("project").order_by(Lower("project__name"), "project_id")
