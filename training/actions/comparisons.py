"""Starting, cancelling and resuming comparisons of recipes. Each of their runs is a run like any other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db import transaction
from django.db.models import Max
from django.db.models.functions import Now
from pydantic import ValidationError

from annotation.models import Campaign
from redpen.accounts import audit
from redpen.accounts.errors import Conflict, Invalid, NotFound
from redpen.accounts.models import Project, User
from training.actions.runs import Launch, LaunchRefused, cancel_run, in_words, launch_run
from training.actions.snapshots import freeze_query
from training.compare.options import Options
from training.compare.plan import Place, plan
from training.models import Comparison, Run, Snapshot, Trial
from training.models.runs import ENDED, RunState
from training.recipes import registry
from training.snapshots.query import SnapshotQuery


class ComparisonRefused(Invalid):
    code = "comparison.refused"
    title = "This comparison cannot start"

    def __init__(self, problems: list[dict[str, str]]) -> None:
        super().__init__(problems[0]["message"], problems=problems)


def check_options(given: Mapping[str, Any]) -> Options:
    """The options; raises ComparisonRefused with everything that is wrong, each with its JSON pointer."""
    try:
        return Options.model_validate(given)
    except ValidationError as error:
        problems = [
            {
                "pointer": "/".join(["/options", *(str(part) for part in fault["loc"])]),
                "code": f"options.{fault['type']}",
                "message": in_words(fault),
            }
            for fault in error.errors()
        ]
        raise ComparisonRefused(problems) from error


def check_plan(given: Mapping[str, Any]) -> Options:
    """The options of a comparison whose every run can be configured; raises ComparisonRefused otherwise. It makes
    nothing: whoever has people do their acts first asks this before.
    """
    options = check_options(given)
    problems = []
    for place in planned(options):
        try:
            registry.get(place.recipe).config(place.config, preset="" if options.settings else "laptop")
        except ValidationError as error:
            for fault in error.errors():
                pointer = "/".join(["/config", *(str(part) for part in fault["loc"])])
                message = f"{place.place}: {in_words(fault)}"
                problems.append({"pointer": pointer, "code": f"config.{fault['type']}", "message": message})
    if problems:
        raise ComparisonRefused(problems)
    return options


@transaction.atomic
def start_comparison(
    *,
    project: Project,
    author: User | None,
    options: Mapping[str, Any],
    name: str = "",
    client_key: str | None = None,
) -> tuple[Comparison, bool]:
    """The whole graph of runs, queued or waiting, or nothing of it; and whether it is new. The same key gives the
    comparison of the first time.
    """
    Project.objects.select_for_update().get(pk=project.pk)
    if client_key and (known := Comparison.objects.filter(project=project, client_key=client_key).first()):
        return known, False
    asked = check_plan(options)
    if len(name) > 120:
        raise ComparisonRefused([{"pointer": "/name", "code": "name.long", "message": "A name has 120 characters."}])
    check_campaigns(project, asked)
    last = Comparison.objects.filter(project=project).aggregate(last=Max("number"))["last"] or 0
    comparison = Comparison.objects.create(
        project=project,
        number=last + 1,
        name=name.strip(),
        options=asked.model_dump(mode="json"),
        created_by=author,
        client_key=client_key,
    )
    launching = Launching(comparison, asked, author)
    for place in planned(asked):
        launching.launch(place)
    audit.record(
        "comparison.started",
        project=project,
        actor=author,
        agent="" if author else "command",
        subject=comparison,
        runs=len(launching.runs),
    )
    return comparison, True


def planned(options: Options) -> list[Place]:
    """The graph; raises ComparisonRefused where a recipe needs what no recipe makes."""
    try:
        return plan(options)
    except ValueError as error:
        said = str(error)
        problem = {
            "pointer": "/options/recipes",
            "code": "options.recipes",
            "message": f"{said[:1].upper()}{said[1:]}.",
        }
        raise ComparisonRefused([problem]) from error


def check_campaigns(project: Project, options: Options) -> None:
    known = Campaign.objects.filter(project=project, pk__in=options.campaigns).count()
    if known != len(set(options.campaigns)):
        problem = {"pointer": "/options/campaigns", "code": "campaign.unknown"}
        raise ComparisonRefused([{**problem, "message": "One of these campaigns is not in this project."}])


class Launching:
    """Launches places of a graph; what reads the same rows reads one snapshot."""

    def __init__(self, comparison: Comparison, options: Options, author: User | None) -> None:
        self.comparison, self.options, self.author = comparison, options, author
        self.runs: dict[str, Run] = {}
        self._snapshots: dict[tuple[Any, ...], Snapshot] = {}

    def launch(self, place: Place, *, again_of: Run | None = None) -> Run:
        """The place's run, which now stands for it."""
        launch = Launch(
            recipe=place.recipe,
            config=place.config,
            preset="" if self.options.settings else "laptop",
            base_model=self.options.base_model,
            name=f"{self.comparison} {place.place}"[:120] if self.comparison.name else place.place[:120],
            seed=place.run_seed,
            after=tuple(self.runs[name].number for name in place.after),
        )
        snapshot = (again_of and again_of.snapshot) or self.snapshot_of(place)
        try:
            run, _ = launch_run(
                project=self.comparison.project, author=self.author, launch=launch, again_of=again_of, snapshot=snapshot
            )
        except LaunchRefused as refused:
            problems = [{**one, "message": f"{place.place}: {one['message']}"} for one in refused.problems]
            raise ComparisonRefused(problems) from refused
        Trial.objects.update_or_create(
            comparison=self.comparison,
            place=place.place,
            defaults={
                "project_id": self.comparison.project_id,
                "subject": place.subject,
                "part": place.part,
                "seed": place.seed,
                "run": run,
            },
        )
        self.runs[place.place] = run
        return run

    def snapshot_of(self, place: Place) -> Snapshot:
        campaigns = () if place.campaign is None else (self.options.campaigns[place.campaign],)
        key = (place.kinds, campaigns)
        if key not in self._snapshots:
            self._snapshots[key] = freeze_query(
                project=self.comparison.project,
                query=SnapshotQuery(kinds=place.kinds, campaigns=campaigns),
                author=self.author,
                name=f"for {self.comparison}: {', '.join(place.kinds)}"[:120],
            )
        return self._snapshots[key]


@transaction.atomic
def cancel_comparison(*, comparison: Comparison, author: User | None) -> Comparison:
    """Ask all its runs to stop. What has been finished stays, and the comparison can be resumed."""
    runs = list(Run.objects.filter(trials__comparison=comparison).exclude(state__in=ENDED).order_by("-number"))
    if not runs:
        raise Conflict(f"{comparison} has no run that could be stopped.", code="comparison.ended")
    Comparison.objects.filter(pk=comparison.pk).update(cancelled_at=Now())
    for run in runs:
        if run.state != RunState.CANCELLING:
            try:
                cancel_run(run=run, author=author)
            except Conflict:  # it has just ended
                continue
    audit.record(
        "comparison.cancelled",
        project=comparison.project,
        actor=author,
        agent="" if author else "command",
        subject=comparison,
    )
    comparison.refresh_from_db()
    return comparison


@transaction.atomic
def resume_comparison(*, comparison: Comparison, author: User | None) -> tuple[Comparison, int]:
    """Go on: whatever failed or was cancelled is launched anew, over the same rows; and how many runs that is."""
    Project.objects.select_for_update().get(pk=comparison.project_id)
    trials = {trial.place: trial for trial in comparison.trials.select_related("run", "run__snapshot")}
    if any(trial.run.state == RunState.CANCELLING for trial in trials.values()):
        raise Conflict("Some of its runs are still stopping. Wait a moment.", code="comparison.stopping")
    options = check_options(comparison.options)
    launching = Launching(comparison, options, author)
    launched = 0
    for place in planned(options):
        trial = trials.get(place.place)
        run = repeated(trial.run) if trial else None
        if run is not None and run.state not in (RunState.FAILED, RunState.CANCELLED):
            launching.runs[place.place] = run
            if trial and trial.run_id != run.pk:
                Trial.objects.filter(pk=trial.pk).update(run=run)
            continue
        launching.launch(place, again_of=run)
        launched += 1
    Comparison.objects.filter(pk=comparison.pk).update(cancelled_at=None)
    audit.record(
        "comparison.resumed",
        project=comparison.project,
        actor=author,
        agent="" if author else "command",
        subject=comparison,
        runs=launched,
    )
    comparison.refresh_from_db()
    return comparison, launched


def repeated(run: Run) -> Run:
    """The newest repetition of a run, which somebody may have asked for on its own page; else the run itself."""
    while (again := run.again.order_by("-number").first()) is not None:
        run = again
    return run


def comparison_of(project: Project, number: int) -> Comparison:
    found = Comparison.objects.filter(project=project, number=number).select_related("project", "created_by").first()
    if found is None:
        raise NotFound(f"There is no comparison {number} in this project.")
    return found
