"""PPO: a critic foretells what an answer will earn from every token on; tokens are pushed by how much better it went.

Papers: Proximal Policy Optimization (arXiv 1707.06347), eq. 7; Fine-Tuning Language Models from Human Preferences
(arXiv 1909.08593) for rewards with a KL; Learning to summarize (arXiv 2009.01325) for a critic of its own.

    r_t = -beta (log p_old - log p_0)(y_t);   r_T += R          R on the stop token itself, or by phrases: Fine-Grained
                                                                RLHF (arXiv 2306.01693), option `pay`
    delta_t = r_t + gamma V_{t+1} - V_t;   A_t = delta_t + gamma lam A_{t+1};   returns = A + V;   A <- whitened
    loss = mean_t max(-A rho, -A clip(rho, 1 - c, 1 + c)) + vf 0.5 mean_t max((V - ret)^2, (clip(V, V_old, cv) - ret)^2)

V_t is read at the state before token t. Means are over all tokens of an optimiser step. Where we differ: policy, its
reference and the critic are adapters on one base (or, `critic = head`, the critic is a linear layer on the policy's own
states, which it does not change); answers without a verdict are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from training import engine
from training.recipes import rewarding, valuing
from training.recipes.answers import Answers, Gap, learn
from training.recipes.asking import asks_to_learn_from
from training.recipes.base import Recipe, option
from training.recipes.context import RunContext
from training.recipes.online import HeldOut, answer, finish, seed_of
from training.recipes.steps import steps
from training.recipes.valuing import (
    Critic,
    Pull,
    WithCritic,
    actor_and_critic,
    loss_of,
    mean_advantages,
    valued,
)

if TYPE_CHECKING:
    from torch import Tensor

    from training.engine.objectives import Loss
    from training.engine.packs import Pack, Row
    from training.engine.policy import Policy
    from training.engine.ragged import Ragged


class Config(WithCritic):
    """Options of ppo."""

    samples: int = option(1, "answers to each prompt", unit="answers", source="paper: 1", ge=1, le=1024)
    missing_stop: float = option(
        1.0, "taken from the reward of an answer that was cut off", source="TRL: advised", ge=0
    )
    pay: Literal["end", "spans"] = option(
        "end",
        "where a span reward model's verdict is paid: at the answer's end, or where its good and bad phrases end",
        source="end; spans: Wu et al. 2023",
    )


def train(run: RunContext, config: Config) -> None:
    """Each step: answers to a batch of prompts, rewards and values on their tokens, `epochs` readings."""
    policy, critic = actor_and_critic(run, config)
    judge = config.judge(run, policy)
    pull = Pull(config)
    learned = asks_to_learn_from(
        run, policy.tokenizer, passage_tokens=config.passage_tokens, longest=config.max_prompt_tokens
    )
    held_out = HeldOut(run, config, policy, judge, total=config.steps)
    batches = engine.loop.Batches(learned, size=config.prompts, steps=config.steps, seed=run.seed)
    loop = engine.loop.Loop(
        [{"params": policy.parameters}, {"params": critic.parameters, "lr": config.critic_lr or config.lr}],
        lr=config.lr,
        steps=config.steps * config.epochs * config.minibatches,
        schedule=config.schedule,
    )
    parts = {"policy": policy, "value_head": critic.head, "pull": pull}

    for step in steps(run, loop, batches, parts=parts, evaluate=held_out, every=config.every):
        answers = answer(run, config, policy, judge, step.batch, config.samples, seed=seed_of(run, step.number))
        with policy.without_dropout():
            updates, told = experience(config, policy, critic, answers, beta=pull.beta)
            gap = Gap()

            def objective(pack: Pack, gap: Gap = gap) -> Loss:
                return loss_of(config, policy, critic, pack, gap)

            figures = learn(run, loop, policy, updates * config.epochs, objective, tokens=config.budget)
        pull.follow(told["kl/answer"], len(answers.flat))
        step.report(**answers.figures(groups=False), **told, **figures, **gap.figures())
        answers.show(run, step.number + 1, mean_advantages(answers, updates))
    finish(run, config, policy, held_out, critic=critic.save(run))


def experience(
    config: Config, policy: Policy, critic: Critic, answers: Answers, *, beta: float
) -> tuple[list[list[list[Row]]], dict[str, float]]:
    """The answers with a verdict as rows that know their advantages and returns, in the step's minibatches."""

    def pay(rows: Sequence[Row], ragged: Ragged) -> Tensor:
        return paid(config, policy, answers, rows, ragged)

    units = answers.units(config.budget, leave_out=~answers.counted())
    return valued(config, policy, critic, units, beta=beta, pay=pay)


def paid(config: Config, policy: Policy, answers: Answers, rows: Sequence[Row], ragged: Ragged) -> Tensor:
    """The rewards on the rows' tokens [N]: all of an answer's on its last one, or (`pay` spans) what its phrases earned
    where they end, and the rest on the last one.
    """
    return valuing.paid(policy, answers, rows, ragged, by_place=config.pay == "spans")


RECIPE = Recipe(
    name="ppo",
    title="PPO",
    paper="Proximal Policy Optimization Algorithms (arXiv 1707.06347); for language: arXiv 1909.08593, 2009.01325",
    summary="Learns, with a critic that foretells rewards, which tokens of its answers made them better than expected.",
    consumes=("Prompt",),
    needs=(rewarding.NEEDS,),
    takes=("policy",),
    produces="policy",
    Config=Config,
    presets={
        "paper": {
            "micro_batch_tokens": 8192,
            "steps": 1000,
            "prompts": 64,
            "max_new_tokens": 512,
            "temperature": 0.7,
            "lr": 3e-6,
            "held_out": 128,
        },
        "laptop": {
            "steps": 30,
            "prompts": 16,
            "samples": 4,
            "max_new_tokens": 96,
            "passage_tokens": 160,
            "temperature": 0.8,
            "reduction": "phrases",
            "epochs": 2,
            "beta": 0.01,
            "critic": "head",
            "critic_lr": 2e-3,
            "lr": 2e-4,
            "held_out": 12,
        },
    },
    train=train,
)
