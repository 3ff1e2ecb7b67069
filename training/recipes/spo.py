"""SPO: a policy plays its own answers against each other; its reward is how often an answer wins.

Paper: A Minimaximalist Approach to RLHF (arXiv 2401.04056), for language: many answers to one prompt are sampled at
once, so they are each other's opponents. From "which of these two is better" straight to a policy, without a reward
model: where tastes go in circles it splits its answers instead of following a score that cannot be right.

    p_ij = chance that answer i beats answer j, by the rater; p_ji = 1 - p_ij       R_i = mean of p_ij over those it met
    A_i = R_i - 1/2                        the group's mean is the baseline; no division by a deviation
    loss = mean over answers of the token mean of max(-A rho, -A clip(rho)) + beta rho k3; or k1 in the reward

Self-play suffices: for antisymmetric preferences the average policy of one learner without regret is the minimax winner
(the policy that none beats on average), which is a mixture; the last one may go round it. What is shipped is the last
policy (a KL makes it converge), an average of its weights over time (`average`), or all of its looks, of which one
is drawn for each conversation (`mixture`).

Where we differ: no queue of old answers (a delay, not an average); one update a batch. A group whose answers all tie
has only its KL to learn from. A pair that cannot be read is a tie and counted; an answer with fewer than half of its
pairs readable gets A = 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

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
from training.recipes.asking import Ask, asks_to_learn_from, draw
from training.recipes.base import Recipe, option
from training.recipes.context import RunContext
from training.recipes.online import Practice, finish, seed_of
from training.recipes.raters import Match, Rater, rater_of
from training.recipes.standings import MIXTURE, Looks
from training.recipes.steps import Step, steps
from training.recipes.weights import Weights

if TYPE_CHECKING:
    from torch import Tensor

    from training.engine.loop import Loop
    from training.engine.objectives import Loss
    from training.engine.packs import Pack
    from training.engine.policy import Policy


class Config(Weights, Practice):
    """Options of spo. `checker` names a program that compares; `missing_stop` and `empty` are log-odds."""

    steps: int = option(100, "batches of prompts", source="ours", ge=1, le=1_000_000)
    comparisons: int = option(
        0, "others of its group that every answer is compared with; 0: all of them", source="people: 3", ge=0, le=1023
    )
    labels: Literal["chance", "drawn"] = option(
        "chance", "a win counts as the rater's chance of it, or is drawn by it, as one person's choice would be"
    )
    beta: float = option(0.05, "weight of the KL to the first model", source="ours: 0.02 to 0.2; paper: 0", ge=0)
    kl: Literal["loss", "reward"] = option(
        "loss", "where the KL stands: in the loss (k3 times the ratio), or in the reward (k1, summed over the answer)"
    )
    clip_low: float = option(0.2, "the ratio pays nothing below 1 minus this", ge=0, le=1)
    clip_high: float = option(0.2, "nor above 1 plus this", ge=0, le=10)
    ship: Literal["last", "average", "mixture"] = option(
        "last",
        "the policy of the last step; the average of its weights; or the policies of all looks, one for each "
        "conversation",
    )
    average: float = option(0.9, "what the average of the weights keeps of itself at every step", ge=0, lt=1)
    truth: str = option("", "a program that compares, only to measure the true win rate, for demonstrations: cycles")
    held_out_answers: int = option(4, "answers to each held-out prompt at every look", ge=1, le=256)

    @model_validator(mode="after")
    def _can_be_compared(self) -> Config:
        if self.samples < 2:
            raise ValueError("one answer has nobody to play against: set samples to 2 or more")
        if self.comparisons >= self.samples:
            raise ValueError(f"an answer meets at most {self.samples - 1} others: lower comparisons, or set it to 0")
        if self.comparisons * self.samples % 2:
            raise ValueError("comparisons times samples must be even, or not all answers can meet as many others")
        if self.truth:
            self._is_a_checker(self.truth)
        return self


def train(run: RunContext, config: Config) -> None:
    """Each step: answers to a batch of prompts, their games, one optimiser step."""
    policy = config.policy(run)
    shaping = {"missing_stop": config.missing_stop, "empty": config.empty}
    rater = rater_of(
        run, checker=config.checker, judge=lambda: config.judge(run, policy), beside=policy, shaping=shaping
    )
    learned = asks_to_learn_from(
        run, policy.tokenizer, passage_tokens=config.passage_tokens, longest=config.max_prompt_tokens
    )
    average = Average(policy, keeps=config.average)
    looks = Looks(run, config, policy, rater, answers=config.held_out_answers)
    batches = engine.loop.Batches(learned, size=config.prompts, steps=config.steps, seed=run.seed)
    loop = engine.loop.Loop(policy.parameters, lr=config.lr, steps=config.steps, schedule=config.schedule)

    parts = {"policy": policy, "average": average}
    for step in steps(run, loop, batches, parts=parts, evaluate=looks, every=config.every):
        answers = played(run, config, policy, rater, step)
        answers, advantages = credited(config, policy, answers)
        figures = improve(run, config, policy, loop, answers, advantages)
        average.follow(policy)
        step.report(**answers.figures(), **figures, **rater.figures())
        answers.show(run, step.number + 1, advantages)
        looks.step = step.number + 1
    ship(run, config, policy, average, looks)


# --- games


def played(run: RunContext, config: Config, policy: Policy, rater: Rater, step: Step[Ask]) -> Answers:
    """The step's answers with their win rates [Q, G] as rewards; NaN where fewer than half of an answer's pairs could
    be read.
    """
    seed = seed_of(run, step.number)
    groups = draw(run, policy, step.batch, config.samples, sampling=config.sampling, seed=seed, rows=config.decode_rows)
    chance = run.random(f"games {step.number}")
    edges = [meetings(config.samples, config.comparisons, chance) for _ in groups]
    matches = [
        Match(ask, group[i], group[j])
        for ask, group, pairs in zip(step.batch, groups, edges, strict=True)
        for i, j in pairs
    ]
    chances = rater(matches)
    if config.labels == "drawn":
        chances = [None if p is None else float(chance.random() < p) for p in chances]
    rates = win_rates(config.samples, edges, chances)
    return Answers(list(step.batch), groups, rates, {"win_rate": rates})


def meetings(samples: int, comparisons: int, chance: Any) -> list[tuple[int, int]]:
    """Who meets whom in a group: everybody, or a ring in an order of chance where each meets `comparisons` others."""
    if not comparisons:
        return [(i, j) for i in range(samples) for j in range(i + 1, samples)]
    order = list(range(samples))
    chance.shuffle(order)
    steps_apart = list(range(1, comparisons // 2 + 1))
    pairs = {frozenset((order[i], order[(i + k) % samples])) for k in steps_apart for i in range(samples)}
    if comparisons % 2:
        pairs |= {frozenset((order[i], order[i + samples // 2])) for i in range(samples // 2)}
    return sorted((min(pair), max(pair)) for pair in pairs)


def win_rates(samples: int, edges: Sequence[Sequence[tuple[int, int]]], chances: Sequence[float | None]) -> Tensor:
    """R float64 [Q, G], the mean of p_ij over those that were met. A pair that could not be read is a tie; an answer of
    which fewer than half could be read has NaN.
    """
    import torch

    beats = torch.full((len(edges), samples, samples), math.nan, dtype=torch.float64)
    unread = torch.zeros(len(edges), samples, dtype=torch.float64)
    told = iter(chances)
    for group, pairs in enumerate(edges):
        for i, j in pairs:
            p = next(told)
            if p is None:
                unread[group, i] += 1
                unread[group, j] += 1
            beats[group, i, j] = 0.5 if p is None else p
            beats[group, j, i] = 1 - beats[group, i, j]
    met = (~beats.isnan()).sum(-1)
    rates = engine.credit.group_win_rate(beats)
    return torch.where(2 * unread > met, torch.nan, rates)


# --- learning


def credited(config: Config, policy: Policy, answers: Answers) -> tuple[Answers, Tensor]:
    """A = R - 1/2, [Q, G], 0 without a rate. With the KL in the reward, what it takes is compared with the group's
    mean.
    """
    import torch

    advantages = torch.where(answers.rewards.isnan(), 0.0, answers.rewards - 0.5)
    if config.beta and config.kl == "reward":
        units = with_reference(config, policy, with_old(config, policy, answers.units(config.budget)))
        paid = -config.beta * kl_of_answers(units, answers.rewards)
        answers = answers.with_part("kl", paid)
        known = ~answers.rewards.isnan()
        mean = torch.where(known, paid, 0.0).sum(-1, keepdim=True) / known.sum(-1, keepdim=True).clamp_min(1)
        advantages = torch.where(known, advantages + paid - mean, 0.0)
    return answers, advantages


def improve(
    run: RunContext, config: Config, policy: Policy, loop: Loop, answers: Answers, advantages: Tensor
) -> dict[str, float]:
    """One optimiser step. Without a KL in the loss, groups that all tie cost no forward pass; they count as zeros."""
    counted = answers.counted()
    in_loss = bool(config.beta) and config.kl == "loss"
    learned = counted if in_loss else counted & (advantages != 0)
    units = with_advantages(answers.units(config.budget, leave_out=~learned), advantages)
    share = answers.share(learned, of=counted)
    if in_loss:
        units = with_reference(config, policy, units)
    gap = Gap()

    def objective(pack: Pack) -> Loss:
        return loss_of(config, policy, pack, gap, share)

    with policy.without_dropout():
        figures = learn(run, loop, policy, [units], objective, tokens=config.budget)
    return {**watched(config, policy, units), **figures, **gap.figures()}


def loss_of(config: Config, policy: Policy, pack: Pack, gap: Gap, share: float) -> Loss:
    """The clipped policy gradient and the KL, each answer's token mean. `share`: how many of the answers that count
    are computed.
    """
    now = engine.logprobs.completion_logprobs(policy.model, pack, temperature=config.temperature).values
    gap.add(now, pack.flat("sampled"))
    in_loss = bool(config.beta) and config.kl == "loss"
    loss = engine.objectives.grpo(
        now,
        None,
        pack.flat("advantages"),
        pack.ragged,
        clip_low=config.clip_low,
        clip_high=config.clip_high,
        beta=config.beta if in_loss else 0.0,
        reference=pack.flat("reference") if in_loss else None,
    )
    return engine.objectives.Loss(loss.total * share, loss.count, loss.metrics)


# --- what it comes to


class Average:
    """An average of the policy's weights over time: a <- k a + (1 - k) w after every step."""

    def __init__(self, policy: Policy, *, keeps: float) -> None:
        self.keeps = keeps
        self.weights = policy.state_dict()

    def follow(self, policy: Policy) -> None:
        """One step on."""
        for name, value in policy.state_dict().items():
            self.weights[name].lerp_(value, 1 - self.keeps)

    def state_dict(self) -> Mapping[str, Tensor]:
        return self.weights

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from there."""
        self.weights = {name: value.clone() for name, value in state.items()}


def ship(run: RunContext, config: Config, policy: Policy, average: Average, looks: Looks) -> None:
    """Save what is shipped, with how it stands, give new answers back to the people, and announce it."""
    more: dict[str, Any] = {}
    figures = dict(looks.last)
    standings = looks.standings
    if config.ship == "average":
        policy.load_state_dict(average.weights)
        figures = {**figures, **looks.look("average")}
    elif config.ship == "mixture":
        folders = sorted((run.artifact_path / MIXTURE).glob("step-*"), key=lambda one: int(one.name.split("-")[1]))
        names = [one.name for one in folders]
        more["mixture"] = [f"{MIXTURE}/{name}" for name in names]
        if names and looks.asks:
            figures["exploitability"] = standings.exploited({name.replace("-", " "): 1 / len(names) for name in names})
    if looks.asks:
        figures |= standings.report()
        standings.show(config.steps)
        standings.show_answers(config.steps)
    looks.last = figures
    finish(run, config, policy, looks, ships=config.ship, **more)


RECIPE = Recipe(
    name="spo",
    title="SPO",
    paper="A Minimaximalist Approach to Reinforcement Learning from Human Feedback (arXiv 2401.04056)",
    summary="Plays its own answers against each other and makes those likelier that win. Made for tastes that go in "
    "circles: give it a preference model. A reward model works, but holds no circles, and grpo does the same with it.",
    consumes=("Prompt",),
    needs=(),
    takes=("preference_model", "reward_model", "span_reward_model", "policy"),
    produces="policy",
    Config=Config,
    presets={
        "paper": {
            "micro_batch_tokens": 8192,
            "steps": 500,
            "prompts": 64,
            "samples": 8,
            "max_new_tokens": 512,
            "beta": 0.0,
            "lr": 1e-6,
            "schedule": "constant",
            "ship": "mixture",
            "held_out": 128,
            "every": 50,
        },
        "laptop": {
            "steps": 30,
            "prompts": 8,
            "samples": 6,
            "max_new_tokens": 96,
            "passage_tokens": 160,
            "temperature": 0.8,
            "missing_stop": 1.0,
            "lr": 2e-4,
            "held_out": 12,
        },
    },
    train=train,
)
