"""The good end of a run: its model is kept and its new answers go back to the people. All of it or nothing."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path
from typing import Any

from django.db import transaction
from django.db.models import Max
from django.db.models.functions import Now

from annotation.actions.people import Author
from annotation.actions.prompts import NewResponse, add_responses
from annotation.actions.tasks import create_tasks
from annotation.models import Campaign, Prompt
from redpen.accounts import audit
from redpen.accounts.errors import RedpenError
from redpen.accounts.ids import new_id
from redpen.accounts.models import Project
from training.models import ModelVersion, Run
from training.models.runs import RunState
from training.recipes import registry
from training.runs import events, places
from training.runs.lease import Fenced, Hold, say
from training.runs.telling import tell

log = logging.getLogger(__name__)
BATCH = 200  # new answers stored at a time
NEW_ANSWERS_FIRST = 10.0  # priority of their tasks: what the newest model says is what people should judge next


class NoArtifact(Exception):
    """The child said that it was done and left no model."""


def succeed(hold: Hold, folder: Path) -> ModelVersion:
    """Keep what the child in `folder` made. Repeated after a failure, it starts from the same files."""
    said = list(events.every(folder / events.NAME))
    announced = next((event for event in reversed(said) if event["type"] == "artifact"), None)
    number_of_responses = sum(event["type"] == "response" for event in events.story(folder))
    made = folder / str(announced.get("path", "artifact")) if announced else None
    if made is None or not made.resolve().is_relative_to(folder.resolve()) or not (made / "redpen.json").is_file():
        raise NoArtifact
    del said

    model_id = new_id()
    path = f"models/{model_id}"
    kept = keep_files(made, places.settings.DATA_DIR / path)
    try:
        with transaction.atomic():
            # the project's row first, then the run's: the one order of locks
            Project.objects.select_for_update().get(pk=hold.rows().values_list("project_id", flat=True).first())
            run = hold.lock("running")
            model = register(run, model_id=model_id, path=path, metrics=announced.get("metrics") or {})
            if number_of_responses:
                give_back(hold, run, model, folder)
            hold.update("running", state=RunState.SUCCEEDED, produced=model, lease_expires_at=None, ended_at=Now())
            audit.record("run.succeeded", project=run.project, agent="worker", subject=run, model=str(model.pk))
            tell("run.succeeded", run_id=run.pk)
    except BaseException as error:
        shutil.rmtree(kept, ignore_errors=True)
        if isinstance(error, Project.DoesNotExist):
            raise Fenced(f"run {hold.run_id} is gone") from error
        raise
    shutil.rmtree(made, ignore_errors=True)  # its files live on under models/
    return model


def keep_files(made: Path, target: Path) -> Path:
    """The artifact's files under their final name, by hard links where the disk allows; there whole or not at all."""

    def link(source: str, destination: str) -> None:
        try:
            os.link(source, destination)
        except OSError:
            shutil.copy2(source, destination)

    draft = target.with_name(f"{target.name}.part")
    shutil.rmtree(draft, ignore_errors=True)
    draft.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(made, draft, copy_function=link)
    draft.rename(target)
    return target


def register(run: Run, *, model_id: Any, path: str, metrics: dict[str, Any]) -> ModelVersion:
    """The row of the model, with the next number under its name."""
    name = run.name or run.recipe
    last = ModelVersion.objects.filter(project=run.project, name=name).aggregate(last=Max("number"))["last"]
    produces = registry.get(run.recipe).produces
    model = ModelVersion.objects.create(
        id=model_id,
        project=run.project,
        name=name,
        number=(last or 0) + 1,
        kind=produces,
        base=run.base_model,
        parent=parent_of(run, produces),
        path=path,
        metrics=events.storable(metrics),
    )
    audit.record("model.made", project=run.project, agent="worker", subject=model, run=str(run.pk))
    return model


def parent_of(run: Run, kind: str) -> ModelVersion | None:
    """The model of the same kind that the run went on from."""
    given = run.inputs.filter(kind=kind).select_related("model_version").first()
    return given.model_version if given else None


def give_back(hold: Hold, run: Run, model: ModelVersion, folder: Path) -> None:
    """The run's new answers as Responses, and a task for each in the campaign that people work on."""
    author = Author.model(str(model))
    campaign = (
        Campaign.objects.filter(project=run.project, state=Campaign.State.OPEN, versions__questions__kind="spans")
        .distinct()
        .order_by("-id")
        .first()
    )
    stored = refused = tasks = 0
    batch: list[dict[str, Any]] = []

    def flush() -> None:
        nonlocal stored, refused, tasks
        new = []
        prompts = Prompt.objects.filter(project=run.project).in_bulk([one["prompt_id"] for one in batch])
        prompts_by_id = {str(key): prompt for key, prompt in prompts.items()}
        for one in batch:
            prompt = prompts_by_id.get(str(one["prompt_id"]))
            if prompt is None:
                refused += 1
                continue
            prompt.project = run.project
            new.append(
                NewResponse(
                    prompt=prompt,
                    text=one["text"],
                    model=str(model),
                    more={
                        "model_version": model.pk,
                        "sampling": one.get("sampling") or {},
                        "token_ids": one.get("token_ids"),
                        "token_logprobs": one.get("logprobs"),
                    },
                )
            )
        batch.clear()
        responses, refusals = store_answers(author, run, new)
        stored += len(responses)
        refused += refusals
        if campaign and responses:
            tasks += create_tasks(
                author=author,
                campaign=campaign,
                responses=responses,
                priority=NEW_ANSWERS_FIRST,
                priority_reason=f"new answer of {model}",
            )

    for event in events.story(folder):
        if event["type"] == "response":
            batch.append(event["data"])
            if len(batch) >= BATCH:
                flush()
    if batch:
        flush()
    where = f", {tasks} of them waiting in the campaign “{campaign}”" if campaign else "; no open campaign takes them"
    say(hold, f"{stored} new answers are stored{where}." + (f" {refused} could not be stored." if refused else ""))


def store_answers(author: Author, run: Run, new: list[NewResponse]) -> tuple[list[Any], int]:
    """All in one go or, where one of them cannot be held by Postgres (a NUL, say), one by one without it."""
    try:
        with transaction.atomic():
            return add_responses(author=author, project=run.project, new=new)[0], 0
    except RedpenError:
        kept, refused = [], 0
        for one in new:
            try:
                with transaction.atomic():
                    kept += add_responses(author=author, project=run.project, new=[one], audited=False)[0]
            except RedpenError as error:
                refused += 1
                log.warning("run.answer_refused", extra={"run": str(run.pk), "code": error.code})
        return kept, refused
