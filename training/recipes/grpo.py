"""GRPO: several answers to each prompt, each pushed by how much better it is than its siblings; no critic.

Paper: DeepSeekMath (arXiv 2402.03300), algorithm 1 with outcome supervision. Its variants are options here, each named
by what it changes:

    loss     grpo: mean over answers of each answer's token mean | dr_grpo: over answers times the longest allowed
             (Dr. GRPO, arXiv 2503.20783) | dapo: over all tokens of the step (DAPO, arXiv 2503.14476) | gspo: one ratio
             an answer (GSPO, arXiv 2507.18071)
    scale    group: advantages in standard deviations of their group | batch: of the step | none (Dr. GRPO)
    DAPO     loss dapo, clip_high 0.28, beta 0, truncated mask, overlong > 0, dynamic sampling
    bnpo     is missing: it divides by the tokens of a micro-batch, so that what is learned would depend on memory.

Where we differ: a group whose answers all earn the same costs no forward pass (its policy gradient is zero; it still
counts in what the sum is divided by, unless `dynamic` replaced it; its KL term is left out with it). The KL in the loss
is multiplied by the ratio, so that its gradient is the KL's (arXiv 2512.21852); or it stands in the reward (k1).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import model_validator

from training import engine
from training.recipes.answers import (
    Answers,
    Gap,
    kl_of_answers,
    learn,
    parts_of,
    watched,
    with_advantages,
    with_old,
    with_reference,
)
from training.recipes.asking import Ask, asks_to_learn_from
from training.recipes.base import Recipe, option
from training.recipes.context import RunContext
from training.recipes.online import HeldOut, Online, answer, finish, seed_of
from training.recipes.rewarding import NEEDS, Judge
from training.recipes.steps import Step, steps
from training.recipes.weights import Weights

if TYPE_CHECKING:
    from torch import Tensor

    from training.engine.loop import Loop
    from training.engine.objectives import Loss
    from training.engine.packs import Pack, Row
    from training.engine.policy import Policy


class Config(Weights, Online):
    """Options of grpo."""

    loss: Literal["grpo", "dr_grpo", "dapo", "gspo"] = option(
        "grpo", "what the sum over tokens is divided by, and over what the ratio is taken", source="paper: grpo"
    )
    scale: Literal["group", "batch", "none"] = option(
        "group", "advantages in standard deviations: of their group, of the step, or not at all", source="paper: group"
    )
    clip_low: float = option(0.2, "the ratio pays nothing below 1 minus this", source="gspo: 0.0003", ge=0, le=1)
    clip_high: float = option(0.2, "nor above 1 plus this", source="DAPO: 0.28; gspo: 0.0004", ge=0, le=10)
    beta: float = option(0.0, "weight of the KL to the first model", source="DeepSeekMath: 0.04; TRL, DAPO: 0", ge=0)
    kl: Literal["loss", "reward"] = option(
        "loss", "where the KL stands: in the loss (k3 times the ratio), or in the reward (k1, summed over the answer)"
    )
    updates: int = option(1, "how often a step's answers are read", source="paper: 1", ge=1, le=64)
    minibatches: int = option(1, "optimiser steps of one reading", ge=1, le=1024)
    dynamic: int = option(
        0,
        "draw again, up to so often, for prompts whose answers all earn the same",
        source="DAPO: until full",
        ge=0,
        le=64,
    )
    truncated: Literal["score", "mask"] = option(
        "score",
        "answers that were cut off: learn from their reward, or nothing (they stay in the mean)",
        source="DAPO: mask",
    )
    overlong: int = option(
        0,
        "tokens before the longest at which an answer begins to lose up to 1 of its reward; 0: none",
        unit="tokens",
        ge=0,
    )
    importance_cap: float = option(
        0.0, "weigh tokens by p_trainer / p_sampler up to this; 0: do not", source="Yao et al.: 2", ge=0, le=100
    )

    @model_validator(mode="after")
    def _go_together(self) -> Config:
        if self.loss == "gspo" and self.importance_cap:
            raise ValueError("gspo has one ratio an answer: tokens cannot be weighed, set importance_cap to 0")
        if self.loss == "gspo" and self.beta and self.kl == "loss":
            raise ValueError("gspo has no KL in its loss: set kl to reward")
        if self.samples < 2:
            raise ValueError("one answer has no siblings to be compared with: set samples to 2 or more")
        return self


def train(run: RunContext, config: Config) -> None:
    """Each step: answers to a batch of prompts, rewards, advantages within each group, `updates` readings."""
    policy = config.policy(run)
    judge = config.judge(run, policy, overlong=config.overlong)
    learned = asks_to_learn_from(
        run, policy.tokenizer, passage_tokens=config.passage_tokens, longest=config.max_prompt_tokens
    )
    held_out = HeldOut(run, config, policy, judge, total=config.steps)
    batches = engine.loop.Batches(learned, size=config.prompts, steps=config.steps, seed=run.seed)
    per_step = config.updates * config.minibatches
    loop = engine.loop.Loop(policy.parameters, lr=config.lr, steps=per_step * config.steps, schedule=config.schedule)

    for step in steps(run, loop, batches, parts={"policy": policy}, evaluate=held_out, every=config.every):
        answers = drawn(run, config, policy, judge, step, learned)
        answers, advantages = credited(config, policy, answers)
        figures = improve(run, config, policy, loop, answers, advantages)
        step.report(**answers.figures(), **figures)
        answers.show(run, step.number + 1, advantages)
    finish(run, config, policy, held_out)


def drawn(
    run: RunContext, config: Config, policy: Policy, judge: Judge, step: Step[Ask], learned: Sequence[Ask]
) -> Answers:
    """The step's answers. With `dynamic`, groups without spread are left out and other prompts drawn in their place
    until there are as many groups as the step has prompts, or the tries are used up.
    """
    wanted = list(step.batch)
    found: Answers | None = None
    for number in range(1 + config.dynamic):
        seed = seed_of(run, step.number, str(number) if number else "")
        answers = answer(run, config, policy, judge, wanted, config.samples, seed=seed)
        if not config.dynamic:
            return answers
        spread = engine.credit.has_spread(answers.rewards).tolist()
        alive = answers.where([place for place, there in enumerate(spread) if there])
        step.report(
            **{
                "drawn_again": float(number),
                **({"first_silent_groups": 1 - sum(spread) / len(spread)} if not number else {}),
            }
        )
        found = alive if found is None else found.plus(alive)
        missing = len(step.batch) - len(found.asks)
        others = [ask for ask in learned if ask not in found.asks and ask not in wanted] or list(learned)
        if not missing or number == config.dynamic:
            break
        wanted = run.random(f"step {step.number}, draw {number + 1}").sample(others, min(missing, len(others)))
    assert found is not None
    return found if found.asks else answers  # a step that found nothing shows what it saw, and learns nothing


def credited(config: Config, policy: Policy, answers: Answers) -> tuple[Answers, Tensor]:
    """A_i = (R_i - mean of its group) / (std + 1e-4), [Q, G], 0 without a verdict; with the KL in the reward first, if
    it stands there.
    """
    if config.beta and config.kl == "reward":
        units = with_reference(config, policy, with_old(config, policy, answers.units(config.budget)))
        kl = kl_of_answers(units, answers.rewards)
        answers = answers.with_part("kl", -config.beta * kl)
    return answers, engine.credit.group_relative(answers.rewards, scale=config.scale)


def improve(
    run: RunContext, config: Config, policy: Policy, loop: Loop, answers: Answers, advantages: Tensor
) -> dict[str, float]:
    """`updates` times `minibatches` optimiser steps on the answers that teach something."""
    counted = answers.counted(whole=config.truncated == "mask")
    learned = counted & ~answers.silent
    units = with_advantages(answers.units(config.budget, leave_out=~learned), advantages)
    share = answers.share(learned, of=counted, by_tokens=config.loss == "dapo")
    gap = Gap()
    parts = [prepared(config, policy, part) for part in parts_of(units, config.minibatches)]

    def objective(pack: Pack) -> Loss:
        return loss_of(config, policy, pack, gap, share)

    with policy.without_dropout():
        figures = learn(run, loop, policy, parts * config.updates, objective, tokens=config.budget)
    return {**watched(config, policy, units), **figures, **gap.figures()}


def prepared(config: Config, policy: Policy, units: list[list[Row]]) -> list[list[Row]]:
    """With the reference's log-probabilities, if the loss has a KL; with the old ones, if the answers are read more
    than once. Both in the packing of the update: the first ratio is exactly 1, the first KL exactly 0.
    """
    if config.beta and config.kl == "loss":
        units = with_reference(config, policy, units)
    if config.updates * config.minibatches > 1:
        units = with_old(config, policy, units)
    return units


def loss_of(config: Config, policy: Policy, pack: Pack, gap: Gap, share: float) -> Loss:
    """The variant's loss. `share` is the part of the step's denominator that these answers are: the others, of groups
    that all earned the same, are zeros in the sum and count all the same.
    """
    objectives = engine.objectives
    now = engine.logprobs.completion_logprobs(policy.model, pack, temperature=config.temperature).values
    sampled = pack.flat("sampled")
    old = pack.flat("old") if config.updates * config.minibatches > 1 else None
    gap.add(now if old is None else old, sampled)
    clip = {"clip_low": config.clip_low, "clip_high": config.clip_high}
    if config.loss == "gspo":
        loss = objectives.gspo(now, old, pack.by_row("advantage"), pack.ragged, **clip)
        return objectives.Loss(loss.total * share, loss.count, loss.metrics)
    terms = {
        **clip,
        "beta": config.beta if config.kl == "loss" else 0.0,
        "reference": pack.flat("reference") if config.beta and config.kl == "loss" else None,
        "weights": None,
    }
    if config.importance_cap:
        trained = now.detach() if old is None else old
        terms["weights"] = objectives.truncated_importance(trained, sampled, cap=config.importance_cap)
    advantages = pack.flat("advantages")
    if config.loss == "grpo":
        loss = objectives.grpo(now, old, advantages, pack.ragged, **terms)
    elif config.loss == "dr_grpo":
        loss = objectives.dr_grpo(now, old, advantages, pack.ragged, length=config.max_new_tokens, **terms)
    else:
        loss = objectives.dapo(now, old, advantages, **terms)
    return objectives.Loss(loss.total * share, loss.count, loss.metrics)


RECIPE = Recipe(
    name="grpo",
    title="GRPO",
    paper="DeepSeekMath: Pushing the Limits of Mathematical Reasoning in Open Language Models (arXiv 2402.03300)",
    summary="Writes several answers to each prompt and makes those likelier that earn more than their siblings. DAPO, "
    "Dr. GRPO and GSPO are options.",
    consumes=("Prompt",),
    needs=(NEEDS,),
    takes=("policy",),
    produces="policy",
    Config=Config,
    presets={
        "paper": {
            "micro_batch_tokens": 8192,
            "steps": 500,
            "prompts": 16,
            "samples": 64,
            "max_new_tokens": 1024,
            "max_prompt_tokens": 1024,
            "beta": 0.04,
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
            "loss": "dapo",
            "clip_high": 0.28,
            "reduction": "phrases",
            "missing_stop": 1.0,
            "lr": 2e-4,
            "held_out": 12,
        },
    },
    train=train,
)
