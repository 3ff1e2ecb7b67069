"""Fine-Grained RLHF: every kind of error pays where it stands, at the end of its sentence or clause.

Paper: Fine-Grained Human Feedback Gives Better Rewards for Language Model Training (arXiv 2306.01693), section 3 and
appendix. PPO whose reward is dense (`segment_rewards`):

    r_t   = sum_k w_k sum_j 1[t ends segment j of category k] (+1 OK, -1 ERR)  +  1[t = L] w_c (r_c - m) / s
    pen_t = r_t - beta (log p_old - log p_0)(y_t);   pen <- (pen - mean) / std + mean      beta fixed, k1 on the sample
    A by GAE(1, lam) on pen;   returns = A + V_old;   A <- (A - mean) / std
    loss  = L_clip(A) + vf L_value(returns)          `epochs` readings, one optimiser step each over the whole batch

m and s are the reward model's own, measured on its training pairs and frozen into its artifact. Training ends when the
answers' mean KL has been above `kl_limit` in `kl_patience` steps. The holistic baseline is the same code: a weight of 0
for every category leaves the reward model alone (paper: beta 0.2), `pay = end` pays the same total on the last token.

Where we differ: policy and value are adapters on one base (`trained = all`: all weights of the policy, the value a head
on its states), not two models, and the value's head is linear; no top-k, because what it cuts is not in the ratio;
whitening divides by the deviation (the official code by its root). Segments that the reward model cannot read to their
end pay 0 and are counted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from pydantic import field_validator

from training import engine
from training.recipes import rewarding, valuing
from training.recipes.answers import Answers, Gap, learn
from training.recipes.asking import asks_to_learn_from, question_of
from training.recipes.base import Recipe, option
from training.recipes.context import RecipeError, RunContext
from training.recipes.online import HeldOut, answer, finish, seed_of
from training.recipes.segment_rewards import ByModel, ByWorld, Reader, SegmentJudge
from training.recipes.steps import steps
from training.recipes.watching import Watcher

if TYPE_CHECKING:
    from torch import Tensor

    from training.engine.objectives import Loss
    from training.engine.packs import Pack, Row
    from training.engine.policy import Policy
    from training.engine.ragged import Ragged


class Config(valuing.WithCritic):
    """Options of fine_grained_rlhf."""

    prompts: int = option(8, "prompts of one step", unit="prompts", source="paper: 8", ge=1, le=100_000)
    samples: int = option(4, "answers to each prompt", unit="answers", source="paper: 4", ge=1, le=1024)
    temperature: float = option(
        0.7, "of sampling; training divides the logits by it as well", source="paper: 0.7", gt=0, le=2
    )
    weights: str = option(
        "",
        "weights of the categories and of what judges whole answers, as in relevance=0.3, factuality=0.5, "
        "reward_model=0.3; 1 where not named",
        source="paper: 0.3, 0.5, 0.3",
    )
    bias: float = option(0.0, "added to every answer's reward", source="paper: 0")
    normalise: rewarding.Normalise = option(
        "artifact",
        "what judges whole answers, before it is weighed: by the mean and deviation that its artifact holds, "
        "standardised over the answers judged together, or as it is",
        source="paper: artifact",
    )
    segment_reward: Literal["sum", "mean"] = option(
        "sum",
        "what an answer's segments pay: each its own, or their mean (then cutting it in more of them pays nothing)",
        source="paper: sum",
    )
    pay: Literal["segments", "end"] = option(
        "segments", "where segments pay: at their ends, or all at the answer's end (the control)", source="paper"
    )
    whiten_rewards: bool = option(
        True, "divide the step's rewards by their deviation, their mean put back", source="paper: yes"
    )
    beta: float = option(
        0.3, "weight of the KL to the first model, in every token's reward", source="paper: 0.3; holistic 0.2", ge=0
    )
    vf: float = option(1.0, "weight of the critic's loss", source="paper: 1", ge=0)
    max_grad_norm: float = option(
        0.0, "longer gradients are made this long; 0: as they are", source="paper: none; 0.5 when on", ge=0
    )
    kl_limit: float = option(
        10.0, "answers that are farther from the first model than this count against the run", unit="nats", gt=0
    )
    kl_patience: int = option(
        5, "in so many steps, then it ends; 0: never", unit="steps", source="paper's code: 5", ge=0, le=1_000_000
    )
    reader: str = option(
        "", "a demonstration world whose perfect reader judges segments in place of a model: words, words:24"
    )
    reader_segments: str = option("words:4", "how that reader cuts answers: sentence, clause or words:4")

    @field_validator("reader_segments")
    @classmethod
    def _is_a_segmenter(cls, value: str) -> str:
        engine.segments.segmenter(value)
        return value

    def judge(self, run: RunContext, policy: Policy, **shaping: float) -> SegmentJudge:
        """What judges segments and whole answers of this run, and what watches it. How they are mixed is said in the
        log; RecipeError where nothing judges, or `weights` names what does not.
        """
        reader: Reader | None = None
        if self.reader:
            reader = ByWorld(self.reader, segments=self.reader_segments)
        elif "segment_reward_model" in run.models:
            reader = ByModel(run.models["segment_reward_model"], beside=policy)
        sources: dict[str, rewarding.Source] = {}
        for kind in ("reward_model", "span_reward_model"):
            if kind in run.models:
                sources[kind] = rewarding.by_model(run.models[kind], beside=policy, reduction=self.reduction)
        if self.checker:
            sources["checker"] = rewarding.by_program(self.checker)
        judges = [*(reader.categories if reader else ()), *sources]
        if not judges:
            raise RecipeError("run.input_missing", "Nothing judges the answers.", "Choose a segment reward model.")
        weights = rewarding.weights_of(self.weights)
        if strange := sorted(weights.keys() - set(judges)):
            raise RecipeError(
                "run.weights",
                f"weights names {', '.join(strange)}, but this run's judges are {', '.join(judges)}.",
                "Name only these.",
            )
        scales = {name: rewarding.scale_of(run, name, self.reduction) for name in sources} if sources else {}
        judge = SegmentJudge(
            sources,
            weights,
            missing_stop=self.missing_stop,
            empty=self.empty,
            longest=self.max_new_tokens,
            normalise=self.normalise,
            scales={name: one for name, one in scales.items() if one is not None}
            if self.normalise == "artifact"
            else {},
            reader=reader,
            mean=self.segment_reward == "mean",
            bias=self.bias,
            **shaping,  # type: ignore[arg-type]
        )
        for name in reader.categories if reader else ():
            where = "at its end" if self.pay == "segments" else "at the answer's end"
            run.log(f"Each segment pays {weights.get(name, 1.0):g} for {name} {where}: more where OK, less where ERR.")
        if sources:
            run.log(judge.in_words)
        return replace(judge, watch=Watcher.of(run, self, policy)) if self.watch_answers else judge


class Limit:
    """Counts the steps whose answers were too far from the first model."""

    def __init__(self, config: Config) -> None:
        self.config, self.beyond = config, 0

    def look(self, kl: float, answers: int) -> str:
        """After a step with so many answers (in this process) of `kl` nats each: why the training is to end, if so."""
        whole = engine.distributed.here().sums({"kl": kl * answers, "answers": float(answers)})
        mean = whole["kl"] / max(1.0, whole["answers"])
        self.beyond += math.isfinite(mean) and mean > self.config.kl_limit
        if not self.config.kl_patience or self.beyond < self.config.kl_patience:
            return ""
        return (
            f"the answers were more than {self.config.kl_limit:g} nats from the first model in {self.beyond} steps. "
            "Raise beta, lower lr, or allow more (kl_limit)."
        )

    def state_dict(self) -> dict[str, int]:
        return {"beyond": self.beyond}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        self.beyond = int(state["beyond"])


def train(run: RunContext, config: Config) -> None:
    """Each step: answers to a batch of prompts, their segments' rewards and values, `epochs` readings."""
    policy, critic = valuing.actor_and_critic(run, config)
    judge = config.judge(run, policy)
    pull, limit = valuing.Pull(config), Limit(config)
    learned = asks_to_learn_from(
        run, policy.tokenizer, passage_tokens=config.passage_tokens, longest=config.max_prompt_tokens
    )
    held_out = HeldOut(run, config, policy, judge, total=config.steps)
    batches = engine.loop.Batches(learned, size=config.prompts, steps=config.steps, seed=run.seed)
    trained: list[dict[str, Any]] = [
        {"params": policy.parameters},
        {"params": critic.parameters, "lr": config.critic_lr or config.lr},
    ]
    loop = engine.loop.Loop(
        trained,
        lr=config.lr,
        steps=config.steps * config.epochs * config.minibatches,
        schedule=config.schedule,
        clip=config.max_grad_norm,
    )
    parts: dict[str, Any] = {"policy": policy, "value_head": critic.head, "pull": pull, "limit": limit}

    for step in steps(run, loop, batches, parts=parts, evaluate=held_out, every=config.every):
        answers = answer(run, config, policy, judge, step.batch, config.samples, seed=seed_of(run, step.number))
        told = {**judge.figures(), **shares(answers)}
        read = list(judge.last)
        with policy.without_dropout():
            updates, seen = experience(config, policy, critic, answers, beta=pull.beta)
            gap = Gap()

            def objective(pack: Pack, gap: Gap = gap) -> Loss:
                return valuing.loss_of(config, policy, critic, pack, gap)

            figures = learn(run, loop, policy, updates * config.epochs, objective, tokens=config.budget)
        pull.follow(seen["kl/answer"], len(answers.flat))
        step.ended = limit.look(seen["kl/answer"], len(answers.flat))
        step.report(**answers.figures(groups=False), **told, **seen, **figures, **gap.figures())
        show(run, step.number + 1, answers, read, updates)
    finish(run, config, policy, held_out, critic=critic.save(run))


def experience(
    config: Config, policy: Policy, critic: valuing.Critic, answers: Answers, *, beta: float
) -> tuple[list[list[list[Row]]], dict[str, float]]:
    """The answers with a verdict as rows that know their advantages and returns, in the step's minibatches."""

    def pay(rows: Sequence[Row], ragged: Ragged) -> Tensor:
        return valuing.paid(policy, answers, rows, ragged, by_place=config.pay == "segments")

    units = answers.units(config.budget, leave_out=~answers.counted())
    whitening: Literal["keep_mean"] | None = "keep_mean" if config.whiten_rewards else None
    return valuing.valued(config, policy, critic, units, beta=beta, pay=pay, of_rewards=whitening)


def shares(answers: Answers) -> dict[str, float]:
    """How much of what was paid and taken in a step each part of the reward is, by size."""
    sizes = {name: values[~values.isnan()].abs().sum().item() for name, values in answers.parts.items()}
    total = sum(sizes.values())
    return {f"share/{name}": size / total for name, size in sizes.items()} if total else {}


def show(run: RunContext, step: int, answers: Answers, read: Sequence[Any], updates: Sequence[Any], n: int = 2) -> None:
    """A few prompts with all their answers: their segments with the verdict of each category, and A_t on each token."""
    rows = {
        (int(row.of_row["group"]), int(row.of_row["answer"])): row for part in updates for unit in part for row in unit
    }
    for number, (ask, group) in list(enumerate(zip(answers.asks, answers.groups, strict=True)))[:n]:
        told = []
        for place, one in enumerate(group):
            reward = answers.rewards[number, place].item()
            row = rows.get((number, place))
            advantages = [round(value, 3) for value in row.of_tokens["advantages"]] if row else []
            segments = read[number * len(group) + place] if read else None
            told.append(
                {
                    "text": one.text,
                    "reward": None if math.isnan(reward) else reward,
                    "advantage": sum(advantages) / len(advantages) if advantages else 0.0,
                    "advantages": advantages,
                    "segments": {
                        name: [[part.start, part.end, part.sign] for part in parts]
                        for name, parts in (segments or {}).items()
                    },
                    **({} if one.finished else {"cut_off": True}),
                }
            )
        run.sample(step, prompt_id=ask.prompt_id, question=question_of(ask), answers=told)


RECIPE = Recipe(
    name="fine_grained_rlhf",
    title="Fine-grained RLHF",
    paper="Fine-Grained Human Feedback Gives Better Rewards for Language Model Training (arXiv 2306.01693)",
    summary="PPO that is paid at the end of every sentence or clause, for each kind of error by its weight.",
    consumes=("Prompt",),
    needs=("segment_reward_model",),
    takes=("reward_model", "span_reward_model", "policy"),
    produces="policy",
    Config=Config,
    presets={
        "paper": {
            "micro_batch_tokens": 8192,
            "steps": 2500,
            "max_new_tokens": 200,
            "max_prompt_tokens": 1024,
            "passage_tokens": 800,
            "weights": "relevance=0.3, factuality=0.5, reward_model=0.3",
            "lr": 1e-5,
            "held_out": 128,
        },
        "laptop": {
            "steps": 30,
            "prompts": 16,
            "max_new_tokens": 96,
            "passage_tokens": 160,
            "temperature": 0.8,
            "epochs": 2,
            "beta": 0.02,
            "critic": "head",
            "critic_lr": 2e-3,
            "lr": 2e-4,
            "held_out": 12,
        },
    },
    train=train,
)
