"""Reads of work and of those who do it."""

from __future__ import annotations

from django.db.models import QuerySet

from annotation.models import Assignment


def for_page() -> QuerySet[Assignment]:
    """With all that a page shows of one piece of work."""
    return Assignment.objects.select_related(
        "task__campaign", "task__prompt", "task__response", "task__other", "campaign_version"
    ).prefetch_related("campaign_version__questions")
