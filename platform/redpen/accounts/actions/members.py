"""Roles of members, and their going.

One order of locks: the project's row first, then memberships. So two admins who demote each other wait for one another,
and the second finds that he would leave the project without an admin. (The database holds that too: migration 0002.)
"""

from __future__ import annotations

from uuid import UUID

from django.db import transaction

from redpen.accounts import audit
from redpen.accounts.errors import Conflict, Invalid, NotFound
from redpen.accounts.models import Membership, Project, Role, User


class LastAdmin(Conflict):
    """The project would have no admin."""

    code = "project.last_admin"

    def __init__(self) -> None:
        super().__init__("A project keeps at least one admin. Make somebody else admin first.")


def _lock(project: Project, member_id: UUID) -> Membership:
    # no key update: rows that point at the project can still be added meanwhile
    Project.objects.select_for_update(no_key=True).get(pk=project.pk)
    membership = Membership.objects.filter(project=project, pk=member_id).select_related("user").first()
    if membership is None:
        raise NotFound("There is no such member here. Reload the page: somebody may have been faster.")
    return membership


def _check_another_admin(membership: Membership) -> None:
    others = Membership.objects.filter(project=membership.project_id, role=Role.ADMIN).exclude(pk=membership.pk)
    if membership.role == Role.ADMIN and not others.exists():
        raise LastAdmin


@transaction.atomic
def change_role(*, project: Project, actor: User, member_id: UUID, role: str) -> Membership:
    """Give a member another role; the same role again changes nothing."""
    if role not in Role.values:
        message = f"There is no role '{role}'. There are: {', '.join(Role.values)}."
        raise Invalid(message, problems=[{"pointer": "/role", "message": message, "code": "member.unknown_role"}])
    membership = _lock(project, member_id)
    before = membership.role
    if before == role:
        return membership
    if role != Role.ADMIN:
        _check_another_admin(membership)
    membership.role = role
    membership.save(update_fields=["role"])
    audit.record("member.role_changed", project=project, actor=actor, subject=membership, before=before, after=role)
    return membership


@transaction.atomic
def remove_member(*, project: Project, actor: User, member_id: UUID) -> None:
    """Take somebody out of the project. What they said there stays, with their name."""
    membership = _lock(project, member_id)
    _check_another_admin(membership)
    own = membership.user_id == actor.pk
    audit.record(
        "member.left" if own else "member.removed",
        project=project,
        actor=actor,
        subject=membership,
        user=str(membership.user_id),
        role=membership.role,
    )
    membership.delete()


def leave(*, project: Project, user: User) -> None:
    """Take oneself out of the project."""
    membership = Membership.objects.filter(project=project, user=user).first()
    if membership is None:
        raise NotFound("You are not a member of this project any more.")
    remove_member(project=project, actor=user, member_id=membership.pk)
