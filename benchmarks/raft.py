"""raft in the demo world: how good the policy's answers truly are, before and after, over several seeds.

For each seed a span reward model learns from the world's answers with their defects marked, and raft trains the tiny
base with it. The world then judges new answers to held-out prompts: it knows the handbook, the reward model only saw
marks. Before and after are the same prompts and the same seeds of sampling. The interval of the rise is Student's,
over seeds.

    python -m benchmarks.raft       the last line is one JSON object
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.spans import ROOT, say, world_snapshot
from training.engine.models import ensure_base
from training.engine.policy import Policy
from training.engine.rollouts import Sampling, sample
from training.engine.scoring import prompt_ids
from training.recipes.context import Events, RunContext
from training.recipes.registry import get
from training.worlds.support import World

REWARD_MODEL = {
    "epochs": 6,
    "batch_size": 8,
    "lr": 3e-3,
    "head_lr": 1e-2,
    "rank": 8,
    "echo": False,
    "passage_tokens": 0,
}
RAFT = {
    "rounds": 3,
    "prompts": 64,
    "samples": 8,
    "reduction": "phrases",
    "temperature": 0.7,
    "max_new_tokens": 140,
    "batch_size": 8,
    "lr": 2e-3,
    "rank": 8,
    "passage_tokens": 0,
    "held_out": 0,
    "new_answers": 0,
}
T975 = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262}  # by seeds


def true_quality(base: Path, adapter: Path | None, *, prompts: int, asked_with: int, seed: int) -> list[float]:
    """The world's judgement of two answers to each of its held-out prompts."""
    world, policy = World(0), Policy.open(base, adapter)
    asked = world.prompts(prompts, seed=asked_with, split="test")
    ids = [prompt_ids(policy.tokenizer, one.messages, one.context, passage_tokens=0) for one in asked]
    sampling = Sampling(max_tokens=RAFT["max_new_tokens"], temperature=RAFT["temperature"])
    drawn = sample(policy, ids, 2, sampling=sampling, seed=seed)
    return [world.true_quality(asked[one.prompt], one.text) for one in drawn]


def carry_out(recipe: str, directory: Path, config: dict[str, Any], **given: Any) -> Path:
    """Train in this process and give back the artifact's folder."""
    directory.mkdir(parents=True)
    run = RunContext(directory=directory, events=Events(directory / "events.jsonl"), **given)
    chosen = get(recipe)
    chosen.train(run, chosen.config(config))
    return directory / "artifact"


def one_seed(seed: int, base: Path, folder: Path, **held_out: int) -> dict[str, Any]:
    """Reward model, raft, and what the world thinks of it."""
    began = time.monotonic()
    snapshot = world_snapshot(folder / "snapshot", prompts=400, seed=seed, missing=True)
    given = {"base_model": base, "snapshot": snapshot, "seed": seed}
    scorer = carry_out("span_reward_model", folder / "scorer", REWARD_MODEL, **given)
    policy = carry_out("raft", folder / "raft", RAFT, models={"span_reward_model": scorer}, **given)
    before = true_quality(base, None, seed=seed, **held_out)
    after = true_quality(base, policy, seed=seed, **held_out)
    found = {
        "seed": seed,
        "reward_model_auroc": round(json.loads((scorer / "redpen.json").read_text())["metrics"]["test_auroc_bad"], 4),
        "before": round(statistics.mean(before), 4),
        "after": round(statistics.mean(after), 4),
        "seconds": round(time.monotonic() - began),
    }
    say(str(found))
    return found


def with_interval(values: list[float]) -> dict[str, float]:
    """Mean and 95 % interval over seeds."""
    mean = statistics.mean(values)
    half = T975[len(values)] * statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return {"mean": round(mean, 4), "low": round(mean - half, 4), "high": round(mean + half, 4)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, choices=range(2, 11))
    parser.add_argument(
        "--first-seed", type=int, default=1, help="101 with --asked-with 199: what nothing was tuned on"
    )
    parser.add_argument("--asked-with", type=int, default=99, help="seed that draws the held-out prompts")
    parser.add_argument("--prompts", type=int, default=80, help="held-out prompts that are answered")
    parser.add_argument("--bases", type=Path, default=Path(os.environ.get("DATA_DIR") or ROOT / "var") / "base")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    load = os.getloadavg()[0]
    base = Path(ensure_base(chosen.bases / "tiny", say=say))
    with tempfile.TemporaryDirectory(prefix="redpen-bench-raft-") as place:
        held_out = {"prompts": chosen.prompts, "asked_with": chosen.asked_with}
        seeds = range(chosen.first_seed, chosen.first_seed + chosen.seeds)
        runs = [one_seed(seed, base, Path(place) / str(seed), **held_out) for seed in seeds]
    result = {
        "before": with_interval([run["before"] for run in runs]),
        "after": with_interval([run["after"] for run in runs]),
        "rise": with_interval([run["after"] - run["before"] for run in runs]),
        "seeds": runs,
        "load_before": round(load, 1),
        "load_after": round(os.getloadavg()[0], 1),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
