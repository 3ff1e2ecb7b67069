"""Passwords and one's own name. Nothing here belongs to a project, so the audit lines have none."""

from __future__ import annotations

from uuid import UUID

from django.contrib.auth.tokens import default_token_generator
from django.db import transaction
from django.urls import reverse
from django.utils.encoding import force_bytes
from django.utils.http import urlsafe_base64_encode

from redpen.accounts import audit
from redpen.accounts.actions.names import one_line
from redpen.accounts.errors import MissingRole, NotFound
from redpen.accounts.models import Membership, Project, Role, User


class NotYoursToReset(MissingRole):
    """An admin of one project must not get into another through a member of both."""

    code = "password.not_yours_to_reset"

    def __init__(self) -> None:
        super().__init__(
            "You cannot make a reset link for this account. Whoever runs this installation can: "
            "`python manage.py reset_link EMAIL`."
        )


@transaction.atomic
def set_password(*, user: User, password: str, action: str) -> None:
    """Keep a new, already validated password; all other sessions of the person end by it.

    `action` is "password.changed" (knew the old one) or "password.reset" (came by a link).
    """
    user.set_password(password)
    user.save(update_fields=["password"])
    audit.record(action, project=None, actor=user, subject=user)


@transaction.atomic
def rename_person(*, user: User, name: str) -> User:
    user.name = one_line(name, pointer="/name", what="Your name")
    user.save(update_fields=["name"])
    audit.record("account.renamed", project=None, actor=user, subject=user)
    return user


def reset_path(user: User) -> str:
    """The path of a link with which `user` chooses a new password: once, within a day."""
    uid = urlsafe_base64_encode(force_bytes(user.pk))
    return reverse("password_reset_confirm", args=[uid, default_token_generator.make_token(user)])


def may_reset(*, actor: User, member: User) -> bool:
    """Whether `member` is in the hands of `actor` alone: no staff, and in no project where `actor` is not admin."""
    administered = Membership.objects.filter(user=actor, role=Role.ADMIN).values("project")
    elsewhere = Membership.objects.filter(user=member).exclude(project__in=administered)
    return not (member.is_staff or member.is_superuser or member.pk == actor.pk or elsewhere.exists())


@transaction.atomic
def make_reset_link(*, project: Project, actor: User, member_id: UUID) -> str:
    """The path of a reset link for a member, for where no mail is sent; shown once."""
    membership = Membership.objects.select_related("user").filter(project=project, pk=member_id).first()
    if membership is None:
        raise NotFound("There is no such member here. Reload the page: somebody may have been faster.")
    if not may_reset(actor=actor, member=membership.user):
        raise NotYoursToReset
    audit.record("password.reset_link_made", project=project, actor=actor, subject=membership.user)
    return reset_path(membership.user)


@transaction.atomic
def make_reset_link_as_operator(*, user: User) -> str:
    """The same from the command line, for anybody."""
    audit.record("password.reset_link_made", project=None, agent="manage.py reset_link", subject=user)
    return reset_path(user)
