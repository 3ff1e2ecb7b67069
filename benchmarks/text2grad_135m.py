"""text2grad once with SmolLM2-135M, in the word world: marks on their own words against their sum as one number.

The base knows nothing of the world, so both sides start from one policy that has read 600 careless answers (sft, one
epoch). Then each learns with an adapter of rank 8, 32 answers a step, at one learning rate: one seed, for wiring and
for time, not for a claim. Nothing stops an answer at twelve words here (a word may be several tokens), so the
reader also marks the words that are too many: without that, both sides write on and on.

    python -m benchmarks.text2grad_135m                        both sides; the last line is one JSON object
    python -m benchmarks.text2grad_135m --variants span        one side
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.harness import say
from benchmarks.raft import carry_out
from benchmarks.spans import ROOT
from benchmarks.text2grad import BATCH, CONFIG, VARIANTS, Reading
from training.engine.models import ensure_base
from training.engine.policy import Policy
from training.engine.rollouts import Sampling, sample
from training.engine.scoring import prompt_ids
from training.engine.tokens import Span
from training.recipes import marking
from training.recipes.asking import Ask
from training.recipes.marking import Marking
from training.worlds.records import labels_of, rows
from training.worlds.registry import world as world_of

WORDS, LONGEST = 12, 48  # of an answer; the most that is drawn, in tokens
ADAPTED: dict[str, Any] = {
    "trained": "adapter",
    "rank": 8,
    "critic": "head",
    "lr": 3e-4,
    "critic_lr": 3e-3,
    "max_new_tokens": LONGEST,
    "reader": "bench",
    "epochs": 2,
    "kl_estimator": "k3",
}
SFT = {"epochs": 1, "lr": 5e-4, "rank": 8, "batch_size": 8, "passage_tokens": 0, "new_answers": 0, "evaluate_every": 0}


class Counting(Reading):
    """The bench's perfect reader, who counts to twelve."""

    def __call__(self, ask: Ask, text: str) -> Marking:
        found = super().__call__(ask, text)
        spans = [span for span in found.spans if len(text[: span.end].split()) <= WORDS]
        if len(words := list(re.finditer(r"\S+", text))) > WORDS:
            spans.append(Span(words[WORDS].start(), len(text.rstrip()), -1.0))
        return replace(found, spans=tuple(spans))


def taught(world: Any, base: Path, folder: Path, seed: int) -> Path:
    """The policy that both sides start from."""
    snapshot = folder / "careless"
    snapshot.mkdir(parents=True)
    pairs = world.corpus(600, seed=seed)
    told = rows(world, [prompt for prompt, _ in pairs], [text for _, text in pairs], kinds=("demonstration",))
    with (snapshot / "rows.jsonl").open("w") as file:
        for row, (_, text) in zip(told, pairs, strict=True):
            file.write(json.dumps({**row, "text": text}) + "\n")
    (snapshot / "manifest.json").write_text(json.dumps({"labels": labels_of(world)}))
    return carry_out("sft", folder / "sft", SFT, base_model=base, snapshot=snapshot, seed=seed)


def held_out(world: Any, base: Path, adapter: Path) -> dict[str, float]:
    """True quality and words of two answers to each of 40 test prompts."""
    policy = Policy.open(base, adapter)
    asked = world.prompts(40, seed=99, split="test")
    ids = [prompt_ids(policy.tokenizer, one.messages, [], passage_tokens=0) for one in asked]
    drawn = sample(policy, ids, 2, sampling=Sampling(max_tokens=LONGEST), seed=7)
    return {
        "true_quality": round(statistics.fmean(world.true_quality(asked[one.prompt], one.text) for one in drawn), 4),
        "words": round(statistics.fmean(len(one.text.split()) for one in drawn), 1),
    }


def one(name: str, world: Any, base: Path, start: Path, folder: Path, *, steps: int, seed: int) -> dict[str, Any]:
    """One side: true quality of each step's answers, held-out quality after it, and what a step costs."""
    _, options, change = VARIANTS[name]
    reading = Counting(world, change, seed)
    marking.READERS["bench"] = lambda argument: reading
    folder.mkdir(parents=True)
    prompts = folder / "prompts.jsonl"
    with prompts.open("w") as file:
        for prompt in world.prompts(10_000, seed=0, split="train"):
            line = {"prompt_id": prompt.id, "messages": prompt.messages, "context": [], "split": "train"}
            file.write(json.dumps(line) + "\n")
    chosen = {name: value for name, value in options.items() if name not in ("lr", "critic_lr")}
    config = {**CONFIG, **chosen, **ADAPTED, "steps": steps}
    began, cpu = time.monotonic(), time.process_time()
    given: dict[str, Any] = {"base_model": base, "prompts_file": prompts, "models": {"policy": start}, "seed": seed}
    policy = carry_out("text2grad", folder / "run", config, **given)
    wall, cpu = time.monotonic() - began, time.process_time() - cpu
    curve = [round(statistics.fmean(reading.quality[at : at + BATCH]), 3) for at in range(0, steps * BATCH, BATCH)]
    found = {
        "curve": curve,
        "held_out": held_out(world, base, policy),
        "seconds_a_step": round(wall / steps, 1),
        "cpu_seconds_a_step": round(cpu / steps, 1),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    say(f"{name}: {found}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variants", nargs="*", default=["span", "scalar"], choices=["span", "scalar", "foreign"])
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--start", type=Path, help="the folder of a policy to start from, instead of teaching one")
    parser.add_argument("--bases", type=Path, default=Path(os.environ.get("DATA_DIR") or ROOT / "var") / "base")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    world = world_of("words")
    base = Path(ensure_base(chosen.bases / "smollm2-135m", say=say))
    with tempfile.TemporaryDirectory(prefix="redpen-bench-text2grad-135m-") as place:
        began = time.monotonic()
        start = chosen.start or taught(world, base, Path(place), chosen.seed)
        result: dict[str, Any] = {"sft_seconds": round(time.monotonic() - began)}
        result["before"] = held_out(world, base, start)
        say(f"before: {result['before']}")
        for name in chosen.variants:
            folder = Path(place) / name
            result[name] = one(name, world, base, start, folder, steps=chosen.steps, seed=chosen.seed)
    print(json.dumps(result | {"load": round(os.getloadavg()[0], 1)}))


if __name__ == "__main__":
    main()
