"""Evaluation: what the answers of a policy to held-out prompts are worth. Nothing is trained.

The judge is a program that knows the truth (`checker`), or reward models that the policy never learned from. The
prompts are those of one split in the order of their ids and the seeds of sampling are the run's, whatever the policy:
two evaluations with one seed differ by their policies alone, so that they can be compared answer by answer. Without a
policy the base itself is asked.

What it makes is no model: `answers.jsonl`, a line an answer with its worth, beside the figures.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, Literal

from pydantic import field_validator

from training import engine
from training.recipes.asking import Ask, asks, draw, question_of
from training.recipes.base import Recipe, RecipeConfig, option
from training.recipes.context import RecipeError, RunContext
from training.recipes.rewarding import CHECKERS, Judge, Reduction

if TYPE_CHECKING:
    from training.engine.rollouts import Sample

SHOWN = 4  # answers that the run's page shows


class Config(RecipeConfig):
    """Options of evaluation."""

    split: Literal["dev", "test"] = option("test", "prompts of which split are asked")
    prompts: int = option(64, "prompts that are asked: the first of the split", unit="prompts", ge=1, le=100_000)
    samples: int = option(2, "answers to each prompt", unit="answers", ge=1, le=1024)
    temperature: float = option(1.0, "of sampling", gt=0, le=2)
    max_new_tokens: int = option(128, "longest answer", unit="tokens", ge=1, le=32768)
    checker: str = option("", "a program that knows what an answer is worth; empty: reward models judge")
    reduction: Reduction = option("mean", "a span reward model's scores as one number")
    passage_tokens: int = option(256, "how much of a prompt's passages is shown; 0: none", unit="tokens", ge=0)
    max_prompt_tokens: int = option(512, "longer prompts are left out and counted", unit="tokens", ge=8, le=32768)
    decode_rows: int = option(64, "answers written at one time; changes memory, not what is written", ge=1, le=4096)

    @field_validator("checker")
    @classmethod
    def _is_a_checker(cls, value: str) -> str:
        if value and value.partition(":")[0] not in CHECKERS:
            raise ValueError(f"there is no such checker; there are {', '.join(CHECKERS)}")
        return value


def train(run: RunContext, config: Config) -> None:
    """Ask, judge, and write down what came of it."""
    policy = engine.policy.Policy.open(run.base_model, run.models.get("policy"))
    judge = Judge.of(run, beside=policy, reduction=config.reduction, checker=config.checker)
    fitting: dict[str, Any] = {"passage_tokens": config.passage_tokens, "longest": config.max_prompt_tokens}
    asked = sorted(asks(run, policy.tokenizer, config.split, **fitting), key=lambda ask: ask.prompt_id)
    asked = asked[: config.prompts]
    if not asked:
        raise RecipeError(
            "data.empty", f"There is no prompt in the {config.split} split that fits.", "Import more prompts."
        )
    sampling = engine.rollouts.Sampling(max_tokens=config.max_new_tokens, temperature=config.temperature)
    groups = draw(
        run, policy, asked, config.samples, sampling=sampling, seed=1_000_003 * run.seed, rows=config.decode_rows
    )
    pairs = [(ask, sample) for ask, group in zip(asked, groups, strict=True) for sample in group]
    verdict = judge([ask for ask, _ in pairs], [sample for _, sample in pairs])
    worth = [None if math.isnan(value) else value for value in verdict.total.tolist()]
    write(run, pairs, worth)
    judged = [value for value in worth if value is not None]
    if not judged:
        raise RecipeError("data.unjudged", "No answer could be judged.", "Choose a judge that knows these prompts.")
    mean = sum(judged) / len(judged)
    figures = {
        "truth/quality" if list(judge.sources) == ["checker"] else "held_out_reward": mean,
        "answers": len(pairs),
        "unjudged": 1 - len(judged) / len(pairs),
        "answer_tokens": sum(len(sample.ids) for _, sample in pairs) / len(pairs),
        "truncated": sum(not sample.finished for _, sample in pairs) / len(pairs),
    }
    run.metrics(1, 1, **figures)
    run.log(f"{len(pairs)} answers to {len(asked)} prompts ({config.split}) are worth {mean:.4f} on average.")
    run.artifact(kind="evaluation", base=str(run.base_model), metrics=figures)


def write(run: RunContext, pairs: list[tuple[Ask, Sample]], worth: list[float | None]) -> None:
    """Every answer with its worth, and a few for the page."""
    with (run.artifact_path / "answers.jsonl").open("w", encoding="utf-8") as file:
        for (ask, sample), value in zip(pairs, worth, strict=True):
            line = {"prompt_id": ask.prompt_id, "text": sample.text, "worth": value, "tokens": len(sample.ids)}
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
    for (ask, sample), value in list(zip(pairs, worth, strict=True))[:SHOWN]:
        answers = [{"text": sample.text, "reward": value}]
        run.sample(1, prompt_id=ask.prompt_id, question=question_of(ask), answers=answers)


RECIPE = Recipe(
    name="evaluation",
    title="Evaluation",
    paper="No paper: the same held-out prompts and seeds for every policy",
    summary="Asks a policy the held-out prompts and has its answers judged, by a program that knows the truth or by a "
    "reward model. Nothing is trained.",
    consumes=("Prompt",),
    needs=(),
    takes=("policy", "reward_model", "span_reward_model"),
    produces="evaluation",
    Config=Config,
    presets={
        "paper": {"prompts": 512, "samples": 4, "max_new_tokens": 1024, "max_prompt_tokens": 1024},
        "laptop": {"prompts": 32, "samples": 2, "max_new_tokens": 96, "passage_tokens": 160, "temperature": 0.8},
    },
    train=train,
)
