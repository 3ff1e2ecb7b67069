"""Reads of marks."""

from __future__ import annotations

from uuid import UUID

from django.db.models import QuerySet

from annotation.models import Response, SpanCritique
from redpen.accounts.models import Project, User


def of_response(*, response: Response, author: User | None = None) -> QuerySet[SpanCritique]:
    """The live marks on an answer in reading order; of one author where given."""
    rows = SpanCritique.objects.filter(project=response.project_id, response=response, ended_at=None)
    if author is not None:
        rows = rows.filter(author=author)
    return rows.select_related("author").order_by("start", "id")


def versions(*, project: Project, lineage: UUID) -> QuerySet[SpanCritique]:
    """All versions of a mark, the latest first."""
    return (
        SpanCritique.objects.filter(project=project, lineage=lineage)
        .select_related("author", "response", "project", "assignment")
        .order_by("-version")
    )
