"""People, projects and what they may do there. A project is the tenant: nothing is ever seen across projects."""

from __future__ import annotations

from typing import ClassVar

from django.contrib.auth.models import AbstractBaseUser, BaseUserManager, PermissionsMixin
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower, Now
from django.utils.translation import gettext_lazy as _

from redpen.accounts.ids import new_id


class UserManager(BaseUserManager["User"]):
    def get_by_natural_key(self, username: str | None) -> User:
        """Sign-in by e-mail, whatever its capitals."""
        return self.get(email__iexact=username)

    def create_user(self, email: str, password: str | None = None, **fields: object) -> User:
        user = self.model(email=self.normalize_email(email).strip(), **fields)
        user.set_password(password)
        user.save()
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: object) -> User:
        return self.create_user(email, password, **{"is_staff": True, "is_superuser": True, **fields})


class User(AbstractBaseUser, PermissionsMixin):
    """A person who signs in. Simulated people and models are not users: they are named in a record's `agent`."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    email = models.EmailField(max_length=254, unique=True)
    name = models.CharField(max_length=120)
    is_active = models.BooleanField(default=True)
    is_staff = models.BooleanField(default=False, help_text="may use the support staff's admin site")
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = UserManager()

    USERNAME_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = ["name"]

    class Meta:
        constraints = [models.UniqueConstraint(Lower("email"), name="user_email_once_in_any_case")]

    def __str__(self) -> str:
        return self.name or self.email


class Project(models.Model):
    """The tenant. `split_seed` fixes for the project's life which prompts are train, dev and test."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    name = models.CharField(max_length=120)
    slug = models.SlugField(max_length=60, unique=True)
    description = models.TextField(blank=True)
    split_seed = models.PositiveIntegerField(default=0, editable=False)
    is_demo = models.BooleanField(default=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    members = models.ManyToManyField(User, through="Membership", related_name="projects")

    def __str__(self) -> str:
        return self.name


class Role(models.TextChoices):
    ADMIN = "admin", _("Admin")
    REVIEWER = "reviewer", _("Reviewer")
    ANNOTATOR = "annotator", _("Annotator")
    DEVELOPER = "developer", _("Developer")
    VIEWER = "viewer", _("Viewer")


class Membership(models.Model):
    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="memberships")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=16, choices=Role.choices)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "user"], name="membership_once"),
            models.CheckConstraint(condition=Q(role__in=Role.values), name="membership_role_known"),
        ]

    def __str__(self) -> str:
        return f"{self.user} as {self.role}"


class Invitation(models.Model):
    """A link that makes whoever opens it a member. Only the token's hash is kept; the link is shown once."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="invitations")
    role = models.CharField(max_length=16, choices=Role.choices)
    token_hash = models.CharField(max_length=64, unique=True, editable=False)
    note = models.CharField(max_length=120, blank=True, help_text="whom it is for")
    created_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    expires_at = models.DateTimeField()
    accepted_by = models.ForeignKey(User, null=True, on_delete=models.PROTECT, related_name="+")
    accepted_at = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(role__in=Role.values), name="invitation_role_known"),
            models.CheckConstraint(
                condition=Q(accepted_by=None, accepted_at=None)
                | Q(accepted_by__isnull=False, accepted_at__isnull=False),
                name="invitation_accepted_by_someone",
            ),
        ]


class ApiKey(models.Model):
    """What a program shows instead of a password (`redpen.accounts.keys`). Only the secret's hash is kept.

    A public key is for browsers: it may only write reactions, from the origins listed, and not too many.
    """

    class Scope(models.TextChoices):
        RESPONSES = "responses.write", _("write responses")
        REACTIONS = "reactions.write", _("write reactions and other feedback of users")
        READ = "read", _("read records, rates and exports")

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="api_keys")
    name = models.CharField(max_length=60, help_text="what it is for")
    prefix = models.CharField(max_length=32, unique=True, editable=False, help_text="its beginning, which may be shown")
    secret_hash = models.CharField(max_length=64, unique=True, editable=False)
    scopes = ArrayField(models.CharField(max_length=20, choices=Scope.choices))
    test = models.BooleanField(default=False, help_text="what it writes is test data, and it reads only that")
    public = models.BooleanField(default=False, help_text="may stand in a web page")
    origins = ArrayField(
        models.CharField(max_length=200), default=list, help_text="of a public key: https://shop.example"
    )
    per_minute = models.PositiveIntegerField(default=0, help_text="records a minute; of a public key: for each address")
    created_by = models.ForeignKey(User, null=True, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    expires_at = models.DateTimeField(null=True)
    last_used_at = models.DateTimeField(null=True)
    rotated_to = models.OneToOneField("self", null=True, on_delete=models.SET_NULL, related_name="rotated_from")
    revoked_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [models.Index(fields=["project", "-id"], name="api_keys_of_project")]
        constraints = [
            models.CheckConstraint(
                condition=Q(public=False) | Q(scopes=["reactions.write"]), name="api_key_public_writes_reactions"
            ),
            models.CheckConstraint(condition=~Q(scopes=[]), name="api_key_may_something"),
        ]


class AuditEvent(models.Model):
    """One line of the audit trail: who did what to which record. Appended only; a trigger refuses anything else."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    project = models.ForeignKey(Project, null=True, on_delete=models.CASCADE, related_name="audit_events")
    actor = models.ForeignKey(User, null=True, on_delete=models.PROTECT, related_name="+")
    agent = models.CharField(
        max_length=120, blank=True, help_text="the program or model that acted, where no person did"
    )
    action = models.CharField(max_length=80, help_text="noun.verb, as span.marked")
    subject_kind = models.CharField(max_length=60)
    subject_id = models.UUIDField(null=True)
    data = models.JSONField(default=dict, help_text="ids and counts; never people's text or secrets")
    at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        indexes = [
            models.Index(fields=["project", "-id"], name="audit_of_project"),  # the project's audit page, newest first
            models.Index(fields=["subject_id", "id"], name="audit_of_subject"),  # the history of one record
            models.Index(fields=["project", "action", "-id"], name="audit_of_action"),  # the audit page's two filters
            models.Index(fields=["project", "actor", "-id"], name="audit_of_actor"),
        ]


class SignInAttempt(models.Model):
    """A sign-in that failed, or has not ended yet. Who fails too often waits: redpen.accounts.actions.signing_in.

    The address that was typed is kept as a keyed hash: people type passwords there by mistake.
    """

    who = models.CharField(max_length=64)
    address = models.CharField(max_length=45)
    at = models.DateTimeField(db_default=Now())

    class Meta:
        indexes = [
            models.Index(fields=["who", "at"], name="sign_in_attempts_of_person"),
            models.Index(fields=["address", "at"], name="sign_in_attempts_of_address"),
            models.Index(fields=["at"], name="sign_in_attempts_by_age"),  # the clean-up
        ]
