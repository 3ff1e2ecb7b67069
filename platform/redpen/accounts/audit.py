"""The audit trail: one line for each write, in the same transaction."""

from __future__ import annotations

from typing import Any

from django.db import models

from redpen.accounts.models import AuditEvent, Project, User


def record(
    action: str,
    *,
    project: Project | None,
    actor: User | None = None,
    agent: str = "",
    subject: models.Model | None = None,
    **data: Any,
) -> AuditEvent:
    """Append one line. `data` holds ids and counts, never people's words."""
    return AuditEvent.objects.create(
        project=project,
        actor=actor,
        agent=agent,
        action=action,
        subject_kind=subject._meta.label_lower if subject is not None else "",
        subject_id=subject.pk if subject is not None else None,
        data=data,
    )
