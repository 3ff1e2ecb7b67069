"""RAFT: sample several answers to each prompt, keep the best by a reward, fine-tune on what was kept, and again.

Paper: RAFT (arXiv 2304.06767), algorithm 1.

    y[x, 1..K] ~ G_t ;  r~[x, k] = r(y[x, k]) - beta (log p_Gt - log p_G0)(y[x, k])              sums over the answer
    keep = best    k*(x) = argmax_k r~[x, k]: only answers to the same prompt are compared
           top     one answer to each of K times as many prompts, the best 1/K of all (the paper's appendix)
           right   all answers that are right, each text once: the verifier's form (rejection sampling fine-tuning)
    G_{t+1} = SFT(G_t on what was kept) :   -sum_t log p_t / tokens of the optimiser step, or (`mean`) by answers

beta is in the ranking alone; the loss stays likelihood. Never kept: an answer that is empty, was cut off, holds what is
forbidden, or that no judge can score (it is left out, not scored 0). A prompt whose answers all score the same is
skipped (the paper keeps a random one; `equals = keep` the first). Where we differ: an adapter is trained (`trained =
all`: all weights), each round goes on from the round before; the loss is on the answer alone, its stop token included
(the published script trains on the prompt too).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import field_validator, model_validator

from training import engine
from training.recipes import ranking
from training.recipes.answers import Answers
from training.recipes.asking import Ask, asks_to_learn_from, row_of
from training.recipes.base import Recipe, option
from training.recipes.context import RecipeError, RunContext
from training.recipes.online import HeldOut, Watched, answer, finish, seed_of
from training.recipes.rewarding import NEEDS
from training.recipes.rounds import Round, agreement, describe, show, write_kept
from training.recipes.steps import steps
from training.recipes.weights import Weights

if TYPE_CHECKING:
    from training.engine.objectives import Loss
    from training.engine.packs import Pack, Row
    from training.engine.policy import Policy
    from training.engine.rollouts import Sample

MEASURED = 32  # answers of a round on which its distance to the first model is measured


class Config(Weights, Watched):
    """Options of raft."""

    rounds: int = option(3, "how often to sample, rank and fine-tune", source="paper: 10-18", ge=1, le=100)
    prompts: int = option(64, "prompts of one round (b)", unit="prompts", source="paper: 2048", ge=1, le=100_000)
    samples: int = option(8, "answers to each prompt (K)", unit="answers", source="paper: 8, 16, 32", ge=1, le=256)
    temperature: float = option(1.0, "of sampling: the highest that stays sane", source="paper's lambda", gt=0, le=2)
    max_new_tokens: int = option(128, "longest answer", unit="tokens", source="paper: 128", ge=1, le=32768)
    keep: Literal["best", "top", "right"] = option(
        "best",
        "the best answer to each prompt; the best of all answers to all prompts, one in K; or all that are right",
        source="paper: best; its code calls top its default",
    )
    beta: float = option(
        0.0, "penalty for leaving the first model, in the ranking only", source="paper: 0", ge=0, le=10
    )
    min_reward: float | None = option(
        None, "the reward that a kept answer has at least; empty: any (with right: 1, as a program's that checks it)"
    )
    equals: Literal["skip", "keep"] = option(
        "skip",
        "a prompt whose answers all score the same (with best): skipped, or its first answer kept",
        source="ours",
    )
    forbid: str = option("", "regular expression: answers in which it is found are never kept")
    mean: Literal["tokens", "answers"] = option(
        "tokens", "the loss is a mean over tokens (long answers weigh more), or over answers", source="paper: tokens"
    )
    epochs: int = option(2, "how often a round's kept answers are read", source="paper: 2", ge=1, le=50)
    batch_size: int = option(16, "answers that one step learns from", unit="answers", ge=1, le=1024)
    lr: float = option(2e-4, "learning rate; each round starts its own schedule", source="paper: 2e-5", gt=0, le=0.1)
    every: int = option(1, "how often it is measured, and always at the end; 0: only then", unit="rounds", ge=0)
    patience: int = option(
        0, "end after so many measurements whose held-out reward was no new best; 0: never", source="paper: 3", ge=0
    )

    on_hacking: Literal["say", "stop"] = option(
        "say",
        "what an alarm of the watch does: a line in the log, or the end, before the round's answers are learned",
        source="ours",
    )

    @field_validator("forbid")
    @classmethod
    def _can_be_searched_for(cls, value: str) -> str:
        try:
            re.compile(value)
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from error
        return value

    @model_validator(mode="after")
    def _can_go_back(self) -> Config:
        if self.on_hacking == "stop" and not self.watch_answers:
            raise ValueError("to end when an alarm begins, set watch_answers above 0")
        return self

    @model_validator(mode="after")
    def _can_be_measured(self) -> Config:
        if self.patience and not (self.held_out and self.every):
            raise ValueError("patience looks at the held-out reward: set held_out and every above 0")
        return self


class Best:
    """The best held-out reward so far, and how many measurements ago that was."""

    def __init__(self) -> None:
        self.value, self.since = -math.inf, 0

    def look(self, value: float) -> None:
        self.since = 0 if value > self.value else self.since + 1
        self.value = max(self.value, value)

    def state_dict(self) -> dict[str, float]:
        return {"value": self.value, "since": self.since}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        self.value, self.since = float(state["value"]), int(state["since"])


def train(run: RunContext, config: Config) -> None:
    """G_0 is the base (or a given policy); each round makes the next; the last one's new answers go back to the
    people. A checkpoint stands between two rounds, and a round is a function of it.
    """
    policy = config.policy(run)
    judge = config.judge(run, policy)
    if config.keep == "top":
        comparable(run)
    learned = asks_to_learn_from(
        run, policy.tokenizer, passage_tokens=config.passage_tokens, longest=config.max_prompt_tokens
    )
    prompts, n = (config.prompts * config.samples, 1) if config.keep == "top" else (config.prompts, config.samples)
    prompts = min(prompts, len(learned))
    per_round = engine.loop.steps_of(most(config, prompts), size=config.batch_size, epochs=config.epochs)
    total = per_round * config.rounds
    held_out = HeldOut(run, config, policy, judge, total=total)
    references = reference_rows(run, config, policy)
    peak = Best()
    if run.resumed is None:
        run.metrics(0, total, **perplexity(config, policy, references), **agreement(run, judge))

    rounds = engine.loop.Batches(range(config.rounds), size=1, steps=config.rounds)
    for step in steps(run, None, rounds, parts={"policy": policy, "best": peak, "held_out": held_out}):
        number, began = step.number, step.number * per_round
        asked = run.random(f"round {number}").sample(learned, prompts)  # D_t
        answers = answer(run, config, policy, judge, asked, n, seed=seed_of(run, number))  # y ~ G_t
        found = ranked(config, policy, answers)
        write_kept(run, number, found)
        figures = {**describe(found), **distance(config, policy, answers)}
        if judge.watch is not None:
            figures |= judge.watch(answers)
        if held_out.over:
            step.ended = held_out.over
            run.metrics(began, total, round=number + 1, **figures)
            continue  # what the policy is now is what stands
        rows = [row_of(f"prompt {ask.prompt_id}", ask, sample) for ask, sample in found.chosen]
        if rows:
            fine_tune(
                run, config, policy, rows, first_step=began, total=total, seed=run.seed * 1000 + number
            )  # G_{t+1}
        else:
            run.log(f"Round {number + 1} kept nothing: answers scored alike, or all were dropped.", level="warning")
        if number + 1 == config.rounds or (config.every and (number + 1) % config.every == 0):
            figures |= {**held_out(), **perplexity(config, policy, references)}
            peak.look(figures.get("held_out_reward", -math.inf))
            if config.patience and peak.since >= config.patience:
                step.ended = f"the held-out reward was no new best in {peak.since} measurements."
        run.metrics(began + per_round, total, round=number + 1, **figures)
        show(run, began + per_round, found)
    finish(run, config, policy, held_out)


def comparable(run: RunContext) -> None:
    """Raise RecipeError where a reward model knows only which of two answers to one prompt is better: its zero is
    another one for each prompt.
    """
    if "reward_model" not in run.models:
        return
    source = json.loads((run.models["reward_model"] / "redpen.json").read_text()).get("source", "pairs")
    if source in ("pairs", "rankings"):
        raise RecipeError(
            "run.not_comparable",
            f"This reward model learned from {source}: its scores of answers to different prompts cannot be compared.",
            "Set keep to best, or choose a reward model from ratings or reactions.",
        )


def most(config: Config, prompts: int) -> int:
    """How many answers a round of so many prompts can keep."""
    if config.keep == "top":
        return max(1, prompts // config.samples)
    return prompts * (config.samples if config.keep == "right" else 1)


# --- a round


def ranked(config: Config, policy: Policy, answers: Answers) -> Round:
    """What each answer is worth in the ranking, or why it can never be kept; and what is kept."""
    rewards = answers.rewards.tolist()
    dropped = [
        [why_not(config, one, reward) for one, reward in zip(group, values, strict=True)]
        for group, values in zip(answers.groups, rewards, strict=True)
    ]
    worth: list[list[float | None]] = [
        [None if why else reward for why, reward in zip(reasons, values, strict=True)]
        for reasons, values in zip(dropped, rewards, strict=True)
    ]
    if config.beta:
        alive = [(p, k) for p, row in enumerate(worth) for k, value in enumerate(row) if value is not None]
        pairs = [(answers.asks[p], answers.groups[p][k]) for p, k in alive]
        for (p, k), gap in zip(alive, log_ratios(config, policy, pairs), strict=True):
            worth[p][k] = (worth[p][k] or 0.0) - config.beta * gap
    return Round(answers, worth, dropped, keep(config, answers, worth))


def why_not(config: Config, sample: Sample, reward: float) -> str:
    """Why an answer can never be kept; empty where it can."""
    if not sample.finished:
        return "cut off"
    if not sample.text.strip():
        return "empty"
    if config.forbid and re.search(config.forbid, sample.text):
        return "forbidden"
    return "cannot be scored" if math.isnan(reward) else ""


def keep(config: Config, answers: Answers, worth: Sequence[ranking.Rewards]) -> list[list[int]]:
    """The places of the answers that are kept, for each prompt."""
    if config.keep == "top":
        return ranking.top(worth, one_in=config.samples, least=config.min_reward)
    if config.keep == "best":
        return [ranking.best(one, least=config.min_reward, equals=config.equals == "keep") for one in worth]
    least = 1.0 if config.min_reward is None else config.min_reward
    texts = [[one.text for one in group] for group in answers.groups]
    return [ranking.right(*one, least=least) for one in zip(worth, texts, strict=True)]


def log_ratios(config: Config, policy: Policy, pairs: Sequence[tuple[Ask, Sample]]) -> list[float]:
    """log p_Gt(y|x) - log p_G0(y|x), summed over the answer's tokens: exactly 0 while nothing has been learned."""
    rows = [row_of(str(place), ask, one) for place, (ask, one) in enumerate(pairs)]
    return engine.policy.log_ratios(policy, rows, tokens=config.budget)


def fine_tune(
    run: RunContext, config: Config, policy: Policy, rows: list[Row], *, first_step: int, total: int, seed: int
) -> None:
    """SFT on the kept answers; optimiser and schedule are the round's own."""
    steps = engine.loop.steps_of(len(rows), size=config.batch_size, epochs=config.epochs)
    loop = engine.loop.Loop(policy.parameters, lr=config.lr, steps=steps, schedule=config.schedule)
    policy.model.train()
    for batch in engine.loop.batches(rows, size=config.batch_size, epochs=config.epochs, seed=seed):
        run.check_stop()
        packs = engine.packs.micro_batches(loop.processes.share(batch), tokens=config.budget, device=policy.device)
        loop.forward_backward(run.heed(packs), lambda pack: loss_of(config, policy, pack))
        run.metrics(first_step + loop.step, total, **loop.optim_step())
    policy.model.eval()


def loss_of(config: Config, policy: Policy, pack: Pack) -> Loss:
    """The likelihood's mean over tokens or, each token weighing 1 / its answer's tokens, over answers."""
    values = engine.logprobs.completion_logprobs(policy.model, pack).values
    ragged = pack.ragged
    weights = ragged.spread(1 / ragged.lengths().clamp_min(1)) if config.mean == "answers" else None
    return engine.objectives.sft(values, weights=weights)


# --- how far it has come


def distance(config: Config, policy: Policy, answers: Answers) -> dict[str, float]:
    """KL(G_t || G_0) in nats an answer, told from some of the round's; nothing where no first model is kept."""
    if not policy.recalls:
        return {}
    pairs = list(zip(answers.asks, [group[0] for group in answers.groups], strict=True))[:MEASURED]
    gaps = log_ratios(config, policy, pairs)
    return {"kl/answer": sum(gaps) / len(gaps)}


def reference_rows(run: RunContext, config: Config, policy: Policy) -> list[Row]:
    """What people wrote or mended to prompts of the dev split, as rows."""
    rows = []
    for kind in ("demonstration", "rewrite"):
        for place, record in enumerate(run.rows("dev", kind=kind)):
            told = record["better"] if kind == "rewrite" else record
            row = engine.answers.answer_row(
                policy.tokenizer,
                f"{kind} {place}",
                record["messages"],
                record["context"],
                text=told["text"],
                passage_tokens=config.passage_tokens,
            )
            if len(row.ids) <= config.max_prompt_tokens + config.max_new_tokens:
                rows.append(row)
    return rows


def perplexity(config: Config, policy: Policy, rows: Sequence[Row]) -> dict[str, float]:
    """Of the reference answers' tokens under the policy as it is."""
    total, count = 0.0, 0
    with policy.scoring() as model:
        for pack in engine.packs.micro_batches(rows, tokens=config.budget, device=policy.device):
            values = engine.logprobs.completion_logprobs(model, pack).values
            total, count = total - float(values.sum()), count + len(values)
    return {"perplexity": math.exp(min(50.0, total / count))} if count else {}


RECIPE = Recipe(
    name="raft",
    title="RAFT",
    paper="RAFT: Reward rAnked FineTuning for Generative Foundation Model Alignment (arXiv 2304.06767)",
    summary="Writes several answers to each prompt, learns from the one that the reward model likes best, and again.",
    consumes=("Prompt",),
    needs=(NEEDS,),
    takes=("policy",),
    produces="policy",
    Config=Config,
    presets={
        "paper": {
            "micro_batch_tokens": 8192,
            "rounds": 12,
            "prompts": 2048,
            "samples": 16,
            "lr": 2e-5,
            "max_prompt_tokens": 256,
            "passage_tokens": 0,
            "held_out": 256,
            "batch_size": 64,
            "patience": 3,
        },
        "laptop": {
            "rounds": 3,
            "prompts": 32,
            "samples": 4,
            "reduction": "phrases",
            "temperature": 0.8,
            "max_new_tokens": 96,
            "batch_size": 8,
            "passage_tokens": 160,
            "held_out": 12,
        },
    },
    train=train,
)
