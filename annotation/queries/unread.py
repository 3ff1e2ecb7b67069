"""Answers about which nobody has been asked and nothing has been said."""

from __future__ import annotations

from datetime import datetime

from django.db.models import Exists, OuterRef, Q, QuerySet

from annotation.models import Campaign, Critique, Origin, Preference, Rating, Response, SpanCritique, Task
from redpen.accounts.models import Project


def unread_answers(project: Project, *, since: datetime | None = None) -> QuerySet[Response]:
    """Answers that models gave, test data aside, in the order in which they came; with `since`, only later ones."""
    rows = Response.objects.filter(project=project, origin=Origin.MODEL, test=False)
    if since is not None:
        rows = rows.filter(created_at__gte=since)
    asked = Task.objects.filter(Q(response=OuterRef("pk")) | Q(other=OuterRef("pk")))
    compared = Preference.objects.filter(Q(response_a=OuterRef("pk")) | Q(response_b=OuterRef("pk")))
    rows = rows.filter(~Exists(asked), ~Exists(compared))
    for model in (SpanCritique, Critique, Rating):
        rows = rows.filter(~Exists(model.objects.filter(response=OuterRef("pk"))))
    return rows.order_by("id")


def open_campaign(project: Project) -> Campaign | None:
    """Where new work goes: the oldest campaign that is open."""
    return Campaign.objects.filter(project=project, state=Campaign.State.OPEN).order_by("id").first()
