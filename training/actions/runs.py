"""Launching, cancelling and repeating runs. All that is wrong is said at once, before anything is loaded."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Max
from django.db.models.functions import Now
from pydantic import ValidationError

from redpen.accounts import audit
from redpen.accounts.errors import Conflict, Invalid, NotFound
from redpen.accounts.models import Project, User
from training.actions.chains import move_on, move_one_on
from training.actions.snapshots import freeze_query
from training.models import BaseModel, ModelVersion, Run, RunInput, Snapshot
from training.models.runs import ENDED, RunState
from training.queries.models import base_models
from training.queries.snapshots import preview
from training.recipes import registry
from training.recipes.base import Recipe, RecipeConfig, kinds_of
from training.recipes.base import in_words as need_in_words
from training.snapshots.query import RowKind, SnapshotQuery

# the kinds of records that recipes name, as rows of a snapshot
ROWS_OF: dict[str, RowKind] = {
    "SpanCritique": "response",
    "Preference": "preference",
    "Prompt": "prompt",
    "Ranking": "ranking",
    "Choice": "choice",
    "Rating": "rating",
    "Critique": "verdict",
    "Reaction": "reaction",
    "Rewrite": "rewrite",
    "Response": "demonstration",
}


@dataclass(frozen=True, kw_only=True)
class Launch:
    """What somebody asks for; nothing in it has been checked."""

    recipe: str
    config: Mapping[str, Any] = field(default_factory=dict)
    preset: str = "laptop"
    base_model: str = ""
    inputs: Mapping[str, UUID | str] = field(default_factory=dict)
    origins: tuple[str, ...] = ()
    campaigns: tuple[UUID, ...] = ()
    test: bool = False
    name: str = ""
    seed: int = 0
    after: tuple[int, ...] = ()  # numbers of runs that must succeed first; what they make is this one's input


@dataclass(frozen=True, kw_only=True)
class Checked:
    """The same, found to be possible."""

    recipe: Recipe
    config: RecipeConfig
    base: BaseModel
    inputs: dict[str, ModelVersion]
    query: SnapshotQuery
    before: tuple[Run, ...] = ()


def query_for(
    recipe: Recipe, *, origins: tuple[str, ...] = (), campaigns: tuple[UUID, ...] = (), test: bool = False
) -> SnapshotQuery:
    """The records that a recipe reads. Raises pydantic's ValidationError for filters that do not exist."""
    kinds = tuple(dict.fromkeys(ROWS_OF[kind] for kind in recipe.consumes))
    return SnapshotQuery.model_validate({"kinds": kinds, "origins": origins, "campaigns": campaigns, "test": test})


class LaunchRefused(Invalid):
    code = "run.refused"
    title = "This run cannot start"

    def __init__(self, problems: list[dict[str, str]]) -> None:
        first = problems[0]["message"]
        more = f" ({len(problems)} things are wrong.)" if len(problems) > 1 else ""
        super().__init__(first + more, problems=problems)


def check(project: Project, launch: Launch) -> Checked:
    """What would run; raises LaunchRefused with everything that is wrong, each with its JSON pointer."""
    problems: list[dict[str, str]] = []

    def wrong(pointer: str, code: str, message: str) -> None:
        problems.append({"pointer": pointer, "code": code, "message": message})

    try:
        recipe = registry.get(launch.recipe)
    except registry.NoSuchRecipe as error:
        wrong("/recipe", "recipe.unknown", str(error))
        raise LaunchRefused(problems) from error

    config = None
    if launch.preset and launch.preset not in recipe.presets:
        wrong(
            "/preset", "preset.unknown", f"There is no preset “{launch.preset}”; there are {', '.join(recipe.presets)}."
        )
    else:
        try:
            config = recipe.config(launch.config, preset=launch.preset or None)
        except ValidationError as error:
            for fault in error.errors():
                pointer = "/".join(["/config", *(str(part) for part in fault["loc"])])
                wrong(pointer, f"config.{fault['type']}", in_words(fault))

    if not 0 <= launch.seed < 2**31:
        wrong("/seed", "seed.range", "The seed is a whole number from 0 to 2147483647.")
    if len(launch.name) > 120:
        wrong("/name", "name.long", "A name has at most 120 characters.")

    bases = {base.name: base for base in base_models()}
    base = bases.get(launch.base_model)
    if base is None:
        known = ", ".join(sorted(bases))
        wrong("/base_model", "base_model.unknown", f"There is no base model “{launch.base_model}”; there are: {known}.")
    elif refused := base.check_report.get("refused"):
        wrong("/base_model", "base_model.refused", f"{base} cannot be trained on: {refused}")

    before = check_before(project, launch, wrong)
    inputs = check_inputs(project, recipe, launch, wrong, coming={made_by(run) for run in before})
    query = None
    try:
        query = query_for(recipe, origins=launch.origins, campaigns=launch.campaigns, test=launch.test)
    except ValidationError as error:
        for fault in error.errors():
            wrong("/" + "/".join(str(part) for part in fault["loc"]), "data.filter", fault["msg"])
    if query is not None:
        check_rows(project, query, wrong)
    if problems or config is None or base is None or query is None:
        raise LaunchRefused(problems)
    return Checked(recipe=recipe, config=config, base=base, inputs=inputs, query=query, before=before)


def made_by(run: Run) -> str:
    """The kind of model that a run makes."""
    return registry.get(run.recipe).produces


def check_before(project: Project, launch: Launch, wrong: Any) -> tuple[Run, ...]:
    """The runs that this one comes after."""
    found = {run.number: run for run in Run.objects.filter(project=project, number__in=launch.after)}
    for number in launch.after:
        if number not in found:
            wrong("/after", "after.unknown", f"There is no run {number} in this project.")
        elif found[number].state in (RunState.FAILED, RunState.CANCELLED):
            how = "was cancelled" if found[number].state == RunState.CANCELLED else "has failed"
            wrong("/after", "after.ended", f"Run {number} {how}: try it again, and start this one after the new run.")
    return tuple(found.values())


FAULTS = {
    "greater_than_equal": "This is at least {ge}.",
    "greater_than": "This is above {gt}.",
    "less_than_equal": "This is at most {le}.",
    "less_than": "This is below {lt}.",
    "int_parsing": "This is a whole number.",
    "int_from_float": "This is a whole number.",
    "float_parsing": "This is a number.",
    "finite_number": "This is a finite number.",
    "bool_parsing": "This is yes or no.",
    "literal_error": "This is one of {expected}.",
    "extra_forbidden": "The recipe has no option of this name.",
}


def in_words(fault: Any) -> str:
    """A fault that pydantic found, in our tone; in its own words where we have none."""
    if words := FAULTS.get(fault["type"]):
        return words.format(**fault.get("ctx", {}))
    said = fault["msg"].removeprefix("Value error, ")
    return said[:1].upper() + said[1:]


def check_inputs(
    project: Project, recipe: Recipe, launch: Launch, wrong: Any, *, coming: Collection[str] = ()
) -> dict[str, ModelVersion]:
    """The models that a run is given; `coming` are the kinds that runs before it will make."""
    found: dict[str, ModelVersion] = {}
    for need in recipe.unmet([*coming, *(kind for kind, given in launch.inputs.items() if given)]):
        kinds, words = kinds_of(need), need_in_words(need)
        have = ModelVersion.objects.filter(project=project, kind__in=kinds).exists()
        todo = "Choose one." if have else f"The project has none yet: train a {words} first."
        wrong(f"/inputs/{kinds[0]}", "input.missing", f"{recipe.title} needs a {words}. {todo}")
    for kind in recipe.inputs:
        given, words = launch.inputs.get(kind), kind.replace("_", " ")
        if not given:
            continue
        try:
            model = ModelVersion.objects.filter(project=project, pk=UUID(str(given))).first()
        except ValueError:
            model = None
        if model is None:
            wrong(f"/inputs/{kind}", "input.unknown", f"There is no such {words} in this project.")
        elif model.kind not in (kinds := recipe.kinds_for(kind)):
            wanted = need_in_words("|".join(kinds))
            wrong(f"/inputs/{kind}", "input.kind", f"{model} is a {model.get_kind_display()}, not a {wanted}.")
        else:
            found[kind] = model
    for kind in launch.inputs:
        if kind not in recipe.inputs:
            wrong(f"/inputs/{kind}", "input.unused", f"{recipe.title} has no use for a {kind.replace('_', ' ')}.")
    return found


def check_rows(project: Project, query: SnapshotQuery, wrong: Any) -> None:
    """There must be something in the train split to learn from: of one kind at least, where a recipe reads several."""
    counts = preview(project, query)
    if not any(counts["rows"][kind]["train"] for kind in query.kinds):
        rest = sum(sum(counts["rows"][kind].values()) for kind in query.kinds)
        held = f" ({rest} are held out for measuring)" if rest else ""
        what = " or ".join(WHAT[kind] for kind in query.kinds)
        first = NEXT[query.kinds[0]]
        wrong("/data", "data.empty", f"There are no {what} in the train split{held}. {first}")
    elif query.kinds == ("response",) and not any(label["sentiment"] for label in counts["labels"]):
        reviewed = sum(counts["rows"]["response"].values())
        message = f"None of the {reviewed} reviewed answers has a good or bad phrase marked. {NEXT['response']}"
        wrong("/data", "data.no_marks", message)


WHAT: dict[RowKind, str] = {
    "response": "answers that somebody marked or reviewed",
    "preference": "compared pairs of answers",
    "prompt": "prompts",
    "ranking": "rankings",
    "choice": "choices",
    "rating": "ratings",
    "verdict": "verdicts on answers",
    "reaction": "reactions",
    "rewrite": "rewrites",
    "demonstration": "answers written by people",
}
NEXT: dict[RowKind, str] = {
    "response": "Mark some answers and submit them, or import marks.",
    "preference": "Compare some pairs, or import comparisons.",
    "prompt": "Import prompts first.",
    "rewrite": "Write some answers as they should have read, or import rewrites.",
}


@transaction.atomic
def launch_run(
    *,
    project: Project,
    author: User | None,
    launch: Launch,
    client_key: str | None = None,
    again_of: Run | None = None,
    snapshot: Snapshot | None = None,
) -> tuple[Run, bool]:
    """A queued run (or one that waits for those before it), and whether it is new: the same key with the same request
    gives the run of the first time. A `snapshot` given here is read in place of a new one.
    """
    # The project's row first: it orders the numbers of runs and makes a double click wait for the first one.
    Project.objects.select_for_update().get(pk=project.pk)
    if client_key and (known := Run.objects.filter(project=project, client_key=client_key).first()):
        return same_request(known, launch), False
    checked = check(project, launch)
    snapshot = (
        snapshot
        or reused(again_of)
        or freeze_query(
            project=project, query=checked.query, author=author, name=f"for {launch.name or checked.recipe.title}"
        )
    )
    last = Run.objects.filter(project=project).aggregate(last=Max("number"))["last"] or 0
    run = Run.objects.create(
        project=project,
        number=last + 1,
        recipe=checked.recipe.name,
        name=launch.name.strip(),
        config=checked.config.model_dump(mode="json"),
        preset=launch.preset,
        seed=launch.seed,
        state=RunState.WAITING if checked.before else RunState.QUEUED,
        base_model=checked.base,
        snapshot=snapshot,
        created_by=author,
        client_key=client_key,
        again_of=again_of,
    )
    RunInput.objects.bulk_create(
        RunInput(project=project, run=run, kind=kind, model_version=model) for kind, model in checked.inputs.items()
    )
    if checked.before:
        run.after.set(checked.before)
        move_one_on(run.pk)
        run.refresh_from_db()
    audit.record(
        "run.launched",
        project=project,
        actor=author,
        agent="" if author else "program",
        subject=run,
        recipe=run.recipe,
        snapshot=str(snapshot.pk),
    )
    transaction.on_commit(partial(ring_bell))
    return run, True


def reused(again_of: Run | None) -> Snapshot | None:
    """A repeated run reads the very rows of the first, if they were ever written."""
    if again_of and again_of.snapshot and again_of.snapshot.state == Snapshot.State.READY:
        return again_of.snapshot
    return None


def same_request(known: Run, launch: Launch) -> Run:
    if (known.recipe, known.base_model.name, known.seed) != (launch.recipe, launch.base_model, launch.seed):
        raise Invalid(
            f"Run {known.number} was started with this key, and it is another one. Use a new key for a new run.",
            code="run.key_reused",
            data={"run": known.number},
        )
    return known


@transaction.atomic
def cancel_run(*, run: Run, author: User) -> Run:
    """Ask a run to stop. One that no worker holds has stopped at once."""
    rows = Run.objects.filter(pk=run.pk)
    if rows.filter(state__in=["queued", "waiting", "paused"]).update(state=RunState.CANCELLED, ended_at=Now()):
        audit.record("run.cancelled", project=run.project, actor=author, subject=run)
    elif rows.filter(state="running").update(state=RunState.CANCELLING):
        audit.record("run.cancel_asked", project=run.project, actor=author, subject=run)
    elif rows.filter(state__in=ENDED).exists():
        run.refresh_from_db()
        raise Conflict(
            f"Run {run.number} has already ended: {run.state}.", code="run.ended", data={"state": str(run.state)}
        )
    move_on()
    run.refresh_from_db()
    return run


def try_again(*, run: Run, author: User, client_key: str | None = None) -> tuple[Run, bool]:
    """The same run once more, over the same rows: an ended run itself never changes."""
    if run.state not in ENDED:
        raise Conflict(f"Run {run.number} is still {run.state}.", code="run.not_ended", data={"state": str(run.state)})
    query = (run.snapshot.query if run.snapshot else None) or {}
    launch = Launch(
        recipe=run.recipe,
        config=run.config,
        preset="",
        base_model=run.base_model.name,
        inputs={one.kind: one.model_version_id for one in run.inputs.all()},
        origins=tuple(query.get("origins") or ()),
        campaigns=tuple(query.get("campaigns") or ()),
        test=bool(query.get("test")),
        name=run.name,
        seed=run.seed,
        after=tuple(run.after.values_list("number", flat=True)),
    )
    return launch_run(project=run.project, author=author, launch=launch, client_key=client_key, again_of=run)


def run_of(project: Project, number: int) -> Run:
    found = Run.objects.filter(project=project, number=number).select_related(
        "base_model", "snapshot", "produced", "created_by", "project", "again_of"
    )
    if (run := found.first()) is None:
        raise NotFound(f"There is no run {number} in this project.")
    return run


def ring_bell() -> None:
    from training.tasks import ring  # tasks import what works on runs; a page only rings

    ring()
