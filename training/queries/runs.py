"""Runs as pages and the API see them: lists, the curve from where one left off, the log, samples."""

from __future__ import annotations

from typing import Any

from django.db.models import Q, QuerySet

from redpen.accounts.models import Project
from training.models import Run, RunEvent

MOST_EVENTS = 2000
LOG_LINES = 400
SAMPLES = 12


def of_project(project: Project) -> QuerySet[Run]:
    """Newest first; what a list shows of each is fetched with it."""
    return (
        Run.objects.filter(project=project)
        .select_related("base_model", "created_by", "produced", "snapshot")
        .order_by("-id")
    )


def events_after(run: Run, *, types: tuple[str, ...] = (), attempt: int = 0, seq: int = -1) -> list[RunEvent]:
    """Events later than (attempt, seq), in order, MOST_EVENTS at a time."""
    later = Q(attempt__gt=attempt) | Q(attempt=attempt, seq__gt=seq)
    rows = RunEvent.objects.filter(later, run=run)
    if types:
        rows = rows.filter(type__in=types)
    return list(rows.order_by("attempt", "seq")[:MOST_EVENTS])


def curve(run: Run, *, attempt: int = 0, seq: int = -1) -> dict[str, Any]:
    """New points of the charts: `[attempt, step, {name: value}]` each, and the place to ask from next."""
    rows = events_after(run, types=("metrics",), attempt=attempt, seq=seq)
    points = [[row.attempt, row.step, row.data.get("values", {})] for row in rows]
    if rows:
        attempt, seq = rows[-1].attempt, rows[-1].seq
    return {"points": points, "attempt": attempt, "seq": seq, "more": len(rows) == MOST_EVENTS}


def log_of(run: Run) -> list[RunEvent]:
    """The last lines of the log, oldest first: the child's and the worker's, in the order of time."""
    rows = RunEvent.objects.filter(run=run, type__in=["log", "error"]).order_by("-attempt", "-at", "-seq")[:LOG_LINES]
    return list(rows)[::-1]


def samples_of(run: Run) -> list[RunEvent]:
    """What the newest samples show, newest first."""
    return list(RunEvent.objects.filter(run=run, type="sample").order_by("-attempt", "-seq")[:SAMPLES])


def last_metrics(run: Run) -> dict[str, float]:
    """The newest value of every metric in the attempt that counts."""
    values: dict[str, float] = {}
    rows = RunEvent.objects.filter(run=run, type="metrics", attempt=run.attempt).order_by("-seq")[:200]
    for row in rows:
        for name, value in row.data.get("values", {}).items():
            values.setdefault(name, value)
    return values
