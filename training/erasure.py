"""What training does when a user of a product is erased: snapshots without their rows, samples of runs without their
words, and the list of what had learned from them. `TrainingConfig.ready` registers these steps.

Weights are not changed: whoever must, trains again from the snapshot as it is now.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db.models.functions import Now

from annotation import erasure
from annotation.erasure import Gone, NotYet, Rule, columns, erasing
from redpen.accounts.models import Project
from training.models import BaseModel, Comparison, ModelVersion, Run, RunEvent, RunInput, Snapshot, Trial
from training.models.runs import ENDED
from training.snapshots import files

UUID_IN_TEXT = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
PROBE = 100  # characters at a text's beginning by which it is found, since what runs show may be cut
LARGEST = 64 << 20  # bytes of a file that is read whole
ERASED = "[erased]"

columns(Snapshot, Rule.NOT_THEIRS, "name query state content_hash path counts error erased")
columns(Run, Rule.NOT_THEIRS, "recipe name config preset state worker failure client_key")
columns(RunEvent, Rule.NOT_THEIRS, "type")
columns(RunEvent, Rule.SCRUBBED, "data")
columns(RunInput, Rule.NOT_THEIRS, "kind")
columns(ModelVersion, Rule.NOT_THEIRS, "name kind stage path")
columns(ModelVersion, Rule.SCRUBBED, "metrics")
columns(BaseModel, Rule.NOT_THEIRS, "name source location check_report")
columns(Comparison, Rule.NOT_THEIRS, "name options client_key")
columns(Trial, Rule.NOT_THEIRS, "place subject part")


def register() -> None:
    erasure.holding(rows_held)
    erasure.afterwards(follow)


def rows_held(project: Project, ids: set[str]) -> dict[str, int]:
    """How many rows of each snapshot rest on these records."""
    found: Counter[str] = Counter()
    for snapshot in Snapshot.objects.filter(project=project, state=Snapshot.State.READY):
        path = settings.DATA_DIR / snapshot.path / "rows.jsonl"
        if path.is_file():
            with path.open(encoding="utf-8") as lines:
                found[str(snapshot.pk)] = sum(names_any(line, ids) for line in lines)
    return dict(found + Counter())


def names_any(line: str, ids: set[str]) -> bool:
    return not ids.isdisjoint(UUID_IN_TEXT.findall(line))


def follow(gone: Gone) -> dict[str, Any]:
    """The step in files. Runs that go on write to theirs, so they are waited for; the rest is done at once."""
    snapshots = [found for one in ready(gone.project) if (found := without_rows(one, gone)) is not None]
    runs = list(Run.objects.filter(snapshot__in=[one["id"] for one in snapshots]).select_related("produced"))
    learned = models_from(runs)
    report = {
        "snapshots": snapshots,
        "runs": [{"id": str(run.pk), "number": run.number} for run in runs],
        "models": [{"id": str(model.pk), "name": str(model)} for model in learned],
    }
    probes = [text[:PROBE] for text in gone.texts]
    for run in Run.objects.filter(project=gone.project).only("id", "state") if probes else ():
        scrub_events(run, probes)
        if run.state in ENDED:
            scrub_folder(settings.DATA_DIR / "runs" / str(run.pk), probes)
    for model in ModelVersion.objects.filter(project=gone.project) if probes else ():
        scrub_folder(settings.DATA_DIR / model.path, probes)
        metrics, found = scrubbed(model.metrics, probes)
        if found:
            ModelVersion.objects.filter(pk=model.pk).update(metrics=metrics)
    wait_for(gone, report)
    return report


def ready(project: Project) -> Iterator[Snapshot]:
    yield from Snapshot.objects.filter(project=project, state=Snapshot.State.READY).order_by("id")


def without_rows(snapshot: Snapshot, gone: Gone) -> dict[str, Any] | None:
    """Write the snapshot again without the rows that rest on what is gone; what to say of it, None: nothing did.

    The manifest says what went, so that a step that was cut off before it reached the database is told all the same.
    """
    folder = settings.DATA_DIR / snapshot.path
    if not (folder / "rows.jsonl").is_file():
        return None
    count = sum(names_any(line, gone.ids) for line in raw_lines(folder))
    manifest = files.manifest(folder)
    if count:
        entry = {"erasure": gone.name, "at": gone.until.isoformat(), "rows": count, "was": manifest["content_hash"]}
        manifest = files.write(
            folder,
            (json.loads(line) for line in raw_lines(folder) if not names_any(line, gone.ids)),
            query=manifest["query"],
            labels=manifest["labels"],
            left_out=manifest["counts"].get("left_out"),
            erased=[*manifest.get("erased", []), entry],
        )
    if snapshot.erased != manifest.get("erased", []):
        about = {name: manifest[name] for name in ("content_hash", "counts", "erased")}
        with erasing():
            Snapshot.objects.filter(pk=snapshot.pk).update(**about)
    told = [one for one in manifest.get("erased", []) if one["erasure"] == gone.name]
    if not told:
        return None
    rows = sum(one["rows"] for one in told)
    return {"id": str(snapshot.pk), "name": snapshot.name, "rows": rows, "was": told[0]["was"]}


def raw_lines(folder: Path) -> Iterator[str]:
    with (folder / "rows.jsonl").open(encoding="utf-8") as lines:
        yield from lines


def models_from(runs: list[Run]) -> list[ModelVersion]:
    """What these runs made, and what was made of that: by training on from it, or being scored by it."""
    learned: dict[Any, ModelVersion] = {}
    waiting = [run.produced for run in runs if run.produced is not None]
    while waiting:
        model = waiting.pop()
        if model.pk in learned:
            continue
        learned[model.pk] = model
        waiting += ModelVersion.objects.filter(parent=model)
        used = RunInput.objects.filter(model_version=model, run__produced__isnull=False)
        waiting += [one.run.produced for one in used.select_related("run__produced")]
    return sorted(learned.values(), key=str)


def scrub_events(run: Run, probes: list[str]) -> None:
    """Samples and words that the run has told of."""
    for event in RunEvent.objects.filter(run=run).exclude(type="metrics").iterator(chunk_size=500):
        data, found = scrubbed(event.data, probes)
        if found:
            with erasing():
                RunEvent.objects.filter(pk=event.pk).update(data=data)


def scrub_folder(folder: Path, probes: list[str]) -> None:
    """Lines of JSON that a run wrote: its events keep their places, other lines go."""
    for path in sorted(folder.rglob("*.json*")) if folder.is_dir() else ():
        if path.suffix not in (".json", ".jsonl") or not path.is_file() or path.stat().st_size > LARGEST:
            continue
        text = path.read_text("utf-8", "replace")
        if not any(probe in text or escaped(probe) in text or plainly(probe) in text for probe in probes):
            continue
        if path.suffix == ".json":
            lines = [scrubbed_line(text, probes)]
        elif path.name == "events.jsonl":
            lines = [scrubbed_line(line, probes) for line in text.splitlines()]
        else:
            lines = [line for line in text.splitlines() if scrubbed_line(line, probes) == line]
        draft = path.with_name(f"{path.name}.part")
        draft.write_text("".join(f"{line}\n" for line in lines), "utf-8")
        draft.replace(path)


def escaped(text: str) -> str:
    return json.dumps(text)[1:-1]


def plainly(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]


def scrubbed_line(line: str, probes: list[str]) -> str:
    """The line itself, unless it holds one of the texts."""
    try:
        value, found = scrubbed(json.loads(line), probes)
    except ValueError:
        return line
    return json.dumps(value, ensure_ascii=False) if found else line


def scrubbed(value: Any, probes: list[str]) -> tuple[Any, int]:
    """A JSON value in which every text that holds one of the words is replaced; and how many were."""
    if isinstance(value, str):
        return (ERASED, 1) if any(probe in value for probe in probes) else (value, 0)
    if isinstance(value, list):
        pairs = [scrubbed(one, probes) for one in value]
        return [one for one, _ in pairs], sum(found for _, found in pairs)
    if isinstance(value, dict):
        named = {key: scrubbed(one, probes) for key, one in value.items()}
        return {key: one for key, (one, _) in named.items()}, sum(found for _, found in named.values())
    return value, 0


def wait_for(gone: Gone, report: dict[str, Any]) -> None:
    """Raise NotYet while somebody who began before may still write what is gone."""
    here = Snapshot.objects.filter(project=gone.project, state=Snapshot.State.BUILDING, created_at__lte=gone.until)
    writing = here.filter(created_at__gt=Now() - timedelta(hours=1)).first()
    if writing is not None:
        raise NotYet(f"snapshot '{writing.name}' to be written", report)
    going = Run.objects.filter(project=gone.project, created_at__lte=gone.until).exclude(state__in=ENDED)
    run = going.filter(snapshot__in=[one["id"] for one in report["snapshots"]]).order_by("number").first()
    if run is not None:
        raise NotYet(f"{run} to end", report)
