"""Making and changing projects."""

from __future__ import annotations

import secrets

from django.db import IntegrityError, transaction
from django.utils.text import slugify

from redpen.accounts import audit, registry
from redpen.accounts.actions.names import one_line
from redpen.accounts.constraints import constraint_of
from redpen.accounts.errors import Conflict
from redpen.accounts.models import Membership, Project, Role, User


class SlugTaken(Conflict):
    code = "project.slug_taken"


@transaction.atomic
def create_project(*, creator: User, name: str, description: str = "", slug: str = "") -> Project:
    """A new project whose admin is `creator`, with what every app gives a new project (registry).

    Without `slug` one is made from the name. A slug that is taken raises SlugTaken, so a caller who names it can repeat
    the call.
    """
    name = one_line(name, pointer="/name", what="The project's name")
    project = _insert(name=name, description=description.strip(), slug=slug)
    membership = Membership.objects.create(project=project, user=creator, role=Role.ADMIN)
    audit.record("project.created", project=project, actor=creator, subject=project)
    audit.record("member.joined", project=project, actor=creator, subject=membership, role=Role.ADMIN.value)
    registry.project_created(project, creator)
    return project


def _insert(*, name: str, description: str, slug: str) -> Project:
    base = slugify(name)[:50].strip("-") or "project"
    candidates = [slug] if slug else [base, *(f"{base}-{secrets.token_hex(3)}" for _ in range(5))]
    for candidate in candidates:
        try:
            with transaction.atomic():
                return Project.objects.create(name=name, slug=candidate, description=description)
        except IntegrityError as error:
            if "slug" not in constraint_of(error):
                raise
    raise SlugTaken(f"The address /p/{candidates[0]}/ is taken. Choose another.", data={"slug": candidates[0]})


@transaction.atomic
def change_project(
    *, project: Project, actor: User, name: str | None = None, description: str | None = None
) -> Project:
    """Rename or describe it anew; its address stays, so that links go on working."""
    before = project.name, project.description
    if name is not None:
        project.name = one_line(name, pointer="/name", what="The project's name")
    if description is not None:
        project.description = description.strip()
    changed = [
        field for field, value in zip(("name", "description"), before, strict=True) if getattr(project, field) != value
    ]
    if changed:
        project.save(update_fields=changed)
        audit.record("project.changed", project=project, actor=actor, subject=project, fields=changed)
    return project
