"""Inviting by link: whoever opens it first becomes a member, with an account made on the way or with his own."""

from __future__ import annotations

import hashlib
import secrets
from datetime import timedelta
from uuid import UUID

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import IntegrityError, transaction
from django.utils import timezone

from redpen.accounts import audit
from redpen.accounts.actions.names import one_line
from redpen.accounts.constraints import constraint_of
from redpen.accounts.errors import Conflict, Invalid, NotFound
from redpen.accounts.models import Invitation, Membership, Project, Role, User

LIFETIME = timedelta(days=7)


class InvitationClosed(Conflict):
    """It was used, taken back, or is too old."""

    code = "invitation.closed"


class AlreadyMember(Conflict):
    code = "member.already"

    def __init__(self) -> None:
        super().__init__("You are a member of this project already. The invitation was not used: pass it on.")


def hash_token(token: str) -> str:
    """What is kept of a token: 256 random bits need no salt."""
    return hashlib.sha256(token.encode()).hexdigest()


@transaction.atomic
def invite(*, project: Project, actor: User, role: str, note: str = "") -> tuple[Invitation, str]:
    """A new invitation and its token, which is not kept and cannot be shown again."""
    if role not in Role.values:
        message = f"There is no role '{role}'. There are: {', '.join(Role.values)}."
        raise Invalid(message, problems=[{"pointer": "/role", "message": message, "code": "member.unknown_role"}])
    if note:
        note = one_line(note, pointer="/note", what="The note")
    token = secrets.token_urlsafe(32)
    invitation = Invitation.objects.create(
        project=project,
        role=role,
        note=note,
        token_hash=hash_token(token),
        created_by=actor,
        expires_at=timezone.now() + LIFETIME,
    )
    audit.record("invitation.made", project=project, actor=actor, subject=invitation, role=role)
    return invitation, token


def find(token: str) -> Invitation:
    """The open invitation behind a link, for the page that offers it; raises NotFound or InvitationClosed."""
    invitation = Invitation.objects.select_related("project", "created_by").filter(token_hash=hash_token(token)).first()
    if invitation is None:
        raise NotFound("There is no such invitation. Check that the link is whole, or ask for a new one.")
    _check_open(invitation)
    return invitation


def _check_open(invitation: Invitation) -> None:
    if invitation.accepted_at:
        raise InvitationClosed("This invitation has been used already. Ask an admin of the project for a new one.")
    if invitation.revoked_at:
        raise InvitationClosed("This invitation was taken back. Ask an admin of the project for a new one.")
    if invitation.expires_at <= timezone.now():
        raise InvitationClosed("This invitation is too old: they are good for 7 days. Ask for a new one.")


@transaction.atomic
def accept_invitation(*, token: str, user: User) -> Membership:
    """Make `user` a member. Repeated by the same person it changes nothing; of two people one gets in."""
    claimed = Invitation.objects.filter(
        token_hash=hash_token(token), accepted_at=None, revoked_at=None, expires_at__gt=timezone.now()
    ).update(accepted_by=user, accepted_at=timezone.now())
    invitation = Invitation.objects.filter(token_hash=hash_token(token)).first()
    if invitation is None:
        raise NotFound("There is no such invitation. Check that the link is whole, or ask for a new one.")
    if not claimed:
        mine = Membership.objects.filter(project=invitation.project_id, user=user).first()
        if mine is not None and invitation.accepted_by_id == user.pk:
            return mine
        _check_open(invitation)
    return _join(invitation, user)


def _join(invitation: Invitation, user: User) -> Membership:
    try:
        with transaction.atomic():
            membership = Membership.objects.create(project=invitation.project, user=user, role=invitation.role)
    except IntegrityError as error:
        if constraint_of(error) == "membership_once":
            raise AlreadyMember from None
        raise
    audit.record(
        "member.joined",
        project=invitation.project,
        actor=user,
        subject=membership,
        role=invitation.role,
        invitation=str(invitation.pk),
    )
    return membership


@transaction.atomic
def join_as_new_person(*, token: str, name: str, email: str, password: str) -> Membership:
    """Make an account and accept with it, or do neither."""
    find(token)
    user = _new_user(name=name, email=email, password=password)
    audit.record("account.made", project=None, actor=user, subject=user)
    return accept_invitation(token=token, user=user)


def _new_user(*, name: str, email: str, password: str) -> User:
    user = User(name=one_line(name, pointer="/name", what="Your name"), email=email.strip())
    problems = []
    try:
        validate_email(user.email)
    except ValidationError as error:
        problems += [{"pointer": "/email", "message": message, "code": "invalid"} for message in error.messages]
    try:
        validate_password(password, user)
    except ValidationError as error:
        problems += [{"pointer": "/password", "message": message, "code": "invalid"} for message in error.messages]
    if problems:
        raise Invalid(" ".join(problem["message"] for problem in problems), problems=problems)
    try:
        with transaction.atomic():
            return User.objects.create_user(user.email, password, name=user.name)
    except IntegrityError as error:
        if "email" not in constraint_of(error):
            raise
        message = "There is an account with this address already. Sign in with it, then open the link again."
        raise Invalid(message, problems=[{"pointer": "/email", "message": message, "code": "account.exists"}]) from None


@transaction.atomic
def revoke_invitation(*, project: Project, actor: User, invitation_id: UUID) -> None:
    """Take a link back that nobody has used; taking it back twice is harmless."""
    revoked = Invitation.objects.filter(project=project, pk=invitation_id, accepted_at=None, revoked_at=None).update(
        revoked_at=timezone.now()
    )
    invitation = Invitation.objects.filter(project=project, pk=invitation_id).first()
    if invitation is None:
        raise NotFound("There is no such invitation in this project.")
    if revoked:
        audit.record("invitation.revoked", project=project, actor=actor, subject=invitation)
    elif invitation.accepted_at:
        raise InvitationClosed("Somebody has used this invitation already. Remove the member instead.")
