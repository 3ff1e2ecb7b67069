"""Checkpoints: all that a run needs to go on as if it had never stopped, whole on the disk or not there at all.

A checkpoint is a folder: its tensors (safetensors), the rest (JSON) and a manifest with the size and hash of both. It
is written aside, synced and renamed, so that its name stands for a whole one; a half-written or damaged one is passed
over for the one before it. Nothing is pickled.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

TENSORS, STATE, MANIFEST = "tensors.safetensors", "state.json", "manifest.json"
NAME = re.compile(r"step-(\d{8})")
PART = ".part"  # the end of a folder's name while it is being written


class Damaged(ValueError):
    """A checkpoint is not whole, or is not what its manifest says."""


@dataclass(frozen=True)
class Checkpoint:
    """One that stands on the disk under its name. `step` is how many steps had been done."""

    folder: Path
    step: int

    def load(self) -> Any:
        """The state that was saved; raise Damaged when a byte of it is missing or another."""
        try:
            manifest = json.loads((self.folder / MANIFEST).read_text("utf-8"))
            for name, expected in manifest["files"].items():
                if _fingerprint(self.folder / name) != expected:
                    raise Damaged(f"{self.folder / name} is not the file that was written.")
            tree = json.loads((self.folder / STATE).read_text("utf-8"))
            return _join(tree, load_file(str(self.folder / TENSORS)))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            if isinstance(error, Damaged):
                raise
            raise Damaged(f"{self.folder} cannot be read: {error}") from error

    @property
    def best(self) -> int | None:
        """The step of the checkpoint that was the best so far when this one was written."""
        try:
            value = json.loads((self.folder / MANIFEST).read_text("utf-8"))["best"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return value if isinstance(value, int) else None


class Checkpoints:
    """The checkpoints of one attempt, below `folder`; `earlier` are the folders of the attempts before it, newest
    first, which are only read.
    """

    def __init__(self, folder: Path, *, keep: int = 2, earlier: Sequence[Path] = ()) -> None:
        if keep < 1:
            raise ValueError("At least one checkpoint must be kept.")
        self.folder = folder
        self.keep = keep
        self.earlier = tuple(earlier)

    def save(self, step: int, state: Any, *, best: int | None = None) -> Checkpoint:
        """Write `state` (nested dicts, lists and tuples of tensors, numbers and text) as the checkpoint after `step`
        steps, then let go of old ones: the last `keep` stay, and whichever they call the best.
        """
        tensors: dict[str, Tensor] = {}
        tree = _split(state, tensors)
        final = self.folder / f"step-{step:08d}"
        draft = final.with_name(final.name + PART)
        disk.remove(draft)
        disk.make(draft)
        disk.write_tensors(draft / TENSORS, tensors)
        disk.write(draft / STATE, json.dumps(tree).encode())
        files = {name: _fingerprint(draft / name) for name in (TENSORS, STATE)}
        disk.write(draft / MANIFEST, json.dumps({"step": step, "best": best, "files": files}, indent=1).encode())
        for name in (TENSORS, STATE, MANIFEST):
            disk.sync(draft / name)
        disk.sync(draft)
        if final.exists():  # of the same step, written before: a damaged one, or just as good
            disk.remove(final)
        disk.rename(draft, final)
        disk.sync(self.folder)
        self._prune()
        return Checkpoint(final, step)

    def newest(self) -> tuple[Checkpoint, Any] | None:
        """The newest whole checkpoint of this attempt or an earlier one, with its state; None when there is none."""
        for found in sorted(self._all(), key=lambda one: -one.step):
            try:
                return found, found.load()
            except Damaged:
                continue
        return None

    def at(self, step: int) -> Any:
        """The state after `step` steps; raise Damaged when no whole checkpoint holds it."""
        for found in self._all():
            if found.step == step:
                try:
                    return found.load()
                except Damaged:
                    continue
        raise Damaged(f"There is no whole checkpoint of step {step}.")

    def _all(self) -> Iterator[Checkpoint]:
        for folder in (self.folder, *self.earlier):
            yield from checkpoints_in(folder)

    def _prune(self) -> None:
        own = sorted(checkpoints_in(self.folder), key=lambda one: one.step)
        kept = {one.step for one in own[-self.keep :]}
        kept |= {one.best for one in own[-self.keep :] if one.best is not None}
        for one in own:
            if one.step not in kept:
                disk.remove(one.folder)
        for left in self.folder.glob(f"*{PART}"):
            disk.remove(left)


def checkpoints_in(folder: Path) -> Iterator[Checkpoint]:
    """The checkpoints that stand below `folder` under their final names, whole or not."""
    if folder.is_dir():
        for path in folder.iterdir():
            if found := NAME.fullmatch(path.name):
                yield Checkpoint(path, int(found[1]))


class Disk:
    """What a checkpoint asks of the disk, one operation at a time: a test stops the process at each of them."""

    def make(self, folder: Path) -> None:
        folder.mkdir(parents=True)

    def write(self, path: Path, content: bytes) -> None:
        path.write_bytes(content)

    def write_tensors(self, path: Path, tensors: Mapping[str, Tensor]) -> None:
        save_file(dict(tensors), str(path))

    def sync(self, path: Path) -> None:
        """Wait until a file, or the names in a folder, are on the disk."""
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def rename(self, source: Path, target: Path) -> None:
        source.rename(target)

    def remove(self, folder: Path) -> None:
        """Take a folder away: its manifest first, so that what is left of it is never taken for whole."""
        (folder / MANIFEST).unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)


disk = Disk()


def chance() -> dict[str, Any]:
    """The state of every source of chance of this process."""
    version, words, gauss = random.getstate()
    name, keys, place, has_gauss, cached = np.random.get_state(legacy=True)
    return {
        "python": [version, torch.tensor(words), gauss],
        "numpy": [
            str(name),
            torch.tensor(np.asarray(keys).astype(np.int64)),
            int(place),
            int(has_gauss),
            float(cached),
        ],
        "torch": torch.get_rng_state(),
        "cuda": list(torch.cuda.get_rng_state_all()) if torch.cuda.is_available() else [],
    }


def set_chance(state: Mapping[str, Any]) -> None:
    """Put every source of chance back to what `chance` gave."""
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words.tolist()), gauss))
    name, keys, place, has_gauss, cached = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), place, has_gauss, cached))
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_available():
        for device, one in enumerate(state["cuda"][: torch.cuda.device_count()]):
            torch.cuda.set_rng_state(one, device)


def _split(value: Any, tensors: dict[str, Tensor]) -> Any:
    """`value` as JSON can hold it, its tensors put aside under numbered names."""
    if isinstance(value, Tensor):
        name = f"{len(tensors):06d}"
        tensors[name] = value.detach().cpu().contiguous().clone()
        return {"tensor": name}
    if isinstance(value, Mapping):
        return {"dict": [[_split(key, tensors), _split(one, tensors)] for key, one in value.items()]}
    if isinstance(value, tuple):
        return {"tuple": [_split(one, tensors) for one in value]}
    if isinstance(value, list):
        return [_split(one, tensors) for one in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"A checkpoint cannot hold a {type(value).__name__}.")


def _join(tree: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(tree, list):
        return [_join(one, tensors) for one in tree]
    if not isinstance(tree, dict):
        return tree
    ((kind, inner),) = tree.items()
    if kind == "tensor":
        return tensors[inner].clone()  # memory of its own, aligned as any other tensor's
    if kind == "tuple":
        return tuple(_join(one, tensors) for one in inner)
    return {_join(key, tensors): _join(one, tensors) for key, one in inner}


def _fingerprint(path: Path) -> list[Any]:
    """Size in bytes and hash of a file."""
    with path.open("rb") as file:
        return [path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest()]
