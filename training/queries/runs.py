"""Runs as pages and the API see them: lists, the curve from where one left off, the log, samples."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from django.db.models import Q, QuerySet

from redpen.accounts.models import Project
from training.models import Run, RunEvent

MOST_EVENTS = 2000
SAMPLES = 12
COSTS = ("cpu_seconds", "loading_cpu_seconds", "seconds", "peak_memory", "tokens_written")


def of_project(project: Project) -> QuerySet[Run]:
    """Newest first; what a list shows of each is fetched with it."""
    return (
        Run.objects.filter(project=project)
        .select_related("base_model", "created_by", "produced", "snapshot")
        .order_by("-id")
    )


def origins(run: Run, more: Iterable[Mapping[str, Any]] = ()) -> dict[int, int]:
    """For every attempt that went on from a checkpoint, the attempt at whose beginning that training began.

    `more` are rows' data of the newest attempt that are not stored yet.
    """
    parents = {}
    told = run.events.filter(type="resumed").order_by("attempt").values_list("attempt", "data__folder")
    for attempt, folder in [*told, *((run.attempt, one.get("folder")) for one in more)]:
        name = str(folder).rpartition("-")[2]
        if name.isdigit():
            parents[attempt] = parents.get(int(name), int(name))
    return parents


def family(run: Run, attempt: int, more: Iterable[Mapping[str, Any]] = ()) -> list[int]:
    """The attempts that are one training with this one, itself included, in order."""
    parents = origins(run, [one for one in more if one.get("type") == "resumed"])
    origin = parents.get(attempt, attempt)
    return sorted({origin, attempt, *(one for one, first in parents.items() if first == origin)})


def events_after(run: Run, *, types: tuple[str, ...] = (), attempt: int = 0, seq: int = -1) -> list[RunEvent]:
    """Events later than (attempt, seq), in order, MOST_EVENTS at a time."""
    later = Q(attempt__gt=attempt) | Q(attempt=attempt, seq__gt=seq)
    rows = RunEvent.objects.filter(later, run=run)
    if types:
        rows = rows.filter(type__in=types)
    return list(rows.order_by("attempt", "seq")[:MOST_EVENTS])


def news(run: Run, *, after: UUID | None = None) -> list[RunEvent]:
    """Points of the charts and lines of the log that came after the event `after`, in the order of their coming."""
    rows = RunEvent.objects.filter(run=run, type__in=["metrics", "log", "error"])
    if after:
        rows = rows.filter(pk__gt=after)
    return list(rows.order_by("pk")[:MOST_EVENTS])


def samples_of(run: Run) -> list[RunEvent]:
    """What the newest samples show, newest first."""
    return list(RunEvent.objects.filter(run=run, type="sample").order_by("-attempt", "-seq")[:SAMPLES])


def last_metrics(run: Run) -> dict[str, float]:
    """The newest value of every metric in the training that counts."""
    values: dict[str, float] = {}
    rows = RunEvent.objects.filter(run=run, type="metrics", attempt__in=family(run, run.attempt))
    rows = rows.order_by("-attempt", "-seq")[:200]
    for row in rows:
        for name, value in row.data.get("values", {}).items():
            values.setdefault(name, value)
    return values


def seconds_left(run: Run) -> float | None:
    """How long a run that goes on will still take at its pace so far; None until two steps are known.

    Counted between steps, so that what came before the first one (unpacking a model, freezing records) does not weigh.
    """
    steps = RunEvent.objects.filter(run=run, type="metrics", attempt=run.attempt, step__isnull=False).order_by("seq")
    first, last = steps.first(), steps.last()
    if run.state != "running" or first is None or last.step <= first.step or run.total_steps <= last.step:
        return None
    pace = (last.at - first.at).total_seconds() / (last.step - first.step)
    return pace * (run.total_steps - last.step)


def costs(run: Run) -> dict[str, float] | None:
    """What a run has cost over all its attempts: CPU-seconds and wall-clock seconds of training, CPU-seconds of loading
    the libraries, the highest memory in bytes, tokens written by its models. None where it has not said so.
    """
    return costs_of([run]).get(run.pk)


def costs_of(runs: Iterable[Run]) -> dict[UUID, dict[str, float]]:
    """The same of many, by id."""
    newest: dict[tuple[UUID, int], dict[str, float]] = {}
    rows = RunEvent.objects.filter(run__in=list(runs), type="costs").order_by("run", "attempt", "seq")
    for run_id, attempt, data in rows.values_list("run_id", "attempt", "data"):
        newest[run_id, attempt] = data
    found: dict[UUID, dict[str, float]] = {}
    for (run_id, _), data in newest.items():
        told = found.setdefault(run_id, dict.fromkeys(COSTS, 0.0))
        for name in COSTS:
            value = float(data.get(name) or 0)
            told[name] = max(told[name], value) if name == "peak_memory" else told[name] + value
    return found
