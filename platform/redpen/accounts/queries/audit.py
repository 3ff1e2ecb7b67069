"""The audit trail, to read."""

from __future__ import annotations

from uuid import UUID

from django.db import connection
from django.db.models import QuerySet

from redpen.accounts.models import AuditEvent, Project, User


def events_of(project: Project, *, action: str = "", actor: UUID | None = None) -> QuerySet[AuditEvent]:
    """The project's lines, of one action and one person if named. Page them with pages.page_of."""
    events = AuditEvent.objects.filter(project=project).select_related("actor")
    if action:
        events = events.filter(action=action)
    if actor is not None:
        events = events.filter(actor=actor)
    return events


def actions_in(project: Project) -> list[str]:
    """The actions that occur in the project's trail, in order."""
    return _values(project, "action")


def people_in(project: Project) -> QuerySet[User]:
    """Those who did something in the project, members or not, by name."""
    return User.objects.filter(pk__in=_values(project, "actor_id")).order_by("name", "id")


def _values(project: Project, column: str) -> list:
    """The different values of an indexed column, jumping along the index: the trail may be long."""
    smallest = f"SELECT {column} AS value FROM accounts_auditevent WHERE project_id = %s AND {column} IS NOT NULL"
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            WITH RECURSIVE found(value) AS (
                ({smallest} ORDER BY {column} LIMIT 1)
                UNION ALL
                SELECT (SELECT next.value FROM ({smallest} AND {column} > found.value
                        ORDER BY {column} LIMIT 1) AS next)
                FROM found WHERE found.value IS NOT NULL
            )
            SELECT value FROM found WHERE value IS NOT NULL
            """,
            [project.pk, project.pk],
        )
        return [value for (value,) in cursor.fetchall()]
