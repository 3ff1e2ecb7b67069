"""Where a run's files lie, below DATA_DIR."""

from __future__ import annotations

import re
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db.models import Value
from django.db.models.functions import Now

from training.models import BaseModel, ModelVersion, Run
from training.models.runs import RunState
from training.runs import events

CHECKPOINT = re.compile(r"step-(\d{8})")  # a whole one; as `engine.checkpoints` names it, which would import torch here
KEPT_WHEN_CANCELLED = timedelta(days=7)


def attempt_folder(run: Run, attempt: int) -> Path:
    return settings.DATA_DIR / "runs" / str(run.pk) / f"attempt-{attempt}"


def attempts_before(run: Run, attempt: int) -> list[Path]:
    """The folders of the attempts before this one that are still there, newest first."""
    folders = (attempt_folder(run, earlier) for earlier in range(attempt - 1, 0, -1))
    return [folder for folder in folders if folder.is_dir()]


def checkpoint_step(run: Run) -> int | None:
    """The step of the newest checkpoint that the run has left, or None. By the folders' names alone: a page asks."""
    steps = [
        int(found[1])
        for folder in attempts_before(run, run.attempt + 1)
        for path in (folder / "checkpoints").glob("step-*")
        if (found := CHECKPOINT.fullmatch(path.name))
    ]
    return max(steps, default=None)


def drop_checkpoints(run: Run) -> None:
    """What nobody can go on from any more."""
    for folder in attempts_before(run, run.attempt + 1):
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)


def drop_old_checkpoints() -> None:
    """Those of runs that were cancelled so long ago that nobody is likely to want them."""
    for run in Run.objects.filter(state=RunState.CANCELLED, ended_at__lt=Now() - Value(KEPT_WHEN_CANCELLED)):
        drop_checkpoints(run)


def base_location(base: BaseModel) -> str:
    """What the child loads: a packaged base is unpacked below DATA_DIR when it is first used."""
    if base.source == BaseModel.Source.PACKAGED:
        return str(settings.DATA_DIR / "base" / base.location)
    return base.location


def model_folder(model: ModelVersion) -> Path:
    return settings.DATA_DIR / model.path


def adopt_finished(run: Run, attempt: int) -> bool:
    """Take over the files of an earlier attempt that came to its end while the database was away."""
    for earlier in range(attempt - 1, 0, -1):
        folder = attempt_folder(run, earlier)
        word = events.last_word(folder / events.NAME) if folder.exists() else None
        if word and word["type"] == "done":
            target = attempt_folder(run, attempt)
            shutil.rmtree(target, ignore_errors=True)
            folder.rename(target)
            return True
    return False


def log_tail(folder: Path, lines: int = 12) -> str:
    """The end of what the child printed, for the person who must see why it died."""
    try:
        text = (folder / "log.txt").read_bytes()[-20_000:].decode("utf-8", "replace")
    except OSError:
        return ""
    return "\n".join(text.strip().splitlines()[-lines:])


def order(run: Run, attempt: int) -> dict[str, Any]:
    """run.json: all that the child is told."""
    return {
        "run_id": str(run.pk),
        "attempt": attempt,
        "recipe": run.recipe,
        "config": run.config,
        "seed": run.seed,
        "threads": settings.TRAIN_THREADS,
        "base_model": base_location(run.base_model),
        "snapshot": str(settings.DATA_DIR / run.snapshot.path) if run.snapshot else None,
        "resume_from": [str(folder) for folder in attempts_before(run, attempt)],
        "checkpoint_seconds": settings.CHECKPOINT_SECONDS,
        "models": {
            one.kind: str(model_folder(one.model_version)) for one in run.inputs.select_related("model_version")
        },
        "prompts": None,
    }
