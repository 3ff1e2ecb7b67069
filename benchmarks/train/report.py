"""From measurements to ratios, a table for people, and the keys of the last line."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks.train.cells import Cell
from benchmarks.train.meter import Measured

LOAD_ALLOWED = 0.25  # the load average may be above the threads in use by this: the measured process counts itself

KEYS = (
    *("dpo_speed", "dpo_memory", "sft_speed", "sft_memory", "reward_model_speed", "reward_model_memory"),
    *("grpo_update_speed", "grpo_step_speed", "grpo_memory", "rollout_equal_speed", "rollout_uneven_speed"),
    "adverse_speed",
)


@dataclass
class Outcome:
    """A cell with all its measurements, in pairs; or the reason why there are none."""

    cell: Cell
    ours: list[Measured] = field(default_factory=list)
    theirs: list[Measured] = field(default_factory=list)
    skipped: str = ""
    apart: dict[str, float] = field(default_factory=dict)  # parity: the largest relative differences
    wall: bool = False  # speed by wall time: on a GPU

    def speed(self, one: Measured) -> float:
        return one.wall_speed if self.wall else one.speed

    @property
    def ratio(self) -> float | None:
        """Useful tokens a CPU-second, ours over theirs, medians."""
        if self.skipped:
            return None
        return _median([self.speed(one) for one in self.ours]) / _median([self.speed(one) for one in self.theirs])

    @property
    def ratio_range(self) -> tuple[float, float]:
        """The worst and the best of any of ours with any of theirs."""
        found = [self.speed(a) / self.speed(b) for a in self.ours for b in self.theirs]
        return min(found), max(found)

    @property
    def memory(self) -> float | None:
        """Peak above the loaded model, ours over theirs, medians."""
        if self.skipped:
            return None
        return _median([one.peak_mb for one in self.ours]) / _median([one.peak_mb for one in self.theirs])

    def wall_ratio(self, threads: int) -> float | None:
        """The same by wall time; None where the machine had other work."""
        if self.skipped or max(one.load for one in (*self.ours, *self.theirs)) > threads + LOAD_ALLOWED:
            return None
        return _median([one.wall_speed for one in self.ours]) / _median([one.wall_speed for one in self.theirs])

    def lines(self, *, threads: int, rate: float) -> list[str]:
        """What people read of this cell."""
        if self.skipped:
            return [f"{self.cell.name:<24} skipped: {self.skipped}"]
        low, high = self.ratio_range
        ours, theirs = (
            (_median([self.speed(one) for one in side]), _median([one.peak_mb for one in side]))
            for side in (self.ours, self.theirs)
        )
        lines = [
            f"{self.cell.name:<24} {ours[0]:>6.0f} and {theirs[0]:>5.0f} tokens a CPU-second: "
            f"{self.ratio:.2f} ({low:.2f} to {high:.2f}); {ours[1]:.0f} and {theirs[1]:.0f} MB above the model: "
            f"{self.memory:.2f}"
        ]
        wall = self.wall_ratio(threads)
        load = max(one.load for one in (*self.ours, *self.theirs))
        more = f"by wall time {wall:.2f}" if wall else f"no wall ratio: the load average was {load:.1f}"
        if self.apart:
            more += f"; parity: loss {self.apart['loss']:.0e}, gradient norm {self.apart['grad_norm']:.0e}"
        flops = _median([one.flops / one.cpu for one in self.ours])
        if flops and rate:
            more += f"; ours reaches {flops / 1e9:.0f} GFLOP/s, {flops / rate:.0%} of the machine's matrix product"
        parts = {name: _median([one.part(name) for one in self.ours]) for name in self.ours[0].steps[-1].parts}
        for name, cpu in parts.items():
            if self.cell.task == "grpo_step":
                other = _median([one.part(name) for one in self.theirs])
                more += f"; {name} {cpu:.1f} and {other:.1f} CPU-s"
        return [*lines, f"{'':<24} {more}"]


def last_line(outcomes: Sequence[Outcome]) -> dict[str, float | None]:
    """The keys of the contract: what was not measured is null. The adverse set counts with the worse of its tasks."""
    by_name = {outcome.cell.name: outcome for outcome in outcomes}
    found: dict[str, float | None] = {}
    for suffix in ("", "_135m"):
        for key in KEYS:
            task, _, figure = key.rpartition("_")
            if task == "adverse":
                ratios = [by_name[n].ratio for t in ("dpo", "sft") if (n := f"{t}_adverse{suffix}") in by_name]
                value = min((ratio for ratio in ratios if ratio is not None), default=None)
            else:
                name = ("grpo_step" if task == "grpo" else task) + suffix
                outcome = by_name.get(name)
                value = None if outcome is None else (outcome.ratio if figure == "speed" else outcome.memory)
            found[key + suffix] = None if value is None else round(value, 3)
    return found


def _median(values: Sequence[float]) -> float:
    return statistics.median(values)
