"""Reads of work and of those who do it."""

from __future__ import annotations

from django.db.models import Count, QuerySet

from annotation.models import Assignment, Task
from redpen.accounts.models import Project


def for_page() -> QuerySet[Assignment]:
    """With all that a page shows of one piece of work."""
    return Assignment.objects.select_related(
        "task__campaign", "task__prompt", "task__response", "task__other", "campaign_version"
    ).prefetch_related("campaign_version__questions")


def tasks_by_kind(project: Project) -> dict[str, dict[str, int]]:
    """How many tasks of each kind are open, done or withdrawn."""
    found: dict[str, dict[str, int]] = {}
    rows = Task.objects.filter(project=project).order_by().values_list("kind", "state").annotate(n=Count("pk"))
    for kind, state, count in rows:
        found.setdefault(kind, {})[state] = count
    return found
