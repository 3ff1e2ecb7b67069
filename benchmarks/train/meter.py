"""What one side of a cell did and what it cost: clocks at the end of each step, the peak of memory, what was read."""

from __future__ import annotations

import ctypes
import gc
import hashlib
import json
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

MB = 2**20


@dataclass
class Step:
    """One optimiser step (or one batch of rollouts). `cpu` and `wall` in seconds; `parts`: CPU-seconds of parts."""

    loss: float
    grad_norm: float
    tokens: int
    cpu: float
    wall: float
    parts: dict[str, float] = field(default_factory=dict)


@dataclass
class Measured:
    """What one process found. The first step is the warm-up."""

    side: str
    read: str = ""  # a hash of every id that was trained on and whether it was trained, in order
    rows: int = 0
    trained: int = 0  # tokens that a loss was taken of
    steps: list[Step] = field(default_factory=list)
    once: float = 0.0  # CPU-seconds of work done once for all steps: a precomputed reference
    model_mb: float = 0.0
    peak_mb: float = 0.0  # above the loaded model
    load: float = 0.0  # the machine's load average when it ended
    flops: float = 0.0  # needed for the steps that count (ours only)

    @property
    def cpu(self) -> float:
        """CPU-seconds of the steps that count, with their share of what was done once."""
        counted = self.steps[1:]
        return sum(step.cpu for step in counted) + self.once * len(counted) / max(1, len(self.steps))

    @property
    def tokens(self) -> int:
        """Useful tokens of the steps that count."""
        return sum(step.tokens for step in self.steps[1:])

    @property
    def speed(self) -> float:
        """Useful tokens a CPU-second."""
        return self.tokens / self.cpu

    @property
    def wall_speed(self) -> float:
        """Useful tokens a second of wall time."""
        counted = self.steps[1:]
        once = self.once * len(counted) / max(1, len(self.steps))
        return self.tokens / (sum(step.wall for step in counted) + once)

    def part(self, name: str) -> float:
        """CPU-seconds of one part, over the steps that count."""
        return sum(step.parts.get(name, 0.0) for step in self.steps[1:])

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Measured:
        values = json.loads(text)
        values["steps"] = [Step(**step) for step in values["steps"]]
        return cls(**values)


class Meter:
    """Held by the process that runs one side."""

    def __init__(self, side: str, *, device: str = "cpu") -> None:
        self.found = Measured(side)
        self.device = device
        self._hash = hashlib.sha256()
        self._base = 0.0
        self._parts: dict[str, float] = {}

    def loaded(self, model: Any, *, still_to_come: float = 0.0) -> None:
        """The model is loaded: memory is counted from here. `still_to_come`: bytes of weights that come later.

        Weights that are only mapped from their file are read once, and what loading left over is given back, so that
        the peak of loading hides nothing.
        """
        for parameter in model.parameters():
            float(parameter.detach().sum())
        if self.device != "cpu":
            import torch

            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
            self._base = torch.cuda.memory_allocated() / MB + still_to_come / MB
        else:
            gc.collect()
            ctypes.CDLL("libc.so.6").malloc_trim(0)
            Path("/proc/self/clear_refs").write_text("5")  # the peak of the resident set starts anew
            self._base = _status("VmRSS") + still_to_come / MB
        self.found.model_mb = self._base

    def reads(self, ids: Iterable[int], trained: Sequence[bool]) -> None:
        """A row that is trained on."""
        self._hash.update(json.dumps([list(ids), [int(one) for one in trained]]).encode())
        self.found.rows += 1
        self.found.trained += sum(trained)

    def begin(self) -> None:
        """The first step starts."""
        self._cpu, self._wall = time.process_time(), time.perf_counter()
        self._parts = {}

    def part(self, name: str, cpu: float) -> None:
        """So many CPU-seconds of the step under way were spent on this."""
        self._parts[name] = self._parts.get(name, 0.0) + cpu

    def end_step(self, *, loss: float, grad_norm: float, tokens: int) -> None:
        """A step ended; the next one starts."""
        if self.device != "cpu":
            import torch

            torch.cuda.synchronize()
        cpu, wall = time.process_time(), time.perf_counter()
        self.found.steps.append(Step(loss, grad_norm, tokens, cpu - self._cpu, wall - self._wall, self._parts))
        self._cpu, self._wall, self._parts = cpu, wall, {}

    def finish(self) -> Measured:
        """Everything that was found."""
        if self.device != "cpu":
            import torch

            peak = torch.cuda.max_memory_allocated() / MB
        else:
            peak = _status("VmHWM")
        self.found.peak_mb = peak - self._base
        self.found.read = self._hash.hexdigest()[:16]
        self.found.load = os.getloadavg()[0]
        return self.found


def _status(name: str) -> float:
    """A figure of /proc/self/status, in MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) / 1024
    raise LookupError(name)
