"""NFT: right and wrong answers teach one policy by likelihood; no reward model, no critic, no KL is needed.

Paper: Negative-aware Fine-Tuning (arXiv 2505.18116). Of the policy that wrote the answers, Bayes' rule says

    q p+(a | x) + (1 - q) p-(a | x) = p_old(a | x)        q: how many of its answers to x are right

The policy that is trained is declared to be p+. Then p- = (p_old - q p+) / (1 - q) is no second network, and wrong
answers, whose likelihood under p- is raised, train the same weights (`engine.objectives.nft`). A verdict is a program's
(`checker`), or a reward model's score from `threshold` up. Each round:

    answers      K to each prompt; prompts with nothing right or nothing wrong are replaced, up to `tries` times
    old          log p of their tokens before the round's first step, computed by the trainer itself
    minibatches  of whole groups, each answer read once

    learns from  both | right (rejection fine-tuning: negative weight 0) | wrong (nothing but mistakes)

Where we differ: the sum is divided by answers times `length` (logged; the official sum over 512 answers by 1000 is
`length` 1000 / 512), so that the learning rate does not depend on the batch. An answer without a verdict leaves its
group. Groups that were not replaced count as the zeros that they are. An adapter is trained,
or all weights (`trained`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from pydantic import model_validator

from training import engine
from training.recipes.answers import Answers, Gap, parts_of, watched, with_numbers, with_old
from training.recipes.asking import Ask, asks_to_learn_from, question_of
from training.recipes.base import Recipe, option
from training.recipes.context import RunContext
from training.recipes.online import HeldOut, Online, answer, finish, seed_of
from training.recipes.rewarding import Judge
from training.recipes.steps import Step, steps
from training.recipes.weights import Weights

if TYPE_CHECKING:
    from torch import Tensor

    from training.engine.loop import Loop
    from training.engine.objectives import Loss
    from training.engine.packs import Pack, Row
    from training.engine.policy import Policy

RATES = "rates.jsonl"  # beside the artifact: how often each prompt was answered rightly, step by step
PROMPTS = "prompts.json"  # ... and at the end: which are hard, which are solved


class Config(Weights, Online):
    """Options of nft."""

    verdict: Literal["threshold", "graded"] = option(
        "threshold", "right from a threshold up; or the reward itself, from 0 to 1, weighs in both halves of the loss"
    )
    threshold: float = option(0.5, "the reward from which an answer is right")
    truncated: Literal["wrong", "judged"] = option(
        "wrong", "an answer that was cut off is wrong, or is judged as it stands", source="paper: wrong"
    )
    learns_from: Literal["both", "right", "wrong"] = option(
        "both",
        "both; right alone is rejection fine-tuning; wrong alone shows what mistakes teach",
        source="paper: both",
    )
    negative_weight: float = option(1.0, "weight of wrong answers beside right ones", source="paper: 1", ge=0, le=10)
    weighting: Literal["hard", "root", "even"] = option(
        "hard",
        "weight of a prompt with a share q of right answers: 1 - q (Dr. GRPO's), sqrt((1 - q) / q) (GRPO's), or 1",
        source="paper: hard",
    )
    epsilon: float = option(
        1.0, "least value of the wrong answers' ratio: lower punishes harder those that grew likelier", gt=0, le=1
    )
    ratio: Literal["token", "answer"] = option(
        "token", "one probability ratio a token, or one an answer, their product", source="paper: token"
    )
    length: float = option(
        0.0, "C, by which a step's sum is divided beside its answers; 0: the longest answer", unit="tokens", ge=0
    )
    tries: int = option(
        10,
        "draw again, up to so often, for prompts with nothing right or nothing wrong",
        source="paper: 10",
        ge=0,
        le=64,
    )
    minibatches: int = option(
        1, "optimiser steps of a step's answers, each read once", source="paper: 16", ge=1, le=1024
    )
    held_out_answers: int = option(4, "answers to each held-out prompt: pass@1 and pass@ of so many", ge=1, le=64)

    @model_validator(mode="after")
    def _has_siblings(self) -> Config:
        if self.samples < 2:
            raise ValueError("the rate of right answers needs several: set samples to 2 or more (8 is few)")
        return self

    @property
    def constant(self) -> float:
        """C."""
        return self.length or float(self.max_new_tokens)

    @property
    def weights_of_verdicts(self) -> tuple[float, float]:
        """Of right answers and of wrong ones."""
        return float(self.learns_from != "wrong"), self.negative_weight * (self.learns_from != "right")


def train(run: RunContext, config: Config) -> None:
    """Each step: answers to a batch of prompts, verdicts, groups that have both kinds, one reading of them."""
    policy = config.policy(run)
    judge = config.judge(run, policy)
    learned = asks_to_learn_from(
        run, policy.tokenizer, passage_tokens=config.passage_tokens, longest=config.max_prompt_tokens
    )
    held_out = PassRates(run, config, policy, judge, total=config.steps)
    batches = engine.loop.Batches(learned, size=config.prompts, steps=config.steps, seed=run.seed)
    loop = engine.loop.Loop(
        policy.parameters, lr=config.lr, steps=config.minibatches * config.steps, schedule=config.schedule
    )
    run.log(f"A step's sum is divided by its answers times C = {config.constant:g}.")

    for step in steps(run, loop, batches, parts={"policy": policy}, evaluate=held_out, every=config.every):
        answers = drawn(run, config, policy, judge, step, learned)
        right = verdicts(config, answers)
        figures, ratios = improve(run, config, policy, loop, answers, right, closely=closely(config, step))
        step.report(**answers.figures(groups=False), **figures)
        show(run, step.number + 1, answers, right, ratios)
    write_prompts(run)
    finish(run, config, policy, held_out)


# --- answers and verdicts


def verdicts(config: Config, answers: Answers) -> Tensor:
    """float64 [Q, G]: 1 right, 0 wrong, NaN without a verdict; between 0 and 1 where rewards are grades."""
    import torch

    rewards = answers.rewards
    right = (rewards >= config.threshold).to(rewards.dtype) if config.verdict == "threshold" else rewards.clamp(0, 1)
    right = torch.where(rewards.isnan(), rewards, right)
    if config.truncated == "wrong":
        cut = torch.tensor([not one.finished for one in answers.flat], dtype=torch.bool).reshape(rewards.shape)
        right = torch.where(cut & ~rewards.isnan(), 0.0, right)
    return right


def drawn(
    run: RunContext, config: Config, policy: Policy, judge: Judge, step: Step[Ask], learned: Sequence[Ask]
) -> Answers:
    """The step's answers. With `tries`, groups with nothing right or nothing wrong are left out and other prompts drawn
    in their place, until there are as many groups as the step has prompts or the tries are used up. What every prompt's
    rate was is written beside the artifact.
    """
    wanted = list(step.batch)
    found: Answers | None = None
    written = 0
    for number in range(1 + config.tries):
        seed = seed_of(run, step.number, str(number) if number else "")
        answers = answer(run, config, policy, judge, wanted, config.samples, seed=seed)
        right = verdicts(config, answers)
        written += len(answers.flat)
        write_rates(run, step.number + 1, answers.asks, right)
        if not number:
            step.report(**of_groups(right))
        alive = answers.where([place for place, there in enumerate(engine.credit.has_spread(right).tolist()) if there])
        found = alive if found is None else found.plus(alive)
        missing = len(step.batch) - len(found.asks)
        if not missing or number == config.tries:
            break
        others = [ask for ask in learned if ask not in found.asks and ask not in wanted] or list(learned)
        wanted = run.random(f"step {step.number}, draw {number + 1}").sample(others, min(missing, len(others)))
    assert found is not None
    step.report(drawn_again=float(number), answers_written=float(written))
    if not config.tries or not found.asks:  # what is not replaced counts; a step that found nothing shows what it saw
        return answers
    return found


def of_groups(right: Tensor) -> dict[str, float]:
    """The step's first draw: how often it was right, and how many groups teach nothing, by why."""
    judged = ~right.isnan()
    count = judged.sum(-1)
    sums = right.nansum(-1)
    many = count > 1
    figures = {
        "dropped/all_right": (many & (sums == count)).double().mean().item(),
        "dropped/all_wrong": (many & (sums == 0)).double().mean().item(),
        "dropped/unjudged": (~many).double().mean().item(),
    }
    return {"rate": right[judged].mean().item(), **figures} if judged.any() else figures


# --- learning


def closely(config: Config, step: Step[Ask]) -> bool:
    """Whether a step is looked at closely: the gradients of right and of wrong answers apart, and ratios after it."""
    return step.number % config.every == 0 if config.every else step.number == 0


def improve(
    run: RunContext, config: Config, policy: Policy, loop: Loop, answers: Answers, right: Tensor, *, closely: bool
) -> tuple[dict[str, float], dict[tuple[int, int], list[float]]]:
    """`minibatches` optimiser steps on the answers that teach something. Also, of steps that are looked at closely, the
    ratio of each token of the first group after the last of them, by group and answer.
    """
    counted = ~right.isnan()
    learned = counted & engine.credit.has_spread(right)[:, None]
    weights = config.weights_of_verdicts
    learned &= (right > 0) & bool(weights[0]) | (right < 1) & bool(weights[1])
    share = answers.share(learned, of=counted)
    rate = right.nanmean(-1)
    units = with_verdicts(answers.units(config.budget, leave_out=~learned), right, rate)
    gap, seen = Gap(), Seen()

    def objective(pack: Pack) -> Loss:
        return loss_of(config, policy, pack, gap, seen, share)

    told: list[dict[str, float]] = []
    with policy.without_dropout():
        if config.minibatches > 1:
            units = with_old(config, policy, units)
        for part in parts_of(units, config.minibatches):
            apart = halves(part) if closely and not told else [part]
            norms = Norms(policy.parameters)
            for half in apart:
                packs = engine.packs.micro_batches(half, tokens=config.budget, device=policy.device)
                loop.forward_backward(run.heed(packs), objective)
                norms.look()
            values = loop.optim_step()
            if part:
                apart_norms = norms.figures(config.constant * sum(map(len, part))) if len(apart) == 2 else {}
                told.append(values | apart_norms)
        after = ratios_after(config, policy, units) if closely and units else {}
    names = {name for one in told for name in one}
    figures = {name: sum(one[name] for one in told if name in one) / sum(name in one for one in told) for name in names}
    return {**watched(config, policy, units), **figures, **seen.figures(), **gap.figures(), "C": config.constant}, after


def with_verdicts(units: Sequence[Sequence[Row]], right: Tensor, rate: Tensor) -> list[list[Row]]:
    """The rows with their verdict (`right`) and their prompt's share of right answers (`rate`)."""

    def verdict(row: Row) -> float:
        return float(right[int(row.of_row["group"]), int(row.of_row["answer"])])

    def of_prompt(row: Row) -> float:
        return float(rate[int(row.of_row["group"])])

    return with_numbers(units, of_row={"right": verdict, "rate": of_prompt})


def loss_of(config: Config, policy: Policy, pack: Pack, gap: Gap, seen: Seen, share: float) -> Loss:
    """NFT's loss. `share` is the part of the step's answers that are computed: the others count as zeros."""
    now = engine.logprobs.completion_logprobs(policy.model, pack, temperature=config.temperature).values
    old = pack.flat("old") if config.minibatches > 1 else None
    gap.add(now if old is None else old, pack.flat("sampled"))
    right = pack.by_row("right")
    seen.add(now, now if old is None else old, pack.ragged.spread(right))
    positive, negative = config.weights_of_verdicts
    loss = engine.objectives.nft(
        now,
        old,
        right,
        pack.by_row("rate"),
        pack.ragged,
        length=config.constant,
        weighting=config.weighting,
        negative_weight=negative,
        positive_weight=positive,
        epsilon=config.epsilon,
        by_answer=config.ratio == "answer",
    )
    return engine.objectives.Loss(loss.total * share, loss.count, loss.metrics)


# --- what is watched


@dataclass
class Seen:
    """The ratio R of right answers' tokens and of wrong ones', apart."""

    sums: dict[str, list[float]] = field(default_factory=dict)

    def add(self, now: Tensor, old: Tensor, right: Tensor) -> None:
        """All [N]."""
        ratio = (now.detach() - old.detach()).clamp(-20, 20).exp().double()
        for name, there in (("right", right > 0.5), ("wrong", right <= 0.5)):
            total = self.sums.setdefault(name, [0.0, 0.0])
            total[0] += ratio[there].sum().item()
            total[1] += there.sum().item()

    def figures(self) -> dict[str, float]:
        """Their means."""
        return {f"ratio/{name}": total / count for name, (total, count) in self.sums.items() if count}


class Norms:
    """The norms of gradients that are added up one after the other."""

    def __init__(self, parameters: Sequence[Any]) -> None:
        self.parameters = parameters
        self.sums: list[list[Any]] = []

    def look(self) -> None:
        """Remember what has been added up so far."""
        self.sums.append([0.0 if one.grad is None else one.grad.detach().clone() for one in self.parameters])

    def figures(self, count: float) -> dict[str, float]:
        """Of right answers, which were first, and of wrong ones, divided as the step's is."""

        def norm(parts: list[Any]) -> float:
            squares = sum(float((part**2).sum()) if hasattr(part, "sum") else part**2 for part in parts)
            return math.sqrt(squares) / count

        first, both = self.sums
        second = [whole - half for whole, half in zip(both, first, strict=True)]
        return {"grad_norm/right": norm(first), "grad_norm/wrong": norm(second)}


def halves(units: Sequence[Sequence[Row]]) -> list[list[list[Row]]]:
    """The right answers of all units, and the wrong ones."""
    apart = [
        [[row for row in unit if (row.of_row["right"] > 0.5) == right] for unit in units] for right in (True, False)
    ]
    return [[unit for unit in half if unit] for half in apart]


def ratios_after(config: Config, policy: Policy, units: Sequence[Sequence[Row]]) -> dict[tuple[int, int], list[float]]:
    """R of every token of the first group, now that it has been learned from; by group and answer."""
    first = list(units[:1])
    (now,) = with_old(config, policy, first)
    (then,) = first
    found = {}
    for row, old in zip(now, then, strict=True):
        before = old.of_tokens.get("old", old.of_tokens["sampled"])
        pairs = zip(row.of_tokens["old"], before, strict=True)
        found[int(row.of_row["group"]), int(row.of_row["answer"])] = [math.exp(min(a - b, 10.0)) for a, b in pairs]
    return found


class PassRates(HeldOut):
    """Measures the policy on prompts of the dev split: how often one answer is right, and one of several."""

    def __call__(self) -> dict[str, float]:
        """pass@1 and pass@K beside what every recipe measures; always drawn with the same seeds."""
        config = self.config
        assert isinstance(config, Config)
        figures = dict(super().__call__())
        if self.asks:
            seed = self.run.seed + 1
            found = answer(self.run, config, self.policy, self.judge, self.asks, config.held_out_answers, seed=seed)
            right = verdicts(config, found)
            judged = ~right.isnan()
            if judged.any():
                figures["held_out_pass_1"] = right[judged].mean().item()
                solved = right.nan_to_num(0.0)[judged.any(-1)].amax(-1)
                figures[f"held_out_pass_{config.held_out_answers}"] = solved.mean().item()
            figures["held_out_entropy"] = found.figures(groups=False)["entropy"]
        self.last = figures
        return figures


def show(
    run: RunContext, step: int, answers: Answers, right: Tensor, ratios: dict[tuple[int, int], list[float]], n: int = 2
) -> None:
    """A few groups with their verdicts; the push that each answer gives; after a close look each token's ratio."""
    rate = right.nanmean(-1)
    for number, (ask, group) in list(enumerate(zip(answers.asks, answers.groups, strict=True)))[:n]:
        told = []
        for place, one in enumerate(group):
            verdict, reward = right[number, place].item(), answers.rewards[number, place].item()
            said: dict[str, Any] = {"text": one.text, "reward": None if math.isnan(reward) else reward}
            if not math.isnan(verdict):
                said |= {"right": verdict, "advantage": verdict - rate[number].item()}
            if (number, place) in ratios:
                said["ratios"] = [round(value, 4) for value in ratios[number, place]]
            if not one.finished:
                said["cut_off"] = True
            told.append(said)
        run.sample(step, prompt_id=ask.prompt_id, question=question_of(ask), answers=told)


def write_rates(run: RunContext, step: int, asked: Sequence[Ask], right: Tensor) -> None:
    """One line a prompt that was answered: how many of its answers were judged, and how many of these were right."""
    with (run.artifact_path / RATES).open("a", encoding="utf-8") as file:
        for ask, group in zip(asked, right, strict=True):
            judged = group[~group.isnan()]
            line = {"step": step, "prompt_id": ask.prompt_id, "judged": len(judged), "right": float(judged.sum())}
            file.write(json.dumps(line) + "\n")


def write_prompts(run: RunContext) -> None:
    """Each prompt's rate when it was last answered; those with nothing right are hard, those with nothing wrong are
    solved.
    """
    path = run.artifact_path / RATES
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []
    rates = {line["prompt_id"]: line["right"] / line["judged"] for line in lines if line["judged"]}
    told = {
        "hard": [name for name, rate in rates.items() if rate == 0],
        "solved": [name for name, rate in rates.items() if rate == 1],
        "rates": {name: round(rate, 4) for name, rate in rates.items()},
    }
    (run.artifact_path / PROMPTS).write_text(json.dumps(told) + "\n", encoding="utf-8")


RECIPE = Recipe(
    name="nft",
    title="NFT",
    paper="Bridging Supervised Learning and Reinforcement Learning in Math Reasoning (arXiv 2505.18116)",
    summary="Writes several answers to each prompt and learns from right and wrong ones by likelihood: a program's "
    "verdict is enough.",
    consumes=("Prompt",),
    needs=(),
    takes=("reward_model", "span_reward_model", "policy"),
    produces="policy",
    Config=Config,
    presets={
        "paper": {
            "micro_batch_tokens": 8192,
            "steps": 320,
            "prompts": 512,
            "samples": 16,
            "minibatches": 16,
            "max_new_tokens": 3584,
            "max_prompt_tokens": 512,
            "length": 1000 / 512,
            "lr": 1e-6,
            "schedule": "constant",
            "held_out": 128,
            "held_out_answers": 32,
        },
        "laptop": {
            "steps": 30,
            "prompts": 8,
            "samples": 8,
            "max_new_tokens": 96,
            "passage_tokens": 160,
            "temperature": 0.8,
            "tries": 2,
            "reduction": "phrases",
            "threshold": 0.0,
            "lr": 2e-4,
            "held_out": 12,
        },
    },
    train=train,
)
