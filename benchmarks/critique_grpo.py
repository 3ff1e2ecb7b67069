"""critique_grpo in the word world, where an answer is right or wrong as a whole and GRPO is stuck.

The toy of ../shared/methods/critique-grpo.md (b). Right is an answer of at least 8 own words and no foreign one: the
tiny base writes one in some hundreds. Each policy answers 16 prompts 8 times in each of 60 updates; all weights learn,
at the card's learning rate. The world's program names the foreign words, and that words are missing; a stand-in refines
(it mends what is named with chance .8, and slips at a word with chance .01). Unlike the card's, these answers end when
the policy says so. Measured on the world's held-out prompts: how often one answer is right (pass@1), and for how many
prompts one of 8 is.

    critique_grpo    as in the paper                 no_critique    refinements after “the answer is wrong” alone
    grpo             Dr. GRPO: the same loss on the attempts alone   grpo_16    with twice as many attempts
    weight_p, weight_1    critique_grpo with p, or 1, in the place of f(p) = p / (p + .1)

    python -m benchmarks.critique_grpo                  the last line is one JSON object
    python -m benchmarks.critique_grpo --tune 100       every arm at several learning rates, on a seed of no report
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.harness import finish, interval, paired, say
from benchmarks.raft import carry_out
from training.engine.policy import Policy
from training.engine.rollouts import Sampling, sample
from training.engine.scoring import prompt_ids
from training.engine.world_bases import ensure_world_base
from training.worlds.registry import world

WORLD = "words:all"
LONGEST = 16
SHARED = {
    "checker": WORLD,
    "steps": 60,
    "prompts": 16,
    "samples": 8,
    "max_new_tokens": LONGEST,
    "passage_tokens": 0,
    "trained": "all",
    "lr": 1e-3,
    "schedule": "constant",
    "held_out": 0,
    "every": 0,
    "new_answers": 0,
    "empty": 0.0,
    "watch_answers": 0,
    "micro_batch_tokens": 4096,
    "decode_rows": 128,
}
CRITIQUE = {"critique": "text", "critic": "program", "program": WORLD, "refiner": WORLD, "entropy_weight": 0.0}
GRPO = {"loss": "dr_grpo", "scale": "none", "beta": 0.0}
ARMS: dict[str, tuple[str, dict[str, Any]]] = {
    "critique_grpo": ("critique_grpo", CRITIQUE),
    "grpo": ("grpo", GRPO),
    "grpo_16": ("grpo", {**GRPO, "samples": 16}),
    "no_critique": ("critique_grpo", {**CRITIQUE, "critique": "simple"}),
    "weight_p": ("critique_grpo", {**CRITIQUE, "shaping": "prob"}),
    "weight_1": ("critique_grpo", {**CRITIQUE, "shaping": "none"}),
}
RATES = (3e-4, 1e-3, 3e-3)


def snapshot_of(folder: Path) -> Path:
    """All prompts of the world."""
    folder.mkdir(parents=True)
    with (folder / "rows.jsonl").open("w", encoding="utf-8") as file:
        for one in world(WORLD).prompts(10_000):
            row = {"kind": "prompt", "prompt_id": one.id, "split": one.split, "messages": list(one.messages)}
            file.write(json.dumps({**row, "context": []}) + "\n")
    (folder / "manifest.json").write_text('{"labels": []}')
    return folder


def measured(base: Path, adapter: Path | None, *, seed: int, n: int = 8) -> dict[str, float]:
    """Of the world's held-out prompts."""
    known, policy = world(WORLD), Policy.open(base, adapter)
    asked = known.prompts(10_000, split="test")
    ids = [prompt_ids(policy.tokenizer, one.messages, [], passage_tokens=0) for one in asked]
    drawn = sample(policy, ids, n, sampling=Sampling(max_tokens=LONGEST), seed=seed, rows=256)
    right = [known.true_quality(asked[one.prompt], one.text) for one in drawn]
    groups = [right[start : start + n] for start in range(0, len(right), n)]
    return {"pass_1": statistics.mean(right), "solved": statistics.mean(max(group) for group in groups)}


def one_seed(seed: int, folder: Path, bases: Path, arms: dict[str, tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    """Every arm on one base."""
    base = ensure_world_base(bases, WORLD, seed=seed, say=say)
    snapshot = snapshot_of(folder / "snapshot")
    found: dict[str, Any] = {"seed": seed, "base": measured(base, None, seed=seed)}
    for name, (recipe, options) in arms.items():
        began = time.monotonic()
        made = carry_out(recipe, folder / name, {**SHARED, **options}, base_model=base, snapshot=snapshot, seed=seed)
        told = [json.loads(line) for line in (folder / name / "events.jsonl").read_text().splitlines()]
        steps = [event["values"] for event in told if event["type"] == "metrics"]
        found[name] = {
            **measured(base, made, seed=seed),
            "flat": statistics.mean(one.get("groups/flat", one.get("silent_groups", 0.0)) for one in steps),
            "rescued": statistics.mean(one.get("groups/rescued", 0.0) for one in steps),
            "seconds": round(time.monotonic() - began),
        }
        say(f"{seed} {name}: " + ", ".join(f"{key} {value:.3f}" for key, value in found[name].items()))
    return found


def tuned(folder: Path, bases: Path, seed: int) -> None:
    """Each arm at each learning rate on one seed; says what it gave."""
    arms = {
        f"{name} at {rate:g}": (recipe, {**options, "lr": rate})
        for name, (recipe, options) in ARMS.items()
        for rate in RATES
    }
    one_seed(seed, folder, bases, arms)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, choices=range(2, 11))
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--tune", type=int, help="a seed on which every arm is tried at several learning rates")
    parser.add_argument("--arms", nargs="*", default=list(ARMS), choices=list(ARMS))
    parser.add_argument("--bases", type=Path, default=Path(tempfile.gettempdir()) / "redpen-world-bases")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    arms = {name: ARMS[name] for name in chosen.arms}
    with tempfile.TemporaryDirectory(prefix="redpen-bench-critique-") as place:
        if chosen.tune is not None:
            tuned(Path(place), chosen.bases, chosen.tune)
            return
        seeds = range(chosen.first_seed, chosen.first_seed + chosen.seeds)
        runs = [one_seed(seed, Path(place) / str(seed), chosen.bases, arms) for seed in seeds]
    table = {
        name: {key: interval([run[name][key] for run in runs]) for key in ("pass_1", "solved")}
        for name in ("base", *arms)
    }
    for name, row in table.items():
        print(f"{name:14}", *(f"{key} {said(value)}" for key, value in row.items()), sep="  ")
    ahead = {
        name: paired([run["critique_grpo"]["pass_1"] for run in runs], [run[name]["pass_1"] for run in runs])
        for name in arms
        if name != "critique_grpo" and "critique_grpo" in arms
    }
    for name, value in ahead.items():
        print(f"critique_grpo - {name:12}  {said(value)}")
    finish(table=table, critique_grpo_minus=ahead, seeds=runs)


def said(value: dict[str, float]) -> str:
    return f"{value['mean']:.3f} ({value['low']:.3f} to {value['high']:.3f})"


if __name__ == "__main__":
    main()
