"""Comparisons as pages and the API see them: how far they have come, and what came of them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models import Count, Q, QuerySet
from django.utils import timezone

from redpen.accounts.models import Project
from training.compare.plan import BASELINE
from training.compare.report import METRICS, Measured, Report, report_of
from training.models import Comparison, Run, Snapshot, Trial
from training.models.runs import ENDED, RunState
from training.queries.runs import costs_of


def of_project(project: Project) -> QuerySet[Comparison]:
    """Newest first, with how many runs each has and how many of them have succeeded or ended otherwise."""
    return (
        Comparison.objects.filter(project=project)
        .select_related("created_by")
        .annotate(
            runs=Count("trials"),
            done=Count("trials", filter=Q(trials__run__state=RunState.SUCCEEDED)),
            ended=Count("trials", filter=Q(trials__run__state__in=ENDED)),
            cancelling=Count("trials", filter=Q(trials__run__state=RunState.CANCELLING)),
        )
        .order_by("-id")
    )


def trials_of(comparison: Comparison) -> list[Trial]:
    """Its graph: each place with the run that stands there, in the order in which they were made."""
    rows = comparison.trials.select_related("run", "run__produced", "run__snapshot", "run__base_model")
    return list(rows.prefetch_related("run__after").order_by("id"))


def state_of(comparison: Comparison, states: Iterable[str]) -> str:
    """In a run's words: queued, running, cancelling, cancelled, failed, succeeded."""
    counts = Counter(states)
    if counts.keys() - set(ENDED):
        if comparison.cancelled_at:
            return "cancelling"
        return "running" if counts[RunState.RUNNING] or counts[RunState.SUCCEEDED] else "queued"
    if counts.keys() <= {RunState.SUCCEEDED}:
        return "succeeded"
    return "cancelled" if comparison.cancelled_at else "failed"


def state_of_counts(row: Any) -> str:
    """The same from the numbers of `of_project`."""
    if row.ended < row.runs:
        return "cancelling" if row.cancelled_at else "running"
    if row.done == row.runs:
        return "succeeded"
    return "cancelled" if row.cancelled_at else "failed"


def progress_of(comparison: Comparison, trials: list[Trial]) -> dict[str, Any]:
    """How many runs are where, how long it has taken, and about how long it will still take."""
    counts = Counter(trial.run.state for trial in trials)
    ended = [trial.run for trial in trials if trial.run.state in ENDED and trial.run.started_at]
    started = [trial.run.started_at for trial in trials if trial.run.started_at]
    over = all(trial.run.state in ENDED for trial in trials)
    until = max((run.ended_at for run in ended), default=None) if over else timezone.now()
    seconds = (until - min(started)).total_seconds() if started and until else None
    succeeded = counts[RunState.SUCCEEDED]
    left = seconds * (len(trials) - succeeded) / succeeded if seconds and succeeded and not over else None
    return {
        "state": state_of(comparison, (trial.run.state for trial in trials)),
        "runs": len(trials),
        "counts": dict(counts),
        "succeeded": succeeded,
        "seconds": seconds,
        "seconds_left": left,
        "over": over,
    }


def report(comparison: Comparison, trials: list[Trial] | None = None) -> Report:
    """What came of it so far: everything that can be said of the evaluations that are done."""
    trials = trials_of(comparison) if trials is None else trials
    costs = costs_of(trial.run for trial in trials)
    by_run = {trial.run_id: trial for trial in trials}
    done = [trial for trial in trials if trial.part == Trial.Part.EVALUATION and trial.run.state == RunState.SUCCEEDED]
    return report_of(
        [measured(trial, by_run, costs) for trial in done],
        order=(BASELINE, *comparison.options["recipes"]),
        level=0.95,
    )


def measured(trial: Trial, by_run: dict[UUID, Trial], costs: dict[UUID, dict[str, float]]) -> Measured:
    """One evaluation, with what its chain has cost and how many acts of people it learned from."""
    answers = answers_of(trial.run)
    learned = [one for one in chain_of(trial, by_run) if one.part != Trial.Part.EVALUATION and by_fresh(one)]
    snapshots = {one.run.snapshot_id: one.run.snapshot for one in learned if one.run.snapshot}
    told = [costs.get(one.run_id) for one in learned]
    told = [one for one in told if one]
    metric, worth = worth_of(trial.run) or ("", 0.0)
    return Measured(
        subject=trial.subject,
        seed=trial.seed,
        metric=metric,
        worth=worth,
        answers=answers,
        acts=sum(acts_in(snapshot) for snapshot in snapshots.values()),
        tokens=sum(one["tokens_written"] for one in told),
        cpu_seconds=sum(one["cpu_seconds"] for one in told),
        memory=max((one["peak_memory"] for one in told), default=0.0),
        run=trial.run.number,
        checked=any(one.run.config.get("checker") for one in learned),
    )


def worth_of(run: Run) -> tuple[str, float] | None:
    """What an evaluation has found, and its name; None where it is not done."""
    figures = run.produced.metrics if run.produced else {}
    return next(((name, float(figures[name])) for name in METRICS if name in figures), None)


def by_fresh(trial: Trial) -> bool:
    """A reward model that only judges held-out answers is no part of what a recipe has cost."""
    return not trial.place.endswith("/fresh judge")


def chain_of(trial: Trial, by_run: dict[UUID, Trial]) -> list[Trial]:
    """The trials that this one comes after, however far back."""
    found: dict[UUID, Trial] = {}
    waiting = [trial]
    while waiting:
        for before in waiting.pop().run.after.all():
            if before.pk in by_run and before.pk not in found:
                found[before.pk] = by_run[before.pk]
                waiting.append(by_run[before.pk])
    return list(found.values())


def acts_in(snapshot: Snapshot) -> int:
    """Human acts in a snapshot: every record, and every answer that was read and found to have no mark."""
    counts = snapshot.counts or {}
    return sum((counts.get("records") or {}).values()) + int(counts.get("clean") or 0)


def answers_of(run: Run) -> list[tuple[str, float | None]]:
    """(prompt, worth) of every answer of an evaluation, in the order in which they were asked for."""
    if run.produced is None:
        return []
    path: Path = settings.DATA_DIR / run.produced.path / "answers.jsonl"
    try:
        lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    except OSError:
        return []
    return [(line["prompt_id"], line["worth"]) for line in lines]
