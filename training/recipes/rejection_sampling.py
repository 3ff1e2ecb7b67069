"""Rejection sampling: draw many answers, keep the best to each prompt or all that are good enough, learn to write them.

Papers: WebGPT (arXiv 2112.09332), best of n; Llama 2 (arXiv 2307.09288), section 3.2.3, which fine-tunes on the best of
K. One draw from the first policy, one fine-tuning; for draws from ever better policies there is `raft`.

    keep = best       y*(x) = argmax_k r(x, y_k)                keep = above      all y_k with r(x, y_k) >= threshold
    loss = - sum_t log p(y_t | x, y_<t) / number of answer tokens of the whole optimiser step

What best-of-n alone would give is told as well: the mean over prompts of the expected best of n of their N answers,
r_(1) the worst (unbiased):  sum_j C(j - 1, n - 1) / C(N, n) r_(j).

Where the papers are silent: a prompt whose answers all earn the same teaches nothing by choosing among them and is left
out of `best`; an answer that was cut off, is empty or has no verdict is never kept.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import model_validator

from training import engine
from training.recipes.answers import Answers
from training.recipes.asking import Ask, asks_to_learn_from
from training.recipes.base import Recipe, option
from training.recipes.context import RecipeError, RunContext
from training.recipes.online import HeldOut, Practice, answer, finish, seed_of
from training.recipes.rewarding import NEEDS, Judge
from training.recipes.steps import steps
from training.recipes.weights import Weights

if TYPE_CHECKING:
    from training.engine.objectives import Loss
    from training.engine.packs import Pack, Row
    from training.engine.policy import Policy

SET = "samples.jsonl"  # beside the artifact: everything that was drawn


class Config(Weights, Practice):
    """Options of rejection_sampling."""

    prompts: int = option(512, "prompts that are answered", unit="prompts", ge=1, le=1_000_000)
    keep: Literal["best", "above"] = option("best", "the best answer to each prompt, or all from a threshold up")
    threshold: float | None = option(None, "the reward that a kept answer has at least; empty: any (with best)")
    epochs: int = option(2, "how often the kept answers are read", ge=1, le=50)
    batch_size: int = option(16, "answers that one step learns from", unit="answers", ge=1, le=4096)
    lr: float = option(2e-4, "learning rate of the adapter", source="Llama 2: 2e-5 for all weights", gt=0, le=0.1)

    @model_validator(mode="after")
    def _has_a_threshold(self) -> Config:
        if self.keep == "above" and self.threshold is None:
            raise ValueError("keep is above: give the threshold")
        return self


def train(run: RunContext, config: Config) -> None:
    """Draw, judge, keep, fine-tune. An attempt that goes on from a checkpoint reads again what the first one drew."""
    policy = config.policy(run)
    judge = config.judge(run, policy)
    learned = asks_to_learn_from(
        run, policy.tokenizer, passage_tokens=config.passage_tokens, longest=config.max_prompt_tokens
    )[: config.prompts]
    if run.resumed is None:
        figures, path = draw_and_keep(run, config, policy, judge, learned), run.artifact_path / SET
    else:
        figures, path = {}, run.resumed.folder / "artifact" / SET
    rows = kept_rows(path, learned)
    if not rows:
        raise RecipeError(
            "data.nothing_kept",
            "No answer was good enough to be kept.",
            "Lower the threshold, raise samples or temperature, or train a better reward model.",
        )
    batches = engine.loop.Batches(rows, size=config.batch_size, epochs=config.epochs, seed=run.seed)
    loop = engine.loop.Loop(policy.parameters, lr=config.lr, steps=len(batches), schedule=config.schedule)
    if figures:
        run.metrics(0, len(batches), **figures)
    held_out = HeldOut(run, config, policy, judge, total=len(batches))

    def objective(pack: Pack) -> Loss:
        return engine.objectives.sft(engine.logprobs.completion_logprobs(policy.model, pack).values)

    for step in steps(run, loop, batches, parts={"policy": policy}, evaluate=held_out, every=config.every):
        packs = engine.packs.micro_batches(step.batch, tokens=config.budget, device=policy.device)
        loop.forward_backward(run.heed(packs), objective)
        step.report(**loop.optim_step())
    held_out.last |= curve_of(path)
    finish(run, config, policy, held_out)


def draw_and_keep(
    run: RunContext, config: Config, policy: Policy, judge: Judge, learned: Sequence[Ask]
) -> dict[str, float]:
    """Write the whole set beside the artifact: what was drawn, what it earned, what is kept. Gives it in figures."""
    answers = answer(run, config, policy, judge, learned, config.samples, seed=seed_of(run, 0))
    kept = chosen(config, answers)
    with (run.artifact_path / SET).open("w", encoding="utf-8") as file:
        for number, (ask, group) in enumerate(zip(answers.asks, answers.groups, strict=True)):
            said = [
                {
                    "text": one.text,
                    "ids": one.ids,
                    "reward": None if math.isnan(reward) else reward,
                    "seed": one.seed,
                    "finished": one.finished,
                    "kept": place in kept[number],
                }
                for place, (one, reward) in enumerate(zip(group, answers.rewards[number].tolist(), strict=True))
            ]
            file.write(json.dumps({"prompt_id": ask.prompt_id, "answers": said}, ensure_ascii=False) + "\n")
    answers.show(run, 0)
    count = sum(map(len, kept))
    worth = [answers.rewards[number, place].item() for number, places in enumerate(kept) for place in places]
    figures = {
        **answers.figures(groups=config.samples > 1),
        "kept": float(count),
        "skipped_prompts": sum(not one for one in kept) / len(kept),
    }
    if worth:
        figures["kept_reward"] = sum(worth) / count
    run.log(f"Kept {count} of {len(answers.flat)} answers to {len(kept)} prompts.")
    return figures


def chosen(config: Config, answers: Answers) -> list[list[int]]:
    """The places of the answers that are kept, for each prompt."""
    kept = []
    for group, rewards in zip(answers.groups, answers.rewards.tolist(), strict=True):
        fit = [
            (reward, -place)
            for place, (one, reward) in enumerate(zip(group, rewards, strict=True))
            if one.finished and one.text.strip() and not math.isnan(reward)
        ]
        if config.keep == "best":
            told = {reward for reward, _ in fit}
            fit = [max(fit)] if len(told) > 1 or len(fit) == 1 else []
        kept.append(sorted(-place for reward, place in fit if config.threshold is None or reward >= config.threshold))
    return kept


def kept_rows(path: Any, learned: Sequence[Ask]) -> list[Row]:
    """What is kept of a set, as rows: the very tokens that were sampled."""
    known = {ask.prompt_id: ask for ask in learned}
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        group = json.loads(line)
        ask = known[group["prompt_id"]]
        for place, one in enumerate(group["answers"]):
            if one["kept"]:
                name = f"prompt {ask.prompt_id}, answer {place + 1}"
                trained = [False] * len(ask.ids) + [True] * len(one["ids"])
                rows.append(engine.packs.Row(name=name, ids=[*ask.ids, *one["ids"]], trained=trained))
    return rows


def best_of(rewards: Sequence[float], n: int) -> float:
    """The expected best of n answers drawn without repetition from these."""
    ordered = sorted(rewards)
    return sum(math.comb(place, n - 1) / math.comb(len(ordered), n) * reward for place, reward in enumerate(ordered))


def curve_of(path: Any) -> dict[str, float]:
    """The best-of-n curve at n = 1, 2, 4, ...: means over the prompts whose answers all have a verdict."""
    groups = [[one["reward"] for one in json.loads(line)["answers"]] for line in path.read_text("utf-8").splitlines()]
    whole = [group for group in groups if None not in group]
    if not whole:
        return {}
    sizes = [2**power for power in range(len(whole[0]).bit_length()) if 2**power <= len(whole[0])]
    return {f"best_of_{n}": sum(best_of(group, n) for group in whole) / len(whole) for n in sizes}


RECIPE = Recipe(
    name="rejection_sampling",
    title="Rejection sampling",
    paper="Llama 2: Open Foundation and Fine-Tuned Chat Models (arXiv 2307.09288), section 3.2.3",
    summary="Writes many answers to each prompt once, keeps the best, and learns to write those.",
    consumes=("Prompt",),
    needs=(NEEDS,),
    takes=("policy",),
    produces="policy",
    Config=Config,
    presets={
        "paper": {
            "micro_batch_tokens": 8192,
            "prompts": 10_000,
            "samples": 32,
            "max_new_tokens": 1024,
            "max_prompt_tokens": 1024,
            "batch_size": 64,
            "lr": 2e-5,
            "held_out": 128,
            "every": 100,
        },
        "laptop": {
            "prompts": 64,
            "samples": 8,
            "max_new_tokens": 96,
            "passage_tokens": 160,
            "temperature": 0.8,
            "reduction": "phrases",
            "batch_size": 8,
            "epochs": 2,
            "held_out": 12,
        },
    },
    train=train,
)
