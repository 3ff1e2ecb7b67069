"""fine_grained_rlhf on the word world: credit at segment ends against the same total on the last token, over seeds.

The experiment of the method's card. Answers of 24 words in segments of four; a segment that holds another topic's word
is wrong and pays -0.3, else +0.3, and the share of the topic's words that an answer says pays 0.6 (2c - 1) at its end.
Both sides run the recipe's own code with the same options, base, seeds and tokens; `pay` alone differs. Second, what
the weights do: 12 words, once with and once without a weight for what is covered: filler is clean, too.

    python -m benchmarks.fine_grained                5 seeds; the last line is one JSON object
    python -m benchmarks.fine_grained --wrong 0.2    a fifth of the segments' verdicts turned round
    python -m benchmarks.fine_grained --only qa      segment heads on the real marks of QA-Feedback
"""

from __future__ import annotations

import argparse
import json
import os
import random
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks import qa_data
from benchmarks.harness import finish, interval, paired, say
from training.engine.models import ensure_base
from training.engine.world_bases import ensure_world_base
from training.recipes import checkers, fine_grained_rlhf
from training.recipes.asking import Ask
from training.recipes.context import Events, RunContext
from training.recipes.registry import get
from training.recipes.segment_rewards import ByWorld
from training.worlds.registry import world

ROOT = Path(__file__).resolve().parents[1]
BASE = "words:48"  # it writes longer answers than are asked for, so that an answer's length is the experiment's
CLEAN, COVERAGE = 0.3, 0.6  # what a segment and the end pay
MISSING = 0.1  # for each word that an answer is too short: the card's answers all have one length
OPTIONS: dict[str, Any] = {
    "prompts": 32,
    "samples": 1,
    "temperature": 1.0,
    "reader_segments": "words:4",
    "checker": "coverage",
    "weights": f"errors={CLEAN}, checker=1",
    "epochs": 4,
    "beta": 0.02,
    "lam": 0.95,
    "vf": 1.0,
    "trained": "all",
    "lr": 1e-3,
    "critic": "head",
    "critic_lr": 1e-2,
    "schedule": "constant",
    "passage_tokens": 0,
    "empty": 0.0,
    "held_out": 0,
    "new_answers": 0,
    "watch_answers": 0,
    "kl_patience": 0,
    "micro_batch_tokens": 2048,
}
QA: dict[str, Any] = {  # over the paper's preset: the base is read once and stays as it is
    "rank": 0,
    "depth": 0.67,
    "pooled": True,
    "epochs": 6,
    "batch_size": 8,
    "head_lr": 2e-3,
    "passage_tokens": 160,
    "precision": "auto",
    "micro_batch_tokens": 2048,
}
AT = (15, 30, 45)
OVER = 5  # figures at an iteration are those of the answers of this many steps up to it


class Covered:
    """What the end pays: `weight` (2c - 1), c being the share of the topic's words that an answer says, less MISSING
    for every word that it is too short. Keeps each c.
    """

    def __init__(self, length: int, weight: float) -> None:
        self.world, self.length, self.weight = world(f"words:{length}"), length, weight
        self.seen: list[float] = []

    def __call__(self, ask: Ask, text: str) -> float | None:
        prompt = self.world.prompt_from(list(ask.messages), list(ask.context))
        if prompt is None:
            return None
        self.seen.append(self.world.coverage(prompt, text))
        return self.weight * (2 * self.seen[-1] - 1) - MISSING * max(0, self.length - len(text.split()))


def noisy(wrong: float, seed: int) -> Any:
    """A reader that turns this share of its verdicts round."""
    chance = random.Random(f"wrong labels {seed}")

    class Noisy(ByWorld):
        def read(self, ask: Ask, text: str) -> Any:
            found = super().read(ask, text)
            if not found:
                return found
            return {
                name: [replace(one, ok=1 - one.ok) if chance.random() < wrong else one for one in parts]
                for name, parts in found.items()
            }

    return Noisy


def practise(
    folder: Path, base: Path, length: int, *, seed: int, covers: float = COVERAGE, wrong: float = 0.0, **options: Any
) -> list[Any]:
    """One run of the recipe in this process; the figures of its steps, with the coverage of their answers."""
    folder.mkdir(parents=True)
    known = world(f"words:{length}")
    prompts = known.prompts(400, seed=0)
    with (folder / "rows.jsonl").open("w", encoding="utf-8") as file:
        for row in known.rows(prompts, [""] * len(prompts), kinds=("prompt",)):
            file.write(json.dumps(row) + "\n")
    (folder / "manifest.json").write_text('{"labels": []}')
    run = RunContext(
        directory=folder, events=Events(folder / "events.jsonl"), base_model=base, snapshot=folder, seed=seed
    )
    recipe = fine_grained_rlhf.RECIPE
    wanted = {**OPTIONS, "reader": f"words:{length}", "max_new_tokens": length, **options}
    covered, reader = Covered(length, covers), fine_grained_rlhf.ByWorld
    checkers.CHECKERS["coverage"] = lambda words: covered
    fine_grained_rlhf.ByWorld = noisy(wrong, seed) if wrong else reader  # type: ignore[misc]
    try:
        recipe.train(run, recipe.config(wanted))
    finally:
        fine_grained_rlhf.ByWorld = reader  # type: ignore[misc]
        del checkers.CHECKERS["coverage"]
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    figures = [event["values"] for event in events if event["type"] == "metrics"]
    size = wanted["prompts"] * wanted["samples"]
    parts = [covered.seen[start : start + size] for start in range(0, len(covered.seen), size)]
    return [{**one, "coverage": sum(part) / len(part)} for one, part in zip(figures, parts, strict=True)]


def at(figures: Sequence[dict[str, float]], step: int) -> dict[str, float]:
    """Clean segments, coverage, words and distance from the first model in the answers of the last steps up to this."""
    some = figures[max(0, step - OVER) : step]
    names = {"clean": "ok/errors", "coverage": "coverage", "tokens": "answer_tokens", "kl": "kl/answer"}
    return {name: round(sum(one[of] for one in some) / len(some), 4) for name, of in names.items()}


def credit(place: Path, base: Path, seeds: Sequence[int], at_steps: Sequence[int], **options: Any) -> dict[str, Any]:
    """Fine-grained against holistic: the figures of every seed at each iteration, intervals, and what must hold."""
    runs: dict[str, list[list[dict[str, float]]]] = {"segments": [], "end": []}
    for seed in seeds:
        for pay, found in runs.items():
            began = time.process_time()
            figures = practise(place / f"{pay}-{seed}", base, 24, seed=seed, pay=pay, steps=at_steps[-1], **options)
            found.append([at(figures, step) for step in at_steps])
            say(f"seed {seed}, {pay}: {found[-1]}, {time.process_time() - began:.0f} CPU s")
    table: dict[str, Any] = {"seeds": runs}
    print("\nclean segments, coverage | fine-grained | holistic | difference")  # noqa: T201
    for number, step in enumerate(at_steps):
        for what in ("clean", "coverage"):
            mine, theirs = ([one[number][what] for one in runs[pay]] for pay in ("segments", "end"))
            row = {"fine_grained": interval(mine), "holistic": interval(theirs), "difference": paired(mine, theirs)}
            table[f"{what}_at_{step}"] = row
            print(f"{what} at {step} | " + " | ".join(in_words(one) for one in row.values()))  # noqa: T201
    for step in at_steps[:2]:
        leads = [a[at_steps.index(step)]["clean"] - b[at_steps.index(step)]["clean"] for a, b in pairs_of(runs)]
        table[f"leads_by_0.05_at_{step}"] = f"{sum(lead >= 0.05 for lead in leads)} of {len(leads)}"
    apart = [
        abs(a[number]["coverage"] - b[number]["coverage"]) for a, b in pairs_of(runs) for number in range(len(at_steps))
    ]
    table["coverage_farthest_apart"] = round(max(apart), 4)
    return table


def pairs_of(runs: dict[str, list[Any]]) -> list[tuple[Any, Any]]:
    """Seed by seed."""
    return list(zip(runs["segments"], runs["end"], strict=True))


def weighing(place: Path, base: Path, seeds: Sequence[int], **options: Any) -> dict[str, Any]:
    """Twelve words, with a reward for coverage and without: clean segments and coverage, before and after."""
    table: dict[str, Any] = {}
    print("\n12 words | clean | coverage before | coverage after")  # noqa: T201
    for name, covers in (("with completeness", COVERAGE), ("without", 0.0)):
        runs = []
        for seed in seeds:
            figures = practise(place / f"{name}-{seed}", base, 12, seed=seed, covers=covers, steps=AT[-1], **options)
            runs.append({"before": round(figures[0]["coverage"], 4), **at(figures, AT[-1])})
            say(f"seed {seed}, {name}: {runs[-1]}")
        columns = {what: interval([one[what] for one in runs]) for what in ("clean", "before", "coverage")}
        table[name] = {**columns, "seeds": runs}
        print(f"{name} | " + " | ".join(in_words(one) for one in columns.values()))  # noqa: T201
    return table


def real(place: Path, bases: Path) -> dict[str, float]:
    """Segment heads on QA-Feedback's real marks: held-out questions, beside always saying what most segments are."""
    qa_data.write_snapshot(place / "qa")
    directory = place / "heads"
    directory.mkdir()
    run = RunContext(
        directory=directory,
        events=Events(directory / "events.jsonl"),
        base_model=Path(ensure_base(bases / "smollm2-135m", say=say)),
        snapshot=place / "qa",
    )
    recipe = get("segment_reward_model")
    recipe.train(run, recipe.config(QA, preset="paper"))
    found = json.loads((directory / "artifact" / "redpen.json").read_text())["metrics"]
    print("\nQA-Feedback, held-out questions | accuracy | majority | F1 of ERR | AUROC")  # noqa: T201
    for name in ("relevance", "factuality"):
        figures = [found[f"test_{what}/{name}"] for what in ("accuracy", "majority", "f1", "auroc")]
        print(f"{name} | " + " | ".join(f"{one:.3f}" for one in figures))  # noqa: T201
    return {name: round(value, 4) for name, value in found.items() if name.startswith("test_")}


def in_words(found: dict[str, float]) -> str:
    """0.64 (0.61 to 0.67)."""
    where = f" ({found['low']:.3f} to {found['high']:.3f})" if "low" in found else ""
    return f"{found['mean']:.3f}{where}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=1, help="options were chosen on 101")
    parser.add_argument("--wrong", type=float, default=0.0, help="share of the segments' verdicts turned round")
    parser.add_argument("--only", choices=("credit", "weights", "qa"), help="qa: heads on real marks, ten minutes")
    parser.add_argument("--until", type=int, default=AT[-1], choices=AT, help="iterations of the first experiment")
    parser.add_argument("--bases", type=Path, default=Path(os.environ.get("DATA_DIR") or ROOT / "var") / "base")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    began, load = time.monotonic(), os.getloadavg()[0]
    seeds = range(chosen.first_seed, chosen.first_seed + chosen.seeds)
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="redpen-bench-fine-grained-") as place:
        if chosen.only == "qa":
            result["qa"] = real(Path(place), chosen.bases)
        if chosen.only in (None, "credit"):
            base = ensure_world_base(chosen.bases, BASE, say=say)
            result["credit"] = credit(
                Path(place), base, seeds, [step for step in AT if step <= chosen.until], wrong=chosen.wrong
            )
        if chosen.only in (None, "weights"):
            base = ensure_world_base(chosen.bases, BASE, say=say)
            result["weights"] = weighing(Path(place), base, seeds, wrong=chosen.wrong)
    finish(**result, seconds=round(time.monotonic() - began), load_before=round(load, 1))


if __name__ == "__main__":
    main()
