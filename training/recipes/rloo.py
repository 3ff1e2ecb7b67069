"""RLOO: each answer is pushed by how much it beats the mean of its siblings; plain REINFORCE otherwise.

Paper: Back to Basics (arXiv 2402.14740), equations 8 and 10. The whole answer is one action with one reward; the
distance to the first model is part of that reward, so that it knows of all later tokens:

    R'_i = R_i - beta sum_t (log p(y_t) - log p_0(y_t));   A_i = R'_i - mean of R'_j over the siblings j;
    loss = - mean_i A_i sum_t log p(y_t)

Each batch of answers is used once: the ratio of a whole answer is a sum over its tokens and leaves any clip at once.
Where we differ: an adapter is trained (`trained = all`: all weights); answers without a verdict leave the
mean; a group whose answers all earn the same costs no training (it counts as the zeros that it is).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import model_validator

from training import engine
from training.recipes.answers import (
    Answers,
    Gap,
    kl_of_answers,
    learn,
    watched,
    with_advantages,
    with_old,
    with_reference,
)
from training.recipes.asking import asks_to_learn_from
from training.recipes.base import Recipe, option
from training.recipes.context import RunContext
from training.recipes.online import HeldOut, Online, answer, finish, seed_of
from training.recipes.rewarding import NEEDS
from training.recipes.steps import steps
from training.recipes.weights import Weights

if TYPE_CHECKING:
    from torch import Tensor

    from training.engine.loop import Loop
    from training.engine.objectives import Loss
    from training.engine.packs import Pack
    from training.engine.policy import Policy


class Config(Weights, Online):
    """Options of rloo."""

    beta: float = option(0.05, "weight of the KL to the first model, in the reward", source="paper: 0.03", ge=0)
    truncated: Literal["score", "mask"] = option(
        "score", "answers that were cut off: learn from their reward, or nothing (they stay in the mean)"
    )

    @model_validator(mode="after")
    def _has_siblings(self) -> Config:
        if self.samples < 2:
            raise ValueError("one answer has no siblings to be compared with: set samples to 2 or more")
        return self


def train(run: RunContext, config: Config) -> None:
    """Each step: answers to a batch of prompts, their rewards, one optimiser step."""
    policy = config.policy(run)
    judge = config.judge(run, policy)
    learned = asks_to_learn_from(
        run, policy.tokenizer, passage_tokens=config.passage_tokens, longest=config.max_prompt_tokens
    )
    held_out = HeldOut(run, config, policy, judge, total=config.steps)
    batches = engine.loop.Batches(learned, size=config.prompts, steps=config.steps, seed=run.seed)
    loop = engine.loop.Loop(policy.parameters, lr=config.lr, steps=config.steps, schedule=config.schedule)

    for step in steps(run, loop, batches, parts={"policy": policy}, evaluate=held_out, every=config.every):
        answers = answer(run, config, policy, judge, step.batch, config.samples, seed=seed_of(run, step.number))
        answers, advantages = credited(config, policy, answers)
        step.report(**answers.figures(), **improve(run, config, policy, loop, answers, advantages))
        answers.show(run, step.number + 1, advantages)
    finish(run, config, policy, held_out)


def credited(config: Config, policy: Policy, answers: Answers) -> tuple[Answers, Tensor]:
    """R' of R, with the policy's own log-probabilities over the reference's summed over each answer; A of R' [Q, G]."""
    if config.beta:
        units = with_reference(config, policy, with_old(config, policy, answers.units(config.budget)))
        answers = answers.with_part("kl", -config.beta * kl_of_answers(units, answers.rewards))
    return answers, engine.credit.leave_one_out(answers.rewards)


def improve(
    run: RunContext, config: Config, policy: Policy, loop: Loop, answers: Answers, advantages: Tensor
) -> dict[str, float]:
    """One optimiser step on the answers that teach something."""
    counted = answers.counted(whole=config.truncated == "mask")
    learned = counted & ~answers.silent
    units = with_advantages(answers.units(config.budget, leave_out=~learned), advantages)
    share = answers.share(learned, of=counted)
    gap = Gap()

    def objective(pack: Pack) -> Loss:
        return loss_of(config, policy, pack, gap, share)

    with policy.without_dropout():
        figures = learn(run, loop, policy, [units], objective, tokens=config.budget)
    return {**watched(config, policy, units), **figures, **gap.figures()}


def loss_of(config: Config, policy: Policy, pack: Pack, gap: Gap, share: float) -> Loss:
    """-mean_i s_i A_i with s_i = 1, whose gradient is A_i times that of sum_t log p. `share`: how many of the answers
    that count are computed.
    """
    now = engine.logprobs.completion_logprobs(policy.model, pack, temperature=config.temperature).values
    gap.add(now, pack.flat("sampled"))
    loss = engine.objectives.rloo(now, None, pack.by_row("advantage"), pack.ragged)
    return engine.objectives.Loss(loss.total * share, loss.count, loss.metrics)


RECIPE = Recipe(
    name="rloo",
    title="RLOO",
    paper="Back to Basics: Revisiting REINFORCE Style Optimization for Learning from Human Feedback in LLMs "
    "(arXiv 2402.14740)",
    summary="Writes several answers to each prompt and makes those likelier that earn more than the others' mean.",
    consumes=("Prompt",),
    needs=(NEEDS,),
    takes=("policy",),
    produces="policy",
    Config=Config,
    presets={
        "paper": {
            "micro_batch_tokens": 8192,
            "steps": 600,
            "prompts": 128,
            "samples": 4,
            "max_new_tokens": 512,
            "beta": 0.03,
            "lr": 1e-6,
            "schedule": "constant",
            "held_out": 128,
        },
        "laptop": {
            "steps": 30,
            "prompts": 8,
            "samples": 8,
            "max_new_tokens": 96,
            "passage_tokens": 160,
            "temperature": 0.8,
            "reduction": "phrases",
            "missing_stop": 1.0,
            "beta": 0.01,
            "lr": 2e-4,
            "held_out": 12,
        },
    },
    train=train,
)
