"""How a project takes in what its product sends, to read."""

from __future__ import annotations

from django.db.models import QuerySet

from annotation.models import IntakeSettings, ReactionKind
from redpen.accounts.models import Project


def intake_of(project: Project) -> IntakeSettings:
    """The project's settings; where nobody has changed any, the defaults, which are stored by the first change."""
    return IntakeSettings.objects.filter(project=project).first() or IntakeSettings(project=project)


def kinds_of(project: Project) -> QuerySet[ReactionKind]:
    """The kinds of reactions: what is good, what is neither, what is bad; `shown` first."""
    return ReactionKind.objects.filter(project=project).order_by("-built_in", "-polarity", "key")
