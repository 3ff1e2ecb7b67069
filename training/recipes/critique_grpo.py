"""Critique-GRPO: when all attempts fail, a critique lets the policy write one that succeeds; it joins the group.

Paper: Critique-GRPO (arXiv 2506.03106), algorithm 1.

    y_1..y_n ~ pi(.|q) ;  R_i = score(y_i) ;  c_i = critique(q, y_i, R_i)
    y'_i ~ pi(.|q, y_i, c_i) ;  R'_i = score(y'_i)                           one refinement of every attempt
    y_ref = the first y'_i that is right, else the one of the highest R' ;  group = {y_ref, y_2, .., y_n}
    A_i = R_i - mean of the group                                            (`advantage_std` divides by its deviation)
    loss = - sum_t A w / (L_max * answers) - entropy_weight * mean entropy
    w = p / (p + gamma) on y_ref's tokens, p of the PLAIN prompt;  w = p / p_old on the others', unclipped

What the policy was told (its attempt, the critique) stands in no row: it learns to write y_ref without. f(p) needs no
old probability, so a person's rewrite of any age can be y_ref. Right is a reward of 1 (of a reward model: from
`threshold` up).

Where we differ: an adapter is trained (`trained = all`: all weights); a group whose rewards are all equal costs no
forward pass (its gradient is zero, its entropy term is left out with it; it counts in what the sum is divided by); a
refinement that was cut off is wrong; no division by a standard deviation, as the paper says and its code does not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Literal

from pydantic import model_validator

from training import engine
from training.recipes.answers import (
    Answers,
    Gap,
    learn,
    parts_of,
    watched,
    with_advantages,
    with_numbers,
    with_old,
    with_reference,
)
from training.recipes.asking import Ask, asks_to_learn_from
from training.recipes.base import Recipe, option
from training.recipes.context import RunContext
from training.recipes.critics import (
    Attempt,
    Critic,
    Kind,
    Refiner,
    Refining,
    Said,
    as_sampled,
    by_model,
    by_policy,
    by_program,
    people_said,
    refined_by_policy,
    refined_by_program,
    truths_of,
)
from training.recipes.online import HeldOut, Online, answer, finish, seed_of
from training.recipes.refinements import RIGHT, Refinement, choose, joined, show, told, write_table
from training.recipes.rewarding import Judge, Verdict
from training.recipes.steps import steps
from training.recipes.weights import Weights

if TYPE_CHECKING:
    from torch import Tensor

    from training.engine.loop import Loop
    from training.engine.objectives import Loss
    from training.engine.packs import Pack, Row
    from training.engine.policy import Policy
    from training.engine.rollouts import Sample


class Config(Weights, Online):
    """Options of critique_grpo."""

    threshold: float | None = option(
        None, "an answer is right when its reward is at least this; empty: when it is 1, as a program's that checks it"
    )
    critique: Kind = option(
        "simple_gt",
        "what is said of an answer: right or wrong, the same with a right answer where people wrote one, or words",
        source="paper: text by a strong model; code: simple_gt",
    )
    critic: Literal["self", "model", "program", "people"] = option(
        "self",
        "who finds the words: the policy itself, a critique model, a world's program, or people (of answers in the "
        "snapshot)",
        source="paper: GPT-4o, and the policy itself",
    )
    program: str = option("", "the world whose program criticises, for demonstrations: words, support")
    refiner: str = option("", "a world's stand-in that refines instead of the policy, for demonstrations: words")
    rewrites: bool = option(True, "where a person has mended an answer to a prompt, their version is the refinement")
    rewrite_reward: float | None = option(1.0, "what such a version is worth; empty: what the judge says")
    shaping: Literal["ratio", "prob", "none"] = option(
        "ratio", "what a refinement's token weighs: p / (p + gamma), p, or 1", source="paper: ratio"
    )
    gamma: float = option(0.1, "the probability whose tokens weigh most", source="paper: 0.1", gt=0, le=10)
    advantage_std: bool = option(
        False, "divide advantages by their group's deviation", source="paper: no; its code: yes"
    )
    updates: int = option(1, "how often a step's answers are read", source="paper: 1", ge=1, le=64)
    minibatches: int = option(1, "optimiser steps of one reading", source="paper: 2", ge=1, le=1024)
    clip: float | None = option(
        None,
        "hold the attempts' ratios within 1 minus and 1 plus this; for noisy scores 0.2",
        source="paper: none",
        gt=0,
    )
    beta: float = option(
        0.0, "weight of the KL to the first model on the attempts; for noisy scores 0.01", source="paper: 0", ge=0
    )
    entropy_weight: float = option(0.001, "bonus for the mean entropy of a token", source="paper: 0.001", ge=0)
    answer_format: str = option("", "added to what the policy is asked when it refines: how an answer must end")
    refine_system: str = option("", "system message of that, where the prompt has none", source="paper: an assistant's")
    critique_tokens: int = option(256, "longest critique", unit="tokens", source="paper: 4096", ge=8, le=8192)
    critique_temperature: float = option(0.7, "of sampling critiques", source="paper: 0.7", gt=0, le=2)
    critique_top_p: float = option(0.75, "of sampling critiques", source="paper: 0.75", gt=0, le=1)

    @model_validator(mode="after")
    def _go_together(self) -> Config:
        if self.samples < 2:
            raise ValueError("one answer has no siblings to be compared with: set samples to 2 or more")
        if self.critique == "text" and self.critic == "program" and not self.program:
            raise ValueError("critic is program: name the world, as in program = words")
        return self


@dataclass(frozen=True)
class PassOrFail(Judge):
    """A judge whose verdict is 1 from a threshold up, else 0."""

    threshold: float = 1.0

    @classmethod
    def around(cls, judge: Judge, threshold: float) -> PassOrFail:
        return cls(**{one.name: getattr(judge, one.name) for one in fields(judge)}, threshold=threshold)

    def __call__(self, chosen: Sequence[Ask], samples: Sequence[Sample]) -> Verdict:
        found = super().__call__(chosen, samples)
        passed = (found.total >= self.threshold).double().masked_fill(found.total.isnan(), math.nan)
        return replace(found, total=passed, places=[[] for _ in samples])


@dataclass(frozen=True)
class Cast:
    """Who takes part besides the policy and its judge."""

    critic: Critic
    refiner: Refiner
    said: dict[str, list[Said]]  # by people, of stored answers

    @classmethod
    def of(cls, run: RunContext, config: Config, policy: Policy) -> Cast:
        truths = truths_of(run) if config.critique != "simple" else {}
        by_words = config.critique == "text" and config.critic != "people"
        words = None
        if by_words and config.critic == "program":
            words = by_program(config.program)
        elif by_words and config.critic == "model":
            words = by_model(run, policy, temperature=config.critique_temperature, rows=config.decode_rows)
        elif by_words:
            sampling = engine.rollouts.Sampling(
                max_tokens=config.critique_tokens,
                temperature=config.critique_temperature,
                top_p=config.critique_top_p,
            )
            words = by_policy(run, policy, sampling=sampling, rows=config.decode_rows, truths=truths)
        how = Refining(config.refine_system, config.answer_format, config.passage_tokens)
        return cls(
            Critic(config.critique, config.critic, words, truths),
            refined_by_program(policy, config.refiner, longest=config.max_new_tokens)
            if config.refiner
            else refined_by_policy(run, policy, how, sampling=config.sampling, rows=config.decode_rows),
            people_said(
                run, critiques=config.critique == "text" and config.critic == "people", rewrites=config.rewrites
            ),
        )


def train(run: RunContext, config: Config) -> None:
    """Each step: attempts, critiques, refinements; groups in which a refinement stands for the first attempt."""
    policy = config.policy(run)
    judge = config.judge(run, policy)
    if config.threshold is not None:
        judge = PassOrFail.around(judge, config.threshold)
    cast = Cast.of(run, config, policy)
    learned = asks_to_learn_from(
        run, policy.tokenizer, passage_tokens=config.passage_tokens, longest=config.max_prompt_tokens
    )
    held_out = HeldOut(run, config, policy, judge, total=config.steps)
    batches = engine.loop.Batches(learned, size=config.prompts, steps=config.steps, seed=run.seed)
    per_step = config.updates * config.minibatches
    loop = engine.loop.Loop(policy.parameters, lr=config.lr, steps=per_step * config.steps, schedule=config.schedule)

    for step in steps(run, loop, batches, parts={"policy": policy}, evaluate=held_out, every=config.every):
        attempts = answer(run, config, policy, judge, step.batch, config.samples, seed=seed_of(run, step.number))
        found = refinements(run, config, policy, judge, cast, attempts, step.number)
        group, refined = joined(attempts, found)
        scale = "group" if config.advantage_std else "none"
        advantages = engine.credit.group_relative(group.rewards, scale=scale, epsilon=1e-6)
        figures = improve(run, config, policy, loop, group, refined, advantages)
        step.report(**attempts.figures(), **told(attempts, found, group), **figures)
        write_table(run, step.number + 1, attempts, found)
        show(run, step.number + 1, attempts, found)
    finish(run, config, policy, held_out)


# --- refinements


def refinements(
    run: RunContext, config: Config, policy: Policy, judge: Judge, cast: Cast, attempts: Answers, number: int
) -> list[list[Refinement]]:
    """For each group: one refinement of every attempt; of what people criticised, where they did; or what they wrote
    themselves. Judged, and the one that joins the group chosen.
    """
    found = [begun(config, policy, cast, ask, number) for ask in attempts.asks]
    criticise(run, cast, attempts, found, number)
    places = [(ask, one) for ask, group in zip(attempts.asks, found, strict=True) for one in group if one.after is None]
    written = cast.refiner(
        [ask for ask, _ in places],
        [one.before for _, one in places],
        [one.critique for _, one in places],
        seed=seed_of(run, number, "refining"),
    )
    for (_, one), after in zip(places, written, strict=True):
        one.after = after
    judged = [
        (ask, one)
        for ask, group in zip(attempts.asks, found, strict=True)
        for one in group
        if one.after is not None and math.isnan(one.worth)
    ]
    if judged:
        worths = judge([ask for ask, _ in judged], [one.after for _, one in judged]).total.tolist()
        for (_, one), worth in zip(judged, worths, strict=True):
            one.worth = worth if one.after.finished or math.isnan(worth) else min(0.0, worth)
    for group in found:
        if (place := choose([one.worth for one in group])) is not None:
            group[place].chosen = True
    return found


def begun(config: Config, policy: Policy, cast: Cast, ask: Ask, number: int) -> list[Refinement]:
    """What people have given for a prompt: a better version (the next one at each step), else answers with critiques,
    at most as many as there are attempts. Nothing: the attempts themselves will be criticised.
    """
    said = cast.said.get(ask.prompt_id, [])
    better = [one for one in said if one.better]
    for one in better[number % len(better) :] + better[: number % len(better)] if better else []:
        after = as_sampled(policy, ask, one.better, longest=config.max_new_tokens, ids=one.better_ids)
        if after is not None:
            worth = math.nan if config.rewrite_reward is None else config.rewrite_reward
            return [Refinement(one.text, math.nan, "", "people", after, worth)]
    critiques = [one for one in said if one.words]
    return [Refinement(one.text, math.nan, one.words, "people") for one in critiques[: config.samples]]


def criticise(run: RunContext, cast: Cast, attempts: Answers, found: list[list[Refinement]], number: int) -> None:
    """Fill the groups that people said nothing of: every attempt with a critique."""
    open_ones = [place for place, group in enumerate(found) if not group]
    items = [
        (place, sample, attempts.rewards[place, k].item())
        for place in open_ones
        for k, sample in enumerate(attempts.groups[place])
    ]
    criticised = cast.critic(
        [Attempt(attempts.asks[place], sample.text, reward >= RIGHT) for place, sample, reward in items],
        seed=seed_of(run, number, "critiques"),
    )
    for (place, sample, reward), critique in zip(items, criticised, strict=True):
        found[place].append(Refinement(sample.text, reward, critique.text, critique.by, fell_back=critique.fell_back))


# --- learning


def improve(
    run: RunContext, config: Config, policy: Policy, loop: Loop, group: Answers, refined: Tensor, advantages: Tensor
) -> dict[str, float]:
    """`updates` times `minibatches` optimiser steps on the groups that teach something."""
    counted = group.counted()
    learned = counted & ~group.silent
    units = with_advantages(group.units(config.budget, leave_out=~learned), advantages)
    units = with_numbers(
        units, of_row={"refined": lambda row: float(refined[int(row.of_row["group"]), int(row.of_row["answer"])])}
    )
    parts = [prepared(config, policy, part) for part in parts_of(units, config.minibatches)]
    share, exchange = group.share(learned, of=counted), exchange_of(config, units)
    seen = Seen(config)

    def objective(pack: Pack) -> Loss:
        loss = loss_of(config, policy, pack, seen, exchange)
        return replace(loss, total=loss.total * share)

    with policy.without_dropout():
        figures = learn(run, loop, policy, parts * config.updates, objective, tokens=config.budget)
    return {**watched(config, policy, units), **figures, **seen.figures()}


def exchange_of(config: Config, units: Sequence[Sequence[Row]]) -> float:
    """The step's answers times the longest allowed over its tokens, of all processes."""
    rows = [row for unit in units for row in unit]
    sums = {"rows": float(len(rows)), "tokens": float(sum(sum(row.trained) for row in rows))}
    sums = engine.distributed.here().sums(sums)
    return sums["rows"] * config.max_new_tokens / max(1.0, sums["tokens"])


def prepared(config: Config, policy: Policy, units: list[list[Row]]) -> list[list[Row]]:
    """With the log-probabilities of the reference and of the policy as it is, in the packing of the update, where the
    loss reads them.
    """
    if config.beta:
        units = with_reference(config, policy, units)
    if config.updates * config.minibatches > 1:
        units = with_old(config, policy, units)
    return units


def loss_of(config: Config, policy: Policy, pack: Pack, seen: Seen, exchange: float) -> Loss:
    """Of one pack. What the refinements' tokens weigh is kept in `seen`."""
    found = engine.logprobs.completion_logprobs(
        policy.model,
        pack,
        temperature=config.temperature,
        entropy="differentiable" if config.entropy_weight else False,
    )
    refined = pack.by_row("refined") > 0
    old = pack.flat("old") if config.updates * config.minibatches > 1 else None
    seen.add(found.values if old is None else old, pack.flat("sampled"), pack.ragged.spread(refined))
    return engine.objectives.critique_grpo(
        found.values,
        old,
        pack.flat("advantages"),
        refined,
        pack.ragged,
        length=config.max_new_tokens,
        shaping=config.shaping,
        gamma=config.gamma,
        clip=config.clip,
        beta=config.beta,
        reference=pack.flat("reference") if config.beta else None,
        entropy_weight=config.entropy_weight,
        entropy=found.entropy if config.entropy_weight else None,
        exchange=exchange,
    )


@dataclass
class Seen:
    """What a step's updates show: the gap to the sampler on attempts, and how familiar refinements are."""

    config: Config
    gap: Gap = field(default_factory=Gap)
    logprobs: list[Tensor] = field(default_factory=list)

    def add(self, trained: Tensor, sampled: Tensor, refined: Tensor) -> None:
        """All [N]."""
        self.gap.add(trained[~refined], sampled[~refined])
        self.logprobs.append(trained.detach()[refined].double().cpu())

    def figures(self) -> dict[str, float]:
        """Mean p and mean weight of the refinements' tokens beside the gap."""
        import torch

        found = self.gap.figures() if any(len(one) for one in self.gap.ratios) else {}
        logprobs = torch.cat(self.logprobs) if self.logprobs else torch.zeros(0)
        if len(logprobs):
            weights = engine.objectives.shaped(logprobs, shaping=self.config.shaping, gamma=self.config.gamma)
            found |= {"refinement/p": logprobs.exp().mean().item(), "refinement/f": weights.mean().item()}
        return found


RECIPE = Recipe(
    name="critique_grpo",
    title="Critique-GRPO",
    paper="Critique-GRPO: Advancing LLM Reasoning with Natural Language and Numerical Feedback (arXiv 2506.03106)",
    summary="Answers again after a critique and learns from the refinement beside its attempts: it goes on where all "
    "attempts fail. Writes twice as much as GRPO.",
    consumes=("Prompt", "Critique", "SpanCritique", "Rewrite"),
    needs=(),
    takes=("reward_model", "span_reward_model", "critique_model", "policy"),
    produces="policy",
    Config=Config,
    presets={
        "paper": {
            "micro_batch_tokens": 16_384,
            "steps": 300,
            "prompts": 128,
            "trained": "all",
            "samples": 8,
            "max_new_tokens": 6144,
            "max_prompt_tokens": 2048,
            "minibatches": 2,
            "critique": "text",
            "critique_tokens": 4096,
            "refine_system": "You are a helpful assistant.",
            "lr": 1e-6,
            "schedule": "constant",
            "held_out": 128,
        },
        "laptop": {
            "steps": 20,
            "prompts": 6,
            "samples": 6,
            "max_new_tokens": 96,
            "passage_tokens": 160,
            "temperature": 0.8,
            "reduction": "phrases",
            "threshold": 0.0,
            "lr": 2e-4,
            "held_out": 12,
        },
    },
    train=train,
)
