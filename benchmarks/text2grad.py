"""text2grad in the word world: rewards on the marked words against the same feedback as one number.

Everything is the recipe itself (`training.recipes.text2grad`), as in the card's toy: all weights of the world's tiny
base learn, the critic is a layer on the policy's states that teaches them, learning rate 2e-3 on both sides. A perfect
reader marks every answer: a word of the topic that was asked for +1, one of another topic -1, a filler nothing, and
where words are missing at the end -1 on the token that ended it. One step is 32 answers, so labels are steps times 32.
What is compared, with the same answers a step, epochs and KL:

    span      every mark on its own token, which is credited for nothing that comes after it (gamma 0)
    scalar    the marks' sum, as one number on the last token, with gamma 1: PPO
    ahead     span with gamma 1, the paper's: a token is credited for what comes after it too
    slow      ahead at the learning rate that is best for it, 1e-3
    foreign   the marks of another answer, to another prompt: a control
    half      half of the marks are lost                flipped   a fifth of the marks has the wrong sign
    span 24, scalar 24    answers of 24 words instead of 12

True quality is the world's own, from 0 to 1 (0.5: as many wrong words as right ones). "Steps" is the first step from
which the mean of ten is 0.75 or more (a mean delta of 0.5). Intervals are Student's over seeds.

    python -m benchmarks.text2grad               5 seeds, about 6 CPU-minutes; the last line is one JSON object
    python -m benchmarks.text2grad --first-seed 101 --seeds 2 --variants span --lr 5e-4 --gamma 0.5    for choosing
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.harness import interval, paired, say
from benchmarks.raft import carry_out
from benchmarks.spans import ROOT
from training.engine.policy import Policy
from training.engine.rollouts import Sampling, sample
from training.engine.scoring import prompt_ids
from training.engine.tokens import Span
from training.engine.world_bases import ensure_world_base
from training.recipes import marking
from training.recipes.asking import Ask
from training.recipes.marking import Marking
from training.worlds.registry import world as world_of

BATCH = 32
STEPS = 30
WINDOW = 10
ENOUGH = 0.75  # true quality: a mean delta of 0.5
CONFIG: dict[str, Any] = {
    "prompts": BATCH,
    "samples": 1,
    "steps": STEPS,
    "epochs": 4,
    "beta": 0.02,
    "kl_estimator": "full",
    "kl_target": None,
    "trained": "all",
    "critic": "shared",
    "temperature": 1.0,
    "passage_tokens": 0,
    "schedule": "constant",
    "held_out": 0,
    "new_answers": 0,
    "watch_answers": 0,
    "every": 0,
    "micro_batch_tokens": 2048,
}
# Of gamma 0, 0.5, 0.9, 1 and lr 5e-4, 1e-3, 2e-3 span's best held-out truth, of lam 0.95, 1 and lr 1e-3, 2e-3, 3e-3
# scalar's (lam 0.95), on seeds 101 and 102, which are not reported. It is the same rate for both.
LR = {"lr": 2e-3, "critic_lr": 2e-3}
SPAN = {"pay": "spans", "gamma": 0.0}
SCALAR = {"pay": "end", "gamma": 1.0}
AHEAD = {"pay": "spans", "gamma": 1.0}
Change = Callable[[Sequence[Span], random.Random], list[Span]]


def half(spans: Sequence[Span], chance: random.Random) -> list[Span]:
    """Half of the marks are lost."""
    return [span for span in spans if chance.random() < 0.5]


def flipped(spans: Sequence[Span], chance: random.Random) -> list[Span]:
    """A fifth of the marks says the opposite."""
    return [Span(one.start, one.end, one.score * (-1 if chance.random() < 0.2 else 1)) for one in spans]


VARIANTS: dict[str, tuple[int, dict[str, Any], Change | None]] = {  # words, options, what happens to the marks
    "span": (12, SPAN, None),
    "scalar": (12, SCALAR, None),
    "ahead": (12, AHEAD, None),
    "slow": (12, {**AHEAD, "lr": 1e-3, "critic_lr": 1e-3}, None),
    "foreign": (12, {**SPAN, "pay": "shuffled"}, None),
    "half": (12, SPAN, half),
    "flipped": (12, SPAN, flipped),
    "span 24": (24, SPAN, None),
    "scalar 24": (24, SCALAR, None),
}
PAIRS = (("span", "scalar"), ("span", "slow"), ("slow", "scalar"), ("span 24", "scalar 24"))


class Reading:
    """A perfect reader whose marks may be spoiled on their way; it keeps how good each answer truly was."""

    def __init__(self, world: Any, change: Change | None, seed: int) -> None:
        self.world, self.change, self.chance = world, change, random.Random(f"marks {seed}")
        self.quality: list[float] = []

    def __call__(self, ask: Ask, text: str) -> Marking:
        prompt = self.world.prompt_from(ask.messages, ask.context)
        self.quality.append(self.world.true_quality(prompt, text))
        spans = [Span(one.start, one.end, float(one.sentiment)) for one in self.world.marks(prompt, text)]
        return Marking(tuple(self.change(spans, self.chance) if self.change else spans))


def one(name: str, seed: int, bases: Path, folder: Path, changes: dict[str, Any]) -> dict[str, Any]:
    """One variant with one seed: its curve of true quality by steps, and held-out quality at the end."""
    words, options, change = VARIANTS[name]
    spec = "words" if words == 12 else f"words:{words}"
    world = world_of(spec)
    base = Path(ensure_world_base(bases / f"text2grad-{spec.replace(':', '-')}", spec, say=say))
    reading = Reading(world, change, seed)
    marking.READERS["bench"] = lambda argument: reading
    prompts = world.prompts(10_000, seed=0, split="train")
    folder.mkdir(parents=True)
    with (folder / "prompts.jsonl").open("w") as file:
        for prompt in prompts:
            line = {"prompt_id": prompt.id, "messages": prompt.messages, "context": [], "split": "train"}
            file.write(json.dumps(line) + "\n")
    began = time.process_time()
    config = {**CONFIG, **LR, "max_new_tokens": words + 1, "reader": "bench", **options, **changes}
    given = {"base_model": base, "prompts_file": folder / "prompts.jsonl", "seed": seed}
    policy = carry_out("text2grad", folder / "run", config, **given)
    spent = time.process_time() - began
    curve = [statistics.fmean(reading.quality[at : at + BATCH]) for at in range(0, len(reading.quality), BATCH)]
    smooth = [statistics.fmean(curve[at - WINDOW + 1 : at + 1]) for at in range(WINDOW - 1, len(curve))]
    return {
        "curve": [round(value, 4) for value in curve],
        "smooth": smooth,
        "last_ten": smooth[-1],
        "steps": reached(smooth, ENOUGH),
        "first": curve[0],
        "held_out": held_out(world, base, policy, words),
        "seconds": spent,
    }


def reached(smooth: Sequence[float], level: float) -> float:
    """The first step whose mean of ten is at this level; infinite where none is."""
    return next((at + WINDOW for at, value in enumerate(smooth) if value >= level), math.inf)


def held_out(world: Any, base: Path, adapter: Path, words: int) -> float:
    """True quality of two answers to each test prompt."""
    policy = Policy.open(base, adapter)
    asked = world.prompts(40, seed=99, split="test")
    ids = [prompt_ids(policy.tokenizer, one.messages, [], passage_tokens=0) for one in asked]
    drawn = sample(policy, ids, 4, sampling=Sampling(max_tokens=words + 1), seed=7)
    return statistics.fmean(world.true_quality(asked[one.prompt], one.text) for one in drawn)


def capped(values: Sequence[float], cap: float) -> list[float]:
    """What was never reached counts as one step more than there were."""
    return [min(value, cap) for value in values]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=11, help="settings were chosen on 101 and 102")
    parser.add_argument("--variants", nargs="*", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--lr", type=float, help="of policy and critic, in every variant")
    parser.add_argument("--gamma", type=float, help="in every variant")
    parser.add_argument("--lam", type=float, help="in every variant")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--bases", type=Path, default=Path(os.environ.get("DATA_DIR") or ROOT / "var") / "base")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    changes: dict[str, Any] = {"steps": chosen.steps}
    if chosen.lr:
        changes |= {"lr": chosen.lr, "critic_lr": chosen.lr}
    changes |= {name: value for name in ("gamma", "lam") if (value := getattr(chosen, name)) is not None}
    load = os.getloadavg()[0]
    seeds = range(chosen.first_seed, chosen.first_seed + chosen.seeds)
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in chosen.variants}
    with tempfile.TemporaryDirectory(prefix="redpen-bench-text2grad-") as place:
        for seed in seeds:
            for name in chosen.variants:
                found = one(name, seed, chosen.bases, Path(place) / f"{name} {seed}", changes)
                runs[name].append(found)
                last = found["smooth"][-1]
                say(
                    f"seed {seed}, {name}: steps {found['steps']}, quality {found['first']:.3f} -> {last:.3f}, "
                    f"held out {found['held_out']:.3f}, {found['seconds']:.0f} CPU-s"
                )
    print(json.dumps(result_of(runs, cap=chosen.steps + 1) | {"load": [round(load, 1), round(os.getloadavg()[0], 1)]}))


def result_of(runs: dict[str, list[dict[str, Any]]], *, cap: int) -> dict[str, Any]:
    """Each variant's figures, the paired differences of `PAIRS`, and the card's two criteria."""
    result: dict[str, Any] = {}
    for name, found in runs.items():
        steps = capped([run["steps"] for run in found], cap)
        result[name] = {
            "steps": interval(steps),
            "labels": interval([BATCH * value for value in steps]),
            "reached": sum(run["steps"] < math.inf for run in found),
            "last_ten": interval([run["last_ten"] for run in found]),
            "held_out": interval([run["held_out"] for run in found]),
            "best": max(max(run["smooth"]) for run in found),
            "cpu_seconds": round(statistics.fmean(run["seconds"] for run in found), 1),
        }
    for one_side, other in PAIRS:
        mine, theirs = runs.get(one_side), runs.get(other)
        if not mine or not theirs:
            continue
        steps, others = (capped([run["steps"] for run in some], cap) for some in (mine, theirs))
        result[f"{one_side} against {other}"] = {
            "steps": paired(steps, others),
            **{
                name: paired([run[name] for run in mine], [run[name] for run in theirs])
                for name in ("held_out", "last_ten")
            },
            "ratio_of_steps": [round(a / b, 3) for a, b in zip(steps, others, strict=True)],
            "labels_to_reach_what_the_other_ends_with": [
                BATCH * min(cap, reached(a["smooth"], b["last_ten"])) for a, b in zip(mine, theirs, strict=True)
            ],
        }
    if "span" in runs and "scalar" in runs:
        ratios = result["span against scalar"]["ratio_of_steps"]
        result["criterion: span needs at most 0.65 of scalar's steps"] = [value <= 0.65 for value in ratios]
    if "foreign" in runs:
        result["criterion: foreign marks stay below a mean delta of 0.3"] = [
            max(run["smooth"]) < 0.65 for run in runs["foreign"]
        ]
    return result


if __name__ == "__main__":
    main()
