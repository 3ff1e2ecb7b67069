"""What a recipe's `train` is given: its rows, its inputs, and the ways to say what happens. Torch-free.

Everything said is one JSON line in `events.jsonl`, numbered from 0, that the worker reads; nothing is kept in this
process. What is said of the training itself (metrics, samples, answers) also carries a number among its kind, `n`: an
attempt that goes on from a checkpoint says the same things under the same numbers again, and they are kept once.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from training.engine.checkpoints import Checkpoints

FAR = 10_000_000  # between the numbers of two processes' events
COUNTED = ("metrics", "sample", "response")
SPLITS = ("train", "dev", "test")


class RecipeError(Exception):
    """A run cannot go on, for a reason that a person can do something about."""

    def __init__(self, code: str, message: str, action: str) -> None:
        super().__init__(message)
        self.code, self.message, self.action = code, message, action


class Cancelled(Exception):
    """Somebody asked the run to stop."""


class Events:
    """The child's way to speak: a JSON line at a time, flushed, numbered. Of several processes the first speaks for
    all; another is heard only when it fails, with numbers far from the first one's.
    """

    def __init__(self, path: Path, *, rank: int = 0) -> None:
        self._file = path.open("a", encoding="utf-8")
        self._mute = rank > 0
        self._seq = rank * FAR
        self._lock = threading.Lock()
        self.said: dict[str, int] = {}  # how many of each of COUNTED

    def write(self, kind: str, **fields: Any) -> None:
        """Append one event."""
        if self._mute and kind != "error":
            return
        with self._lock:
            event = {"type": kind, "seq": self._seq, "at": round(time.time(), 3), **fields}
            if kind in COUNTED:
                event["n"] = self.said.get(kind, 0)
                self.said[kind] = event["n"] + 1
            self._file.write(json.dumps(event, ensure_ascii=False, allow_nan=False, default=float) + "\n")
            self._file.flush()
            self._seq += 1


@dataclass(frozen=True)
class Resumed:
    """Where an earlier attempt of the run had come to: the state that its newest whole checkpoint holds."""

    folder: Path  # of that attempt
    step: int
    state: Mapping[str, Any]


@dataclass
class RunContext:
    """One attempt of a run, seen from inside the child."""

    directory: Path
    base_model: Path
    events: Events
    snapshot: Path | None = None
    prompts_file: Path | None = None
    models: Mapping[str, Path] = field(default_factory=dict)
    seed: int = 0
    threads: int = 1
    stop: threading.Event = field(default_factory=threading.Event)
    finish_seconds: float = 0.0  # a step that can end so soon after a stop is finished: then a checkpoint holds it
    resume_from: Sequence[Path] = ()  # folders of the attempts before this one, newest first
    checkpoint_seconds: float = 60.0  # between two checkpoints
    checkpoint_steps: int = 0  # a checkpoint every so many steps, whatever the time; 0: by time alone
    resumed: Resumed | None = None  # `steps` puts everything back to this
    rank: int = 0  # which of several processes this is
    world: int = 1  # how many processes train together
    stopped_at: float | None = None  # when the stop was first seen within a step
    tokens_written: int = 0  # by the models of this attempt, stop tokens with them

    def __post_init__(self) -> None:
        """Look for the newest whole checkpoint, and say first of all where this attempt goes on from."""
        if self.resumed is None and self.resume_from and (found := self.checkpoints.newest()):
            checkpoint, state = found
            folder = checkpoint.folder.parent.parent
            self.resumed = Resumed(folder, checkpoint.step, state)
            self.events.write("resumed", step=checkpoint.step, folder=folder.name, said=state["said"])
            self.log(f"Going on from the checkpoint of step {checkpoint.step} that an earlier attempt left.")

    @property
    def checkpoints(self) -> Checkpoints:
        """This attempt's checkpoints, beside those of the attempts before it."""
        from training.engine.checkpoints import Checkpoints

        return Checkpoints(
            self.directory / "checkpoints", earlier=[folder / "checkpoints" for folder in self.resume_from]
        )

    def state_dict(self) -> dict[str, Any]:
        """What has been said, and which files stand beside the artifact, in bytes: part of every checkpoint."""
        files = {
            str(path.relative_to(self.artifact_path)): path.stat().st_size
            for path in sorted(self.artifact_path.rglob("*"))
            if path.is_file()
        }
        return {"said": dict(self.events.said), "files": files}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there: the files beside the artifact are those that stood at the checkpoint."""
        self.events.said = dict(state["said"])
        assert self.resumed is not None
        for name, size in state["files"].items():
            target = self.artifact_path / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.resumed.folder / "artifact" / name, target)
            os.truncate(target, size)

    @property
    def stop_requested(self) -> bool:
        """Whether somebody asked the run to end; a recipe asks between steps."""
        return self.stop.is_set()

    def check_stop(self) -> None:
        """Raise Cancelled when the run is to end within a step: `finish_seconds` after it was asked to. Several
        processes must agree on when: they end between two steps.
        """
        if not self.stop.is_set() or self.world > 1:
            return
        now = time.monotonic()
        self.stopped_at = now if self.stopped_at is None else self.stopped_at
        if now - self.stopped_at >= self.finish_seconds:
            raise Cancelled

    def heed(self, items: Iterable[Any]) -> Iterator[Any]:
        """The same items, with a look between them at whether the run is to end: a step may take long."""
        for item in items:
            self.check_stop()
            yield item

    # what it reads

    def rows(self, split: str | None = None, *, kind: str | None = None) -> Iterator[dict[str, Any]]:
        """The snapshot's rows, streamed."""
        if self.snapshot is None:
            return
        for row in _lines(self.snapshot / "rows.jsonl"):
            if split in (None, row["split"]) and kind in (None, row["kind"]):
                yield row

    @property
    def labels(self) -> list[dict[str, Any]]:
        """The labels of the snapshot's manifest: id, key, name, sentiment."""
        if self.snapshot is None or not (manifest := self.snapshot / "manifest.json").exists():
            return []
        return list(json.loads(manifest.read_text()).get("labels") or [])

    def prompts(self, split: str | None = None) -> list[dict[str, Any]]:
        """Prompts once each ({"prompt_id", "messages", "context", "split"}): those of the run, else those of the
        snapshot.
        """
        found: dict[str, dict[str, Any]] = {}
        source = _lines(self.prompts_file) if self.prompts_file else self.rows()
        for row in source:
            if split in (None, row.get("split", "train")) and "messages" in row:
                found.setdefault(
                    str(row["prompt_id"]),
                    {
                        "prompt_id": str(row["prompt_id"]),
                        "messages": row["messages"],
                        "context": row.get("context") or [],
                        "split": row.get("split", "train"),
                    },
                )
        return list(found.values())

    def random(self, purpose: str) -> random.Random:
        """A source of chance of its own for each purpose, from the run's seed."""
        return random.Random(f"{self.seed}-{purpose}")

    # what it says

    def metrics(self, step: int, total: int, **values: float) -> None:
        """Figures of a step: they become the chart. What is not finite is said in the log instead."""
        finite = {name: float(value) for name, value in values.items() if abs(float(value)) < float("inf")}
        for name in values.keys() - finite.keys():
            self.log(f"{name} is not a finite number at step {step}.", level="warning")
        self.events.write("metrics", step=step, total=total, values=finite)

    def log(self, text: str, *, level: str = "info") -> None:
        """A line for people."""
        self.events.write("log", level=level, text=text)

    def sample(self, step: int, **data: Any) -> None:
        """Something to look at on the run's page: texts with their scores."""
        self.events.write("sample", step=step, data=data)

    def response(self, **data: Any) -> None:
        """A new answer, to be stored and labelled: prompt_id, text, token_ids, logprobs, sampling."""
        self.events.write("response", data=data)

    @property
    def artifact_path(self) -> Path:
        """The folder of the one thing that the run makes."""
        path = self.directory / ("artifact" if self.rank == 0 else f"artifact-of-process-{self.rank}")
        path.mkdir(exist_ok=True)
        return path

    def artifact(self, **card: Any) -> Path:
        """Write `redpen.json` beside the artifact's files and announce it; `card` must hold kind, base and metrics."""
        (self.artifact_path / "redpen.json").write_text(json.dumps(card, indent=1, ensure_ascii=False) + "\n")
        self.events.write("artifact", path="artifact", metrics=card.get("metrics", {}))
        return self.artifact_path


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            if line.strip():
                yield json.loads(line)
