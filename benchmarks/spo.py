"""spo where tastes go in circles, against a reward model that learns from the same labels, over seeds.

First the experiment of the method's card, with a table for a policy: twenty prompts with six answers each, of which A
beats B, B beats C and C beats A. Every step draws 8 answers to each prompt and one person's choice for every pair of
them, 1500 steps, Adam at 0.02. `spo` follows the win rates; `iterated` fits Bradley-Terry scores to the same choices as
they come and follows the scores; `fixed` fits them once to as many choices between answers drawn evenly. `queue` is spo
with the last 512 answers as opponents. Exploitability: by how much the best answer beats the policy, the mean over
prompts; 0 is the minimax winner. As a control a ladder, where one answer is the best of all (300 steps).

Second the recipe itself on the tiny base of the world of circles, on one topic a seed (the base has no notion of
topics, so that another order of preference for each cannot be learned on it): spo asks the crowd which of two answers
is better, one person's choice a pair; on the other side grpo follows Bradley-Terry scores that were fitted once to as
many choices between answers drawn evenly. Exploitability is exact, from the policy's own probabilities on held-out
wordings.

    python -m benchmarks.spo                5 seeds; the last line is one JSON object
    python -m benchmarks.spo --table        the tables alone (a minute)
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.harness import finish, interval, paired, say
from training import engine
from training.engine.world_bases import ensure_world_base
from training.recipes import checkers
from training.recipes.context import Events, RunContext
from training.recipes.registry import get
from training.worlds.cycles import CIRCLE, LADDER
from training.worlds.games import bradley_terry, curl, exploitability, from_chances
from training.worlds.registry import world

ROOT = Path(__file__).resolve().parents[1]
PROMPTS, ANSWERS, GROUP, RATE = 20, 6, 8, 0.02
QUEUE = 512


# --- the table


class Table:
    """A policy as logits [20, 6], and a crowd whose preferences are relabelled for every prompt."""

    def __init__(self, preferences: Any, seed: int) -> None:
        self.made = torch.Generator().manual_seed(seed)
        orders = torch.stack([torch.randperm(ANSWERS, generator=self.made) for _ in range(PROMPTS)])
        whole = torch.tensor(np.asarray(preferences), dtype=torch.float32)
        self.roles = orders  # [20, 6]: the role of each answer
        self.matrix = whole[orders[:, :, None], orders[:, None, :]]  # [20, 6, 6], P in [-1, 1]
        self.logits = torch.zeros(PROMPTS, ANSWERS, requires_grad=True)
        self.sum = torch.zeros(PROMPTS, ANSWERS)

    def draw(self) -> Tensor:
        """int64 [20, 8]."""
        return torch.multinomial(self.logits.detach().softmax(-1), GROUP, replacement=True, generator=self.made)

    def choices(self, mine: Tensor, theirs: Tensor) -> Tensor:
        """[20, G, K]: 1 where a person takes the answer `mine` [20, G] over `theirs` [20, K]; of equals half do."""
        rows = torch.arange(PROMPTS)[:, None, None]
        chance = (1 + self.matrix[rows, mine[:, :, None], theirs[:, None, :]]) / 2
        return (torch.rand(chance.shape, generator=self.made) < chance).float()

    def figures(self) -> dict[str, float]:
        """Exploitability of the average policy and of the last one, and the average's mass on the first three roles."""
        last = self.logits.detach().softmax(-1)
        average = self.sum / self.sum.sum(-1, keepdim=True)
        good = (average * (self.roles < 3)).sum(-1).mean().item()
        best = (last * (self.roles == ANSWERS - 1)).sum(-1).mean().item()
        lowest = (last * (self.roles == 0)).sum(-1).mean().item()
        return {
            "average": _exploited(self.matrix, average),
            "last": _exploited(self.matrix, last),
            "mass_abc": good,
            "first_role": lowest,
            "last_role": best,
        }


def _exploited(matrix: Tensor, policy: Tensor) -> float:
    return (matrix @ policy[:, :, None])[:, :, 0].amax(-1).mean().item()


def tabular(side: str, preferences: Any, seed: int, *, steps: int, beta: float = 0.0, scores_rate: float = 0.1) -> Any:
    """One policy learned: "spo", "queue", "iterated" or "fixed"."""
    table = Table(preferences, seed)
    scores = torch.zeros(PROMPTS, ANSWERS, requires_grad=True)
    optimizer = torch.optim.Adam([table.logits], lr=RATE)
    fitting = torch.optim.Adam([scores], lr=scores_rate)
    upper = torch.triu(torch.ones(GROUP, GROUP), 1)
    if side == "fixed":
        scores = fitted_once(table, labels=steps * GROUP * (GROUP - 1) // 2)
    queue = torch.multinomial(torch.ones(PROMPTS, ANSWERS), QUEUE, replacement=True, generator=table.made)
    for _ in range(steps):
        drawn = table.draw()
        if side in ("spo", "iterated"):
            once = table.choices(drawn, drawn) * upper
            won = once + (upper - once).transpose(1, 2)
            rates = won.sum(-1) / (GROUP - 1)
        if side == "queue":
            places = torch.randint(0, QUEUE, (PROMPTS, GROUP - 1), generator=table.made)
            rates = table.choices(drawn, queue.gather(1, places)).mean(-1)
            queue = torch.cat([queue, drawn], 1)[:, -QUEUE:]
        if side == "iterated":
            own = scores.gather(1, drawn)
            gaps = own[:, :, None] - own[:, None, :]
            loss = torch.nn.functional.binary_cross_entropy_with_logits(gaps, won, weight=upper.expand_as(won))
            fitting.zero_grad()
            loss.backward()
            fitting.step()
        if side in ("iterated", "fixed"):
            rates = scores.detach().gather(1, drawn)
        advantages = rates - (0.5 if side == "spo" else rates.mean(-1, keepdim=True))
        logprobs = table.logits.log_softmax(-1)
        table.sum += logprobs.detach().exp()
        loss = -(advantages * logprobs.gather(1, drawn)).mean()
        loss = loss + beta * (logprobs.exp() * (logprobs + np.log(ANSWERS))).sum(-1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return table.figures()


def fitted_once(table: Table, *, labels: int) -> Tensor:
    """Bradley-Terry scores [20, 6] of this many choices a prompt between answers drawn evenly."""
    pairs = ANSWERS * (ANSWERS - 1) // 2
    return torch.stack([fitted(matrix, labels / pairs, table.made) for matrix in table.matrix])


def fitted(matrix: Tensor, per_pair: float, made: torch.Generator) -> Tensor:
    """Bradley-Terry scores [6] of `per_pair` people's choices between every two answers."""
    many = torch.full((ANSWERS, ANSWERS), float(round(per_pair)), dtype=torch.float64)
    won = torch.binomial(many, (1 + matrix.double()) / 2, generator=made).triu(1) / many
    share = won + (1 - won).triu(1).T
    share.fill_diagonal_(0.5)
    return torch.tensor(bradley_terry(from_chances(share.numpy())), dtype=torch.float32)


# beta from 0.02, 0.05, 0.1, 0.2 (spo) and 0.1, 0.2, 0.4 (iterated: its rewards are log-odds), the scores' learning rate
# from 0.02, 0.05, 0.1: the best on seeds 101 and 102, which are not reported
TABLES: dict[str, dict[str, Any]] = {
    "spo": {"side": "spo"},
    "spo_kl": {"side": "spo", "beta": 0.05},
    "iterated": {"side": "iterated", "scores_rate": 0.1},
    "iterated_kl": {"side": "iterated", "scores_rate": 0.1, "beta": 0.2},
    "fixed": {"side": "fixed"},
    "queue": {"side": "queue"},
}


def tables(seeds: Sequence[int]) -> dict[str, Any]:
    """All sides over all seeds, on the circle and on the ladder."""
    told: dict[str, Any] = {}
    found: dict[str, list[dict[str, float]]] = {}
    for name, options in TABLES.items():
        found[name] = [tabular(preferences=CIRCLE, seed=seed, steps=1500, **options) for seed in seeds]
        told[name] = {key: interval([one[key] for one in found[name]]) for key in ("average", "last", "mass_abc")}
        told[name]["last_mass_on_a"] = interval([one["first_role"] for one in found[name]])
        say(f"{name}: {told[name]}")
    for key in ("average", "last"):
        for other in ("iterated", "queue"):
            told[f"spo_minus_{other}_{key}"] = paired(
                *([one[key] for one in found[one_of]] for one_of in ("spo", other))
            )
        both = ([one[key] for one in found[name]] for name in ("spo_kl", "iterated_kl"))
        told[f"spo_kl_minus_iterated_kl_{key}"] = paired(*both)
    for name in ("spo", "iterated"):
        runs = [tabular(preferences=LADDER, seed=seed, steps=300, **TABLES[name]) for seed in seeds]
        told[f"ladder_{name}_best"] = interval([one["first_role"] for one in runs])
    told["curl_circle"], told["curl_ladder"] = round(curl(CIRCLE), 4), round(curl(LADDER), 4)
    return told


# --- the recipes


SHARED: dict[str, Any] = {  # chosen on seeds 101 and 102, of lr 1e-3 and 3e-3; an adapter (3e-3) came nowhere near
    "steps": 150,
    "trained": "all",
    "prompts": 8,
    "samples": 8,
    "max_new_tokens": 4,
    "temperature": 1.0,
    "schedule": "constant",
    "lr": 1e-3,
    "passage_tokens": 0,
    "empty": 1.0,
    "new_answers": 0,
    "micro_batch_tokens": 4096,
    "decode_rows": 512,
}
SPO = {"checker": "cycles", "labels": "drawn", "held_out": 20, "held_out_answers": 8, "every": 10, "ship": "mixture"}
GRPO = {"loss": "grpo", "scale": "none", "checker": "scores", "held_out": 0, "every": 0, "watch_answers": 0}
RECIPES: dict[str, tuple[str, dict[str, Any]]] = {
    "recipe_spo": ("spo", {**SPO, "beta": 0.0}),
    "recipe_spo_kl": ("spo", {**SPO, "beta": 0.05}),
    "recipe_scores": ("grpo", {**GRPO, "beta": 0.0}),
    "recipe_scores_kl": ("grpo", {**GRPO, "beta": 0.2}),
}


def scores_of(seed: int) -> Any:
    """A checker that gives an answer its Bradley-Terry score, fitted once to as many choices as spo asks for."""
    known = world("cycles")
    made = torch.Generator().manual_seed(seed)
    topics: dict[str, Any] = {}
    count = SHARED["steps"] * SHARED["prompts"] * SHARED["samples"] * (SHARED["samples"] - 1) // 2
    per_pair = count / (ANSWERS * (ANSWERS - 1) // 2)
    for topic in known.topics:
        topics[topic] = fitted(torch.tensor(CIRCLE), per_pair, made)

    def make(options: str) -> Any:
        def check(ask: Any, text: str) -> float | None:
            prompt = known.prompt_from(list(ask.messages), list(ask.context))
            role = None if prompt is None else known.role(prompt, text)
            return -5.0 if role is None else float(topics[prompt.topic][role])

        return check

    return make


def prompts_file(folder: Path, topic: str) -> Path:
    """The wordings of one topic but those of the test split, as a run's prompts."""
    path = folder / "prompts.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for prompt in world("cycles").prompts(10_000, seed=0):
            if prompt.split != "test" and prompt.topic == topic:
                line = {"prompt_id": prompt.id, "messages": list(prompt.messages), "context": [], "split": prompt.split}
                file.write(json.dumps(line) + "\n")
    return path


def carry_out(recipe: str, folder: Path, config: dict[str, Any], **given: Any) -> Path:
    """Train in this process and give back the artifact's folder."""
    folder.mkdir(parents=True)
    run = RunContext(directory=folder, events=Events(folder / "events.jsonl"), **given)
    chosen = get(recipe)
    chosen.train(run, chosen.config(config))
    return folder / "artifact"


def policy_of(base: Path, adapter: Path | None, topic: str) -> Any:
    """float64 [prompts, 6]: what a policy answers to the held-out wordings of a topic, by the roles of the answers;
    exact, as shares of the six words.
    """
    known, policy = world("cycles"), engine.policy.Policy.open(base, adapter)
    held_out = known.prompts(10_000, seed=0, split="test")
    asked = {prompt.id: prompt for prompt in held_out if prompt.topic == topic}
    rows = [
        engine.answers.answer_row(
            policy.tokenizer, f"{name} {role}", prompt.messages, [], text=known.word(prompt, role)
        )
        for name, prompt in asked.items()
        for role in range(ANSWERS)
    ]
    sums_of: dict[str, float] = {}
    with policy.scoring() as model:
        for pack in engine.packs.micro_batches(rows, tokens=4096):
            sums = pack.sum_by_row(engine.logprobs.completion_logprobs(model, pack).values).tolist()
            sums_of |= {row.name: value for row, value in zip(pack.rows, sums, strict=True)}
    table = np.exp([[sums_of[f"{name} {role}"] for role in range(ANSWERS)] for name in asked])
    return table / table.sum(-1, keepdims=True)


def exploited(policy: Any) -> float:
    """The mean over prompts."""
    return float(np.mean([exploitability(CIRCLE, row) for row in policy]))


def one_seed(seed: int, base: Path, folder: Path) -> dict[str, Any]:
    """Every side with one seed, each seed with a topic of its own."""
    topic = world("cycles").topics[seed % 20]
    told: dict[str, Any] = {}
    checkers.CHECKERS["scores"] = scores_of(seed)
    folder.mkdir(parents=True)
    for name, (recipe, options) in RECIPES.items():
        began = time.process_time()
        given = {"base_model": base, "prompts_file": prompts_file(folder, topic), "seed": seed}
        artifact = carry_out(recipe, folder / name, {**SHARED, **options}, **given)
        card = json.loads((artifact / "redpen.json").read_text())
        looks = [policy_of(base, artifact / place, topic) for place in card.get("mixture", ["."])]
        told[name] = {
            "average": exploited(sum(looks) / len(looks)),
            "last": exploited(looks[-1]),
            "mass_abc": float(sum(looks)[:, :3].sum() / len(looks) / len(looks[0])),
            "seconds": time.process_time() - began,
        }
        if recipe == "spo":
            told[name] |= {key: card["metrics"][key] for key in ("cycle/answers_circles", "win/reference")}
        say(f"{name}, seed {seed}: " + ", ".join(f"{key} {value:.3f}" for key, value in told[name].items()))
    return told


def recipes(seeds: Sequence[int], bases: Path, folder: Path) -> dict[str, Any]:
    """The recipes over seeds, on one base."""
    base = ensure_world_base(bases, "cycles", say=say)
    runs = [one_seed(seed, base, folder / str(seed)) for seed in seeds]
    told: dict[str, Any] = {"reference": exploited(policy_of(base, None, world("cycles").topics[0]))}
    for name in RECIPES:
        told[name] = {key: interval([run[name][key] for run in runs]) for key in runs[0][name]}
    for mine, theirs in (("recipe_spo", "recipe_scores"), ("recipe_spo_kl", "recipe_scores_kl")):
        for key in ("average", "last"):
            told[f"{mine}_minus_{theirs}_{key}"] = paired(
                *([run[side][key] for run in runs] for side in (mine, theirs))
            )
    return told


def shown(one: dict[str, float]) -> str:
    """A mean with its interval."""
    return f"{one['mean']:.3f} ({one['low']:.3f} to {one['high']:.3f})" if "low" in one else f"{one['mean']:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, choices=range(1, 11))
    parser.add_argument("--recipe-seeds", type=int, default=5, choices=range(1, 11), help="from 11 on")
    parser.add_argument("--table", action="store_true", help="the tables alone")
    parser.add_argument("--bases", type=Path, default=Path(os.environ.get("DATA_DIR") or ROOT / "var") / "base")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    told: dict[str, Any] = {"table": tables(range(1, chosen.seeds + 1))}
    if not chosen.table:
        with tempfile.TemporaryDirectory(prefix="redpen-bench-spo-") as place:
            told["recipes"] = recipes(range(11, chosen.recipe_seeds + 11), chosen.bases, Path(place))
    print(f"{'exploitability of':28}{'the average policy':>26}{'the last policy':>26}{'mass on A, B, C':>26}")
    for part, names in (("table", TABLES), ("recipes", RECIPES)):
        for name in names if part in told else ():
            cells = [shown(told[part][name][key]) for key in ("average", "last", "mass_abc")]
            print(f"{name:28}" + "".join(f"{cell:>26}" for cell in cells))
    finish(**told)


if __name__ == "__main__":
    main()
