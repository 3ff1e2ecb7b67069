"""What is measured. A cell is one task on one shape of data and one model, done by both sides."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from benchmarks.train.data import DATA, Shape
from benchmarks.train.start import ModelName

Task = Literal["sft", "dpo", "reward_model", "grpo_update", "grpo_step", "rollout_equal", "rollout_uneven"]
Side = Literal["ours", "peer"]
SIDES: tuple[Side, ...] = ("ours", "peer")

SAMPLES, NEW_TOKENS = 8, 48  # of GRPO: to each prompt, in each answer
ROLLOUT_TOKENS = 96  # the longest answer of the rollout cells
STOPS = 1024  # uneven rollouts: so many tokens of the vocabulary end an answer; of 49,152 equally likely ones, 1 in 48
LR, BETA, CLIP = 1e-4, 0.1, 1.0


@dataclass(frozen=True, kw_only=True)
class Cell:
    """`examples` is pairs (dpo, reward_model), rows (sft) or prompts (grpo, rollouts) of one optimiser step."""

    task: Task
    model: ModelName = "25m"
    shape: Shape = "hh"
    examples: int = 8
    steps: int = 9  # the first warms up

    @property
    def name(self) -> str:
        shape = "" if self.shape == "hh" else f"_{self.shape}"
        model = "" if self.model == "25m" else f"_{self.model}"
        return f"{self.task}{shape}{model}"

    @property
    def rounding(self) -> float:
        """How far float32 alone takes a loss: a sum of 512 log-probabilities of a random model is near -5,600, where
        neighbouring numbers are 0.0005 apart; a DPO loss has four such sums, times beta.
        """
        return 4 * 0.0005 * BETA if (self.task, self.shape) == ("dpo", "adverse") else 0.0

    @property
    def compared(self) -> bool:
        """Whether both sides learn from the same tokens, so that losses can be compared."""
        return self.task in ("sft", "dpo", "reward_model", "grpo_update")


@dataclass(frozen=True, kw_only=True)
class Job:
    """One side of a cell, in one process."""

    side: Side
    cell: Cell
    setting: dict[str, Any] = field(default_factory=dict)
    threads: int = 1
    device: str = "cpu"
    precision: Literal["fp32", "bf16"] = "fp32"
    folder: str = str(DATA)

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Job:
        values = json.loads(text)
        return cls(**{**values, "cell": Cell(**values["cell"])})


QUICK = (
    Cell(task="dpo", examples=4),
    Cell(task="sft"),
    Cell(task="reward_model", examples=4),
    Cell(task="grpo_update", examples=4, steps=3),
    Cell(task="grpo_step", examples=4, steps=3),
    Cell(task="rollout_equal", examples=4, steps=2),
    Cell(task="rollout_uneven", examples=4, steps=4),
    Cell(task="dpo", shape="adverse", examples=2, steps=3),
    Cell(task="sft", shape="adverse", examples=4, steps=3),
    Cell(task="dpo", model="135m", examples=2, steps=2),
    Cell(task="sft", model="135m", examples=4, steps=2),
)
FULL = (
    *(replace(cell, examples=max(cell.examples, 4), steps=9) for cell in QUICK if cell.model == "25m"),
    *(Cell(task=task, shape="qa", examples=4) for task in ("dpo", "sft", "reward_model")),
    *(replace(cell, model="135m", steps=min(cell.steps, 4)) for cell in QUICK if cell.model == "25m"),
)

TUNED = (
    *(Cell(task=task, steps=2) for task in ("dpo", "sft", "reward_model")),
    *(Cell(task=task, examples=4, steps=2) for task in ("grpo_update", "grpo_step", "rollout_equal", "rollout_uneven")),
    *(Cell(task=task, shape="adverse", examples=4, steps=2) for task in ("dpo", "sft")),
)

# What TRL is tried with; the committed best of each cell is in peer.json.
SETTINGS = Path(__file__).with_name("peer.json")


def candidates(cell: Cell) -> list[dict[str, Any]]:
    """The settings that `tune` tries for the other side."""
    if cell.task.startswith("rollout"):
        return [{}, {"continuous_batching": True}]
    if cell.task == "grpo_step":
        return [{"batch": 8}, {"batch": 8, "continuous_batching": True}]
    sizes = [size for size in (1, 2, 4, 8) if size <= cell.examples]
    if cell.task == "grpo_update":
        sizes = [1, 4, 8, 32]
    found: list[dict[str, Any]] = [{"batch": size} for size in sizes]
    if cell.shape == "adverse":
        return found
    found.append({"batch": 8, "gradient_checkpointing": True})  # as TRL opens
    if cell.task == "dpo":
        found += [{"batch": size, "precompute": True} for size in (1, 4)]
    if cell.task == "sft":
        found += [{"batch": size, "padding_free": True} for size in (4, 8)]
    return found


def committed(cell: Cell, settings: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The best known setting of the other side for this cell; of the same task on the 25M model, then on the help
    conversations, where the cell itself was not tuned.
    """
    smaller = replace(cell, model="25m")
    for one in (cell, smaller, replace(smaller, shape="hh")):
        if one.name in settings:
            return dict(settings[one.name])
    raise LookupError(f"peer.json has no setting for {cell.name}; run make bench-train-tune.")
